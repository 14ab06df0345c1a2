"""The fast path of sampling: the same pictures, with as little as possible between two steps.

The network is compiled. The numbers of all steps lie on the device, and so does the noise of as
many steps as fit into `NOISE_BYTES`, drawn while the device still computes. Nothing in the loop
waits for the device, and on CUDA a whole step is one graph, which is launched at once.
"""

import copy
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch

from workbench import progress_bar
from workbench.coefficients import Coefficients, reverse_step

NOISE_BYTES = 2**26
ALIGNED = 16  # PyTorch's CPU generator draws so many numbers at a time


class Chain:
    """The steps of a chain on buffers that stay where they are.

    A CUDA graph repeats what was done at the same places in memory: x_t, the numbers and the noise
    of the next steps are copied into such places, and a counter that lies there too says which of
    them is meant.

    Args:
        network: (x_t, t) -> an object with `.sample`, in eval mode; t is (1,) int64.
        coefficients: of all steps.
        shape: (b, c, h, w) of x_t.
        device, dtype: of x_t.
    """

    def __init__(
        self,
        network: Any,
        coefficients: Coefficients,
        shape: tuple[int, ...],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.network, self.coefficients = network, coefficients
        x = torch.zeros(shape, device=device, dtype=dtype)
        n = len(coefficients.timesteps)
        ahead = min(n, max(1, NOISE_BYTES // (x.numel() * x.element_size())))
        numbers = coefficients.table.to(torch.promote_types(dtype, torch.float32))
        self.all_numbers, self.all_timesteps = numbers.to(device), coefficients.timesteps.to(device)
        self.x, self.noise = x, x.new_zeros(ahead, *shape)
        self.numbers, self.timesteps = self.all_numbers[:ahead].clone(), self.all_timesteps[:ahead]
        self.timesteps = self.timesteps.clone()
        self.k = torch.zeros(1, dtype=torch.int64, device=device)
        self.advance: Callable[[], None] = self.step

    def step(self) -> None:
        """One step: x becomes x_prev, and k the next one's."""
        t = self.timesteps.index_select(0, self.k)  # (1,)
        numbers = self.numbers.index_select(0, self.k)[0]
        z = self.noise.index_select(0, self.k)[0]  # (b, c, h, w)
        out = self.network(self.x, t).sample
        self.x.copy_(reverse_step(self.x, out, z, numbers, self.coefficients.limit))
        self.k += 1

    def capture(self) -> None:
        """Make a step one CUDA graph; what the trial steps leave in the buffers is overwritten."""
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                self.k.zero_()
                self.step()
            self.k.zero_()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.step()
        self.advance = graph.replay

    def run(self, generators: Sequence[torch.Generator], bar: Any) -> torch.Tensor:
        """x_0 of a whole chain, (b, c, h, w), which the next call overwrites.

        Args:
            generators: on the CPU, one for each picture.
            bar: is told of each step that was launched.
        """
        shape, noisy = tuple(self.x.shape), self.coefficients.noisy
        self._copy(draw_noise(generators, 1, shape, self.x.dtype)[0], self.x)
        ahead, n = len(self.noise), len(self.all_timesteps)
        for first in range(0, n, ahead):
            count = min(ahead, n - first)
            drawn = draw_noise(generators, min(count, max(noisy - first, 0)), shape, self.x.dtype)
            self._copy(drawn, self.noise[: len(drawn)])
            self.numbers[:count] = self.all_numbers[first : first + count]
            self.timesteps[:count] = self.all_timesteps[first : first + count]
            self.k.zero_()
            for _ in range(count):
                self.advance()
                bar.update()
        return self.x

    @staticmethod
    def _copy(drawn: torch.Tensor, into: torch.Tensor) -> None:
        """From the CPU to the device without waiting for either."""
        into.copy_(drawn.pin_memory() if into.is_cuda else drawn, non_blocking=into.is_cuda)


def draw_noise(
    generators: Sequence[torch.Generator], steps: int, shape: tuple[int, ...], dtype: torch.dtype
) -> torch.Tensor:
    """The noise of some steps, (steps, b, c, h, w), in the order in which steps one by one draw it.

    Args:
        generators: on the CPU, one for each picture.
        steps: how many, from 0.
        shape: (b, c, h, w).
        dtype: of the noise.
    """
    one = shape[1:]
    at_once = dtype == torch.float32 and not torch.Size(one).numel() % ALIGNED
    if steps and at_once:  # the same numbers by one call as by `steps` of them
        drawn = [torch.randn(steps, *one, generator=each, dtype=dtype) for each in generators]
    else:
        drawn = [_one_by_one(each, steps, one, dtype) for each in generators]
    return torch.stack(drawn, 1)


def _one_by_one(
    generator: torch.Generator, steps: int, one: tuple[int, ...], dtype: torch.dtype
) -> torch.Tensor:
    drawn = torch.empty(steps, *one, dtype=dtype)
    for step in range(steps):
        drawn[step] = torch.randn(one, generator=generator, dtype=dtype)
    return drawn


def laid_out(unet: Any) -> Any:
    """`unet` as its device likes it: on CUDA a copy whose channels of a pixel lie side by side."""
    if unet.device.type != "cuda":
        return unet
    return copy.deepcopy(unet).to(memory_format=torch.channels_last)


def make_chain(
    network: Any, coefficients: Coefficients, shape: tuple[int, ...], say: Callable[[str], None]
) -> Chain:
    """A chain as fast as it can be had here; what cannot be had is said in one line each.

    Args:
        network: as of `Chain`, on its device.
        coefficients: of all steps.
        shape: (b, c, h, w).
        say: is given the lines.
    """
    device, dtype = network.device, network.dtype
    chain = Chain(network, coefficients, shape, device, dtype)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a compiler warns of are its own parts
            chain.network = torch.compile(network, dynamic=False)
            chain.network(chain.x, chain.timesteps[:1])
    except Exception as error:  # whatever a compiler, or its absence, throws
        chain.network = network
        say(f"the network is not compiled here: {brief(error)}")
    if device.type == "cuda":
        try:
            chain.capture()
        except Exception as error:
            chain.advance = chain.step
            say(f"no CUDA graph here, the steps are launched one by one: {brief(error)}")
    return chain


def brief(error: Exception) -> str:
    """The first line of what an error says, or its name."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def say_it(line: str) -> None:
    """A line on stderr."""
    progress_bar.say(line, sys.stderr)
