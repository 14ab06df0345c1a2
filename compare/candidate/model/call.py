"""Which argument of a call is the picture, which is t, and what else the model was told.

The picture is known by its shape and t by its name; without one it is the first number, or number
for each image, after the picture. Values say nothing, but for one thing: a condition is handed over
that is the same for all images, and a noised batch never is.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from compare.candidate.door.names import LABELS, TIMES
from compare.candidate.door.reading import PLAIN
from compare.candidate.model.told import Told

Place = int | str  # of an argument: its position, or its name


class NoNumbers(TypeError):
    """A model was handed complex numbers, which no network takes."""


@dataclass(frozen=True)
class Beside:
    """A condition beside x_t in the channels: an image, or what the model made of x_t before.

    Attributes:
        where: "before" or "after" x_t; "" if there is none.
        channels: how many it has.
        of: how many it and x_t have.
    """

    where: str = ""
    channels: int = 0
    of: int = 0

    def without(self, x: Tensor) -> Tensor:
        """The channels of x_t alone."""
        return x[:, self.channels :] if self.where == "before" else x[:, : self.of - self.channels]


NONE = Beside()


@dataclass(frozen=True)
class Manner:
    """How a candidate calls its model, as far as a single call does not say it.

    Attributes:
        shape: (b, c, h, w) or (b, d), of the pictures that it is asked for.
        pair: the answer is the first of a pair, `model(x, t)[0]`.
        time: the place of t, where several arguments may be it.
        told: by which number it tells t; None if the first call is to say it.
        answers: what the model gives for what it predicts, as `door.reading` has it.
        learned: the v of a learned variance, which every number of a second half of the channels
            is; None if there is no such half.
        beside: the condition that calls before had.
    """

    shape: tuple[int, ...]
    pair: bool = False
    time: Place | None = None
    told: Told | None = None
    answers: str = PLAIN
    learned: float | None = None
    beside: Beside = NONE


@dataclass(frozen=True)
class Call:
    """What one call told the model.

    Attributes:
        x: (b, c, h, w) or (b, d) the pictures.
        t: (b,) of each image, or () of all.
        more: {place: value} of all other arguments.
        maybe: {place: value} of those that may be t.
        beside: where a condition stands beside x_t in the channels.
    """

    x: Tensor
    t: Tensor
    more: dict[Place, Any]
    maybe: dict[Place, Tensor]
    beside: Beside


def read(
    given: tuple[Any, ...], named: dict[str, Any], manner: Manner, before: Beside = NONE
) -> Call:
    """The parts of a call of the model; `before` is the condition that a call before had.

    Raises:
        NoNumbers: some argument is complex.
        TypeError: no argument is a batch of pictures, or none tells the time; says how it was
            called.

    >>> x, t = torch.zeros(4, 1, 8, 8), torch.full((4,), 7)
    >>> call = read((t, x), {"y": None}, Manner((4, 1, 8, 8)))
    >>> call.x.shape, call.t.tolist(), call.more
    (torch.Size([4, 1, 8, 8]), [7, 7, 7, 7], {'y': None})
    """
    told: dict[Place, Any] = dict(enumerate(given))
    told.update(named)
    pictures = {k: v for k, v in told.items() if _per_image(v) > 1} or _single_numbers(told)
    if any(isinstance(v, Tensor) and v.is_complex() for v in told.values()):
        raise NoNumbers("its model is handed complex numbers: the root of something negative")
    if not pictures:
        raise TypeError(f"no argument is a batch of pictures: {words(given, named)}")
    place = next(iter(pictures))
    if len(pictures) > 1:
        place = max(pictures, key=lambda k: _likeness(pictures[k], manner.shape))
    x = told.pop(place)
    beside = _condition(x, manner.shape, before)
    x = beside.without(x) if beside.where else x
    maybe = {k: torch.as_tensor(v) for k, v in told.items() if _may_be_time(v, len(x))}
    at = _time(maybe, manner.time)
    if at is None:
        raise TypeError(f"no argument tells the time: {words(given, named)}")
    del told[at]
    return Call(x, maybe[at], told, maybe, beside)


def _condition(x: Tensor, shape: tuple[int, ...], before: Beside = NONE) -> Beside:
    """The channels of x at one end that are the same in all pictures, if it has more channels than
    `shape`, which was asked for; of one picture, or of as many as before, those at the end where
    they were before.

    >>> x = torch.cat([torch.randn(4, 2, 8, 8), torch.zeros(4, 1, 8, 8)], dim=1)
    >>> found = _condition(x, (4, 2, 8, 8))
    >>> found, found.without(x).shape
    (Beside(where='after', channels=1, of=3), torch.Size([4, 2, 8, 8]))
    """
    if before.where and x.shape[1] == before.of:
        return before
    if len(shape) != x.dim() or x.shape[1] <= shape[1]:
        return NONE
    if len(x) < 2:
        return replace(before, channels=x.shape[1] - shape[1], of=x.shape[1])
    same = (x == x[:1]).movedim(1, 0).flatten(1).all(dim=1).tolist()
    n, c = sum(same), len(same)
    if 0 < n < c and all(same[:n]):
        return Beside("before", n, c)
    return Beside("after", n, c) if 0 < n < c and all(same[-n:]) else NONE


def _single_numbers(told: dict[Place, Any]) -> dict[Place, Tensor]:
    """The first of what may be points of one number, (b, 1), where there are no others."""
    alike = ((k, v) for k, v in told.items() if _per_image(v) == 1 and k not in TIMES)
    return dict([*alike][:1])


def _per_image(value: Any) -> float:
    """How many numbers each image of a batch has; 0 for what is no batch of such."""
    if not isinstance(value, Tensor) or value.dim() < 2 or not value.is_floating_point():
        return 0
    return value.numel() / max(len(value), 1)


def _likeness(picture: Tensor, shape: tuple[int, ...]) -> tuple[bool, bool, bool, float]:
    alike, noised = picture.shape[1:] == shape[1:], not bool((picture == picture[:1]).all())
    return alike, noised, picture.dim() == len(shape), _per_image(picture)


def _may_be_time(value: Any, images: int) -> bool:
    if isinstance(value, list | tuple):
        return len(value) in (1, images) and all(type(each) in (int, float) for each in value)
    if isinstance(value, bool) or not isinstance(value, Tensor | int | float):
        return False
    return not isinstance(value, Tensor) or value.numel() in (1, images)


def _time(maybe: dict[Place, Tensor], chosen: Place | None) -> Place | None:
    """The place of t: the one that is chosen, or one with a name for it, or the first."""
    if chosen in maybe:
        return chosen
    by_name = [place for place in maybe if place in TIMES]
    without = [place for place in maybe if place not in LABELS]
    return next(iter([*by_name, *without]), None)


def words(given: tuple[Any, ...], named: dict[str, Any]) -> str:
    """How the model was called.

    >>> words((torch.zeros(2, 3), 5), {"y": None})
    'it was called as model(float32 of shape (2, 3), 5, y=None)'
    """
    parts = [_said(v) for v in given] + [f"{name}={_said(v)}" for name, v in named.items()]
    return f"it was called as model({', '.join(parts)})"


def _said(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
    return repr(value) if value is None or isinstance(value, int | float) else type(value).__name__
