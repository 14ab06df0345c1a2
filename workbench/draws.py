"""The random numbers of step k: which images, which timesteps, which noise.

They depend only on (seed, k) and on the kind of device that draws, so both backends see the very
same numbers, a resumed run equals one that was never interrupted, and a batch shared out over
processes is the batch of one process.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

WHICH_IMAGES, WHAT_NOISE, MODEL = range(3)  # independent streams of one seed


@dataclass(frozen=True)
class Draws:
    """What one training step sees.

    Attributes:
        indices: (b,) int64, which images.
        timesteps: (b,) int64 in 0..T-1, one for each image.
        noise: (b, c, h, w) float32 from N(0, I).
        uniform: (2, b) float32 in [0, 1): decides flips and dropped labels.
    """

    indices: torch.Tensor
    timesteps: torch.Tensor
    noise: torch.Tensor
    uniform: torch.Tensor

    def to(self, device: torch.device) -> "Draws":
        """The same numbers on `device`; to CUDA from pinned memory, without blocking."""
        if device.type == "cpu":
            return self

        def move(part: torch.Tensor) -> torch.Tensor:
            pin = device.type == "cuda" and part.device.type == "cpu"
            return (part.pin_memory() if pin else part).to(device, non_blocking=True)

        return Draws(*map(move, (self.indices, self.timesteps, self.noise, self.uniform)))

    def share(self, rank: int, world_size: int) -> "Draws":
        """The part of process `rank` of `world_size`: every `world_size`-th image."""
        mine = slice(rank, None, world_size)
        return Draws(
            self.indices[mine], self.timesteps[mine], self.noise[mine], self.uniform[:, mine]
        )


def seed_of(seed: int, *path: int) -> int:
    """A 64-bit seed of its own for each path of whole numbers under `seed`."""
    return int(np.random.SeedSequence([seed, *path]).generate_state(1, np.uint64)[0])


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

    Images come from one shuffle of the whole set after another, so that each is seen equally often;
    a batch may reach over the end of a shuffle.

    Args:
        seed: of the run, at least 0.
        step: k = 0, 1, ...
        batch_size: b, of all processes together.
        num_images: size of the set.
        num_timesteps: T.
        image_shape: (c, h, w).
        device: which kind of generator draws timesteps and noise.

    >>> batch_draws(0, 7, 2, 10, 500, (1, 4, 4)).noise.shape
    torch.Size([2, 1, 4, 4])
    """
    positions = range(step * batch_size, (step + 1) * batch_size)
    indices = torch.tensor(
        [_shuffle(seed, p // num_images, num_images)[p % num_images] for p in positions]
    )
    generator = torch.Generator(device).manual_seed(seed_of(seed, WHAT_NOISE, step))

    def options(dtype: torch.dtype) -> dict:
        return {"generator": generator, "device": device, "dtype": dtype}

    timesteps = torch.randint(num_timesteps, (batch_size,), **options(torch.int64))
    noise = torch.randn(batch_size, *image_shape, **options(torch.float32))
    uniform = torch.rand(2, batch_size, **options(torch.float32))
    return Draws(indices, timesteps, noise, uniform)


@lru_cache(maxsize=4)
def _shuffle(seed: int, epoch: int, num_images: int) -> np.ndarray:
    order = np.random.default_rng(np.random.SeedSequence([seed, WHICH_IMAGES, epoch]))
    return order.permutation(num_images)
