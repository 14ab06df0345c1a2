"""Noise, in the order in which Diffusers draws it: one seed gives one picture in both."""

from collections.abc import Sequence

import torch

Generators = torch.Generator | list[torch.Generator] | None


def draw_noise(
    shape: Sequence[int], generator: Generators, device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    """Noise from N(0, I), from one generator or from one for each image.

    A CPU generator draws on the CPU whatever `device` is, so that a seed means one picture on
    every machine.

    Args:
        shape: (b, c, h, w).
        generator: None draws from the device's global generator.
        device, dtype: of the result.

    Returns:
        z: (b, c, h, w).

    Raises:
        ValueError: a list of generators whose length is not b, or something else than generators.

    >>> one = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    >>> draw_noise((2, 3, 8, 8), one, torch.device("cpu"), torch.float16).dtype
    torch.float16
    """
    if isinstance(generator, list):
        if len(generator) != shape[0]:
            raise ValueError(
                f"{len(generator)} generators for {shape[0]} images; give one for each"
            )
        one = [draw_noise((1, *shape[1:]), each, device, dtype) for each in generator]
        return torch.cat(one)
    if not isinstance(generator, torch.Generator | None):
        raise ValueError(
            "generator must be a torch.Generator, a list of them or None, got "
            f"{type(generator).__name__}"
        )
    source = generator.device if generator is not None else device
    return torch.randn(shape, generator=generator, device=source, dtype=dtype).to(device)


def draw_noise_like(x: torch.Tensor, generator: Generators) -> torch.Tensor:
    """`draw_noise` with the shape, device and dtype of `x`."""
    return draw_noise(x.shape, generator, x.device, x.dtype)
