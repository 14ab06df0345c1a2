"""What is handed to a candidate's method, and what it hands back: always images and x_{t-1} to us.

All that a door changes is a shape, an order, a type: no value is computed here but where a method
draws the noise itself and shows it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from compare.candidate.door.reading import (
    BATCH,
    BYTES,
    EXCHANGED,
    FOUR_AXES,
    IMAGES,
    MINUS,
    NUMBER,
    ONE,
    POINTS,
    RGB,
    SAME,
    SCORE,
    SEQUENCES,
    TENSOR,
    UNIT,
    VOLUMES,
    Order,
    Reading,
)
from compare.candidate.door.signature import attribute
from compare.oracle import LEARNED

ROWS = {POINTS: 1, SEQUENCES: 2}  # {of what is no picture: from which axis it is one}
PREV = ("prev_sample", "x_prev", "sample", "prev", "x", "x_t")  # names of what is wanted
X_0 = ("pred_original_sample", "pred_xstart", "pred_x0", "x_0", "x0")
LOUD = 2.0**40  # an image beside which noise is small
LOUD_HALF = 2.0**12  # the same, where 65504 is the largest number


def call(function: Callable[..., Any], order: Order, given: dict[str, Any], **more: Any) -> Any:
    """Calls a method with what it takes, by position and by name."""
    named = {name: given[role] for role, name in order.named}
    return function(*(given[role] for role in order.roles), **named, **more)


def shaped(reading: Reading, images: Tensor) -> Tensor:
    """Images (b, c, h, w) as the candidate takes them; a copy."""
    if reading.data.value in ROWS:
        images = images.flatten(ROWS[reading.data.value])
    elif reading.data.value == VOLUMES:
        images = images.unsqueeze(2)
    elif reading.data.value == RGB and images.shape[1] % 3:
        missing = torch.zeros_like(images[:, :1]).expand(-1, -images.shape[1] % 3, -1, -1)
        images = torch.cat([images, missing], dim=1)
    if reading.data.value == RGB:  # further channels stand below the first three
        images = images.reshape(len(images), 3, -1, images.shape[3])
    return images.clone()


def ranged(reading: Reading, images: Tensor) -> Tensor:
    """Images in [-1, 1] in the range that a loss takes; a copy."""
    whole = {UNIT: 1.0, BYTES: 255.0}.get(reading.pictures.value)
    return images.clone() if whole is None else (images + 1) * (whole / 2)


def back(reading: Reading, values: Any, images: Tensor) -> Tensor | None:
    """What came back, as images of this shape; None if it is no tensor of what was handed over."""
    asked = images if reading.data.value == IMAGES else shaped(reading, images)
    if not isinstance(values, Tensor) or values.shape != asked.shape:
        return None
    channels = values.detach().reshape(len(images), -1, *images.shape[2:])
    return channels[:, : images.shape[1]]


def whole_output(reading: Reading, kind: str, out: Tensor, said: Tensor | None) -> Tensor:
    """The model's output with the half for the variance that the candidate's model has, if any.

    `kind` is that of the variance, `said` that half, or None for one that stands for all.
    """
    if reading.output.value == SAME and kind not in LEARNED:
        return out
    said = torch.full_like(out, LEARNED.get(kind, -1.0)) if said is None else said
    return torch.cat([said, out] if reading.output.value == EXCHANGED else [out, said], dim=1)


def given_for(answers: str, alpha_bar: Tensor) -> Tensor | float:
    """What a model multiplies by what it predicts, to answer so.

    >>> given_for(SCORE, torch.tensor(0.75)), given_for(MINUS, torch.tensor(0.75))
    (tensor(-2.), -1.0)
    """
    if answers == SCORE:
        return -(1 - alpha_bar).rsqrt()
    return -1.0 if answers == MINUS else 1.0


def t_of_step(reading: Reading, element: Any, images: int) -> Any:
    """The t of a step: an element of the candidate's own list, an int, or a tensor for images."""
    kind = reading.t_of_step.value
    if kind not in (BATCH, ONE, FOUR_AXES):
        return element
    t = torch.full((1 if kind == ONE else images,), int(element))
    return t.reshape(-1, 1, 1, 1) if kind == FOUR_AXES else t


def t_of_images(reading: Reading, t: Tensor) -> Any:
    """The t of `add_noise` and `get_velocity`; an int for one image."""
    if reading.t_of_add_noise.value == NUMBER:
        return int(t)
    return t.reshape(-1, 1, 1, 1) if reading.t_of_add_noise.value == FOUR_AXES else t


def fresh_z(x_t: Tensor, generator: Any) -> Tensor:
    """The noise of a step that takes it; of a list of generators, one an image."""
    if isinstance(generator, list):
        each = (1, *x_t.shape[1:])
        return torch.cat([torch.randn(each, generator=g, dtype=x_t.dtype) for g in generator])
    return torch.randn(x_t.shape, generator=generator, dtype=x_t.dtype)


def kind_of(result: Any) -> str:
    """What kind of thing a method returned, in words."""
    if isinstance(result, Tensor):
        return TENSOR
    if attribute(result, PREV[0]) is not None:  # Diffusers' is a dict too
        return f"an object ({type(result).__name__})"
    if isinstance(result, tuple | list):
        return f"{len(result)} things, the wanted one first"
    return "a dict" if isinstance(result, dict) else f"an object ({type(result).__name__})"


def step_of(result: Any) -> tuple[Any, Any]:
    """x_{t-1} and x0-hat (None where it is not shown) of what a step returns."""
    if isinstance(result, Tensor):
        return result, None
    ask = result.get if isinstance(result, dict) else partial(attribute, result)
    prev = _first(ask, PREV)
    if prev is not None:
        return prev, _first(ask, X_0)
    return (result[0] if isinstance(result, tuple | list) and result else result), None


def noised_of(result: Any, handed: Tensor | None) -> tuple[Any, Any]:
    """x_t and the other tensor of its shape (None if there is none) of what `add_noise` returns."""
    parts = list(result.values()) if isinstance(result, dict) else result
    if not isinstance(parts, tuple | list):
        return result, None
    if any(isinstance(part, tuple) for part in parts):  # ((x_t, t), noise)
        parts = [e for part in parts for e in (part if isinstance(part, tuple) else (part,))]
    tensors = [part for part in parts if isinstance(part, Tensor) and part.dim() > 1]
    if len(tensors) > 1 and handed is not None and torch.equal(tensors[0], handed):
        tensors = tensors[1:]  # the noise that it was handed comes first
    return (tensors[0] if tensors else result), (tensors[1] if len(tensors) > 1 else None)


def _first(ask: Callable[[str], Any], names: tuple[str, ...]) -> Any:
    return next((value for value in map(ask, names) if isinstance(value, Tensor)), None)


def with_noise(ask: Callable[[Tensor], tuple[Any, Any]], x_0: Tensor, noise: Tensor) -> Tensor:
    """What a method that draws its noise and shows it would make of an image and a given noise.

    It is affine in both: x_t = c_0 x_0 + c_1 noise. On zeros it shows c_1, elementwise; on images
    so large that the noise is small beside them, c_0 x_0.

    Args:
        ask: x_0 -> (x_t, the noise that it drew).
        x_0, noise: (b, ...) what is wanted.

    Raises:
        ValueError: it does not show its noise.
    """
    size = LOUD_HALF if x_0.dtype == torch.float16 else LOUD
    still, drawn = ask(0 * x_0)
    loud, beside = ask(size * x_0)
    if not isinstance(drawn, Tensor) or not isinstance(beside, Tensor) or drawn.shape != x_0.shape:
        raise ValueError("it takes no noise and does not return the noise that it drew")
    by_noise = torch.where(drawn == 0, still, still / drawn)
    return (loud - by_noise * beside) / size + by_noise * noise
