"""Inputs for formulas of images: every dtype, one level for all or one for each, the ends."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

from compare.oracle import F64
from ddpm.exercises.exercise import Arguments

DTYPES = (torch.float64, torch.float32, torch.float16)


def number(value: float) -> Tensor:
    """An image of one pixel, for what is shown to the reader."""
    return torch.tensor([value])


def image(seed: int, dtype: torch.dtype, shape: Sequence[int] = (2, 3, 4, 4)) -> Tensor:
    """N(0, 1), always the same for a seed."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tuple(shape), generator=generator, dtype=F64).to(dtype)


def per_image(*values: float) -> Tensor:
    """(b, 1, 1, 1) float64: a level for each image."""
    return torch.tensor(values, dtype=F64).reshape(-1, 1, 1, 1)


def of_images(
    images: tuple[str, str], shown: Arguments, levels: list[Arguments]
) -> Callable[[], list[Arguments]]:
    """Inputs of a formula of two images and of levels.

    Args:
        images: names of the two.
        shown: the first input, as numbers; those of the images become one pixel.
        levels: what the other arguments are, for images of every dtype.
    """

    def inputs() -> list[Arguments]:
        small = {n: number(v) if n in images else v for n, v in shown.items()}
        made = [small]
        for dtype, at in product(DTYPES, levels):
            made.append({n: image(i, dtype) for i, n in enumerate(images)} | _copied(at))
        numbers = {n: v for n, v in shown.items() if n not in images}
        made.append({n: image(i, F64, (5,)) for i, n in enumerate(images)} | numbers)
        return made

    return inputs


def _copied(values: Arguments) -> dict[str, Any]:
    return {n: v.clone() if isinstance(v, Tensor) else v for n, v in values.items()}
