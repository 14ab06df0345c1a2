"""The random numbers of step k: which images, which timesteps, which noise.

They depend only on (seed, k) and on the kind of device that draws, so both backends see the very
same numbers, a resumed run equals one that was never interrupted, and a batch shared out over
processes is the batch of one process.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

# Independent streams of one seed.
WHICH_IMAGES, WHAT_NOISE, WEIGHTS, DROPOUT, PICTURES = range(5)


@dataclass(frozen=True)
class Draws:
    """What one training step sees.

    Attributes:
        indices: (b,) int64, which images.
        timesteps: (b,) int64 in 0..T-1, one for each image.
        noise: (b, c, h, w) float32 from N(0, I).
        uniform: (2, b) float32 in [0, 1): decides flips and dropped labels.
        number: which part of its batch this is; 0 of a whole one.
    """

    indices: torch.Tensor
    timesteps: torch.Tensor
    noise: torch.Tensor
    uniform: torch.Tensor
    number: int = 0

    def to(self, device: torch.device) -> "Draws":
        """The same numbers on `device`; to CUDA from pinned memory, without blocking."""
        moved = [
            to_device(part, device)
            for part in (self.indices, self.timesteps, self.noise, self.uniform)
        ]
        return Draws(moved[0], moved[1], moved[2], moved[3], self.number)

    def parts(self, count: int) -> list["Draws"]:
        """The batch shared out: of part i, every `count`-th image from the i-th on.

        If `count` does not divide the batch, the first parts have one image more.
        """
        every = [slice(i, None, count) for i in range(count)]
        return [
            Draws(self.indices[s], self.timesteps[s], self.noise[s], self.uniform[:, s], i)
            for i, s in enumerate(every)
        ]


def to_device(part: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor on `device`; to CUDA from pinned memory, without blocking."""
    pin = device.type == "cuda" and part.device.type == "cpu"
    return (part.pin_memory() if pin else part).to(device, non_blocking=True)


def seed_of(seed: int, *path: int) -> int:
    """A 64-bit seed of its own for each path of whole numbers under `seed`.

    PyTorch's CPU generator uses its lower 32 bits: of 10,000 steps, two have the same noise in
    about one run of a hundred, which does no harm.
    """
    sequence = np.random.SeedSequence(seed, spawn_key=path)
    return int(sequence.generate_state(1, np.uint64)[0])


def batch_draws(
    seed: int,
    step: int,
    batch_size: int,
    num_images: int,
    num_timesteps: int,
    image_shape: tuple[int, ...],
    device: torch.device | str = "cpu",
) -> Draws:
    """The random numbers of step `step` of the run with seed `seed`.

    Args:
        seed: of the run, at least 0.
        step: k = 0, 1, ...
        batch_size: b, of all processes together.
        num_images: n, size of the set.
        num_timesteps: T.
        image_shape: (c, h, w).
        device: which kind of generator draws timesteps and noise.

    >>> batch_draws(0, 7, 2, 10, 500, (1, 4, 4)).noise.shape
    torch.Size([2, 1, 4, 4])
    """
    indices = image_indices(seed, step, batch_size, num_images)
    generator = torch.Generator(device).manual_seed(seed_of(seed, WHAT_NOISE, step))
    options: dict[str, Any] = {"generator": generator, "device": device}
    timesteps = torch.randint(num_timesteps, (batch_size,), **options)
    noise = torch.randn(batch_size, *image_shape, **options)
    uniform = torch.rand(2, batch_size, **options)
    return Draws(indices, timesteps, noise, uniform)


def image_indices(seed: int, step: int, batch_size: int, num_images: int) -> torch.Tensor:
    """Which images step `step` sees: (b,) int64 in 0..n-1, known without what else it draws.

    They come from one shuffle of the whole set after another, so that each is seen equally often; a
    batch may reach over the end of a shuffle.

    Args:
        seed: of the run, at least 0.
        step: k = 0, 1, ...
        batch_size: b, of all processes together.
        num_images: n, size of the set.

    >>> len(image_indices(0, 7, batch_size=20, num_images=10).unique())
    10
    """
    start, end = step * batch_size, (step + 1) * batch_size
    parts = []
    for epoch in range(start // num_images, (end - 1) // num_images + 1):
        begun = epoch * num_images
        order = _shuffle(seed, epoch, num_images)
        parts.append(order[max(start - begun, 0) : end - begun])
    return torch.from_numpy(np.concatenate(parts))


@lru_cache(maxsize=4)
def _shuffle(seed: int, epoch: int, num_images: int) -> np.ndarray:
    sequence = np.random.SeedSequence(seed, spawn_key=(WHICH_IMAGES, epoch))
    return np.random.default_rng(sequence).permutation(num_images)  # (n,) int64


@contextmanager
def global_generator_at(device: torch.device, seed: int) -> Iterator[None]:
    """Inside the block `device`'s global generator starts from `seed`; then it is as it was.

    That generator draws the first weights and dropout, and belongs to whoever calls us. (Not
    `torch.manual_seed`: that reseeds every device, and takes half a millisecond.)
    """
    generator = _global_generator(device)
    before = generator.get_state()
    generator.manual_seed(seed)
    try:
        yield
    finally:
        generator.set_state(before)


def _global_generator(device: torch.device) -> torch.Generator:
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        return torch.cuda.default_generators[index]
    if device.type == "mps":
        return torch.mps._get_default_mps_generator()
    return torch.default_generator
