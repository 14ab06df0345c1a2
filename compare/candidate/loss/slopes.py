"""What a loss makes x_t of, what it compares with and how it weighs an image: exactly, at each t.

x_t is a sum of the image and of what the loss drew, which is kept as it draws. The slope of a
squared error at the model's answer is a sum of that answer and of what it is compared with: the
coefficients of both are read, and with them the weight. That of an absolute error is a sign.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from compare.candidate.load import Broken
from compare.candidate.loss.calls import CALLS, HEIGHT, Loss, images_of, settled
from compare.candidate.loss.look import look
from compare.candidate.model.cost import HEIGHTS
from compare.candidate.subject import Subject
from compare.oracle import F64

DRAWING = ("randn", "randn_like", "normal", "normal_", "rand", "rand_like", "uniform_")
FAR = HEIGHTS[-1]  # answers are as far from 0 at least: beyond the delta of any Huber's
SEEDS = range(400, 400 + CALLS)
MOST = 3  # draws of the shape of the images, among which the noise is looked for
FEWEST = 16  # pixels of an image of which its coefficients can be read
ROUNDED = 2.0**-24  # of the largest number: float32 rounds what the model is given
NOTHING = 1e-4  # of the largest number: far above the rounding of a sum, far below a part of one


class Known(NamedTuple):
    """A curve (k,), and how far off it is by the rounding of what it was read off (k,)."""

    value: Tensor
    error: Tensor


class Parts(NamedTuple):
    """The coefficients of x_0 and of the noise in something."""

    x_0: Known
    noise: Known


@dataclass(frozen=True)
class Slopes:
    """What was read at the t (k,) that a loss drew, each once, rising; None where it cannot be.

    Attributes:
        t: (k,) in steps from 0.
        x_t: what the model is given.
        target: what it is compared with, if errors are squared.
        weight: of an image of this t: 1 in a mean of squares, and in a mean of absolute errors.
        of_others: which of `"x_0"` and `"noise"` is multiplied in x_t by what the t of another
            image of the batch asks for, and `"weight"` if that goes by another image's t.
        of_one: the image whose t all of its batch have in x_t.
    """

    t: Tensor
    x_t: Parts | None
    target: Parts | None
    weight: Known | None
    of_others: tuple[str, ...] = ()
    of_one: int | None = None


class _Draws(TorchFunctionMode):
    """Keeps the numbers that are drawn inside."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in DRAWING:
            self.found.append(result.detach().to("cpu", F64, copy=True))
        return result


class _Calls(NamedTuple):
    """What calls of a loss showed of n images: t (n,), the rest (n, pixels).

    `slope` is that of the loss by each answer, and 1 times the error in a mean of squares. `drawn`
    is what may be the noise.
    """

    t: Tensor
    image: Tensor
    x: Tensor
    answer: Tensor
    slope: Tensor
    drawn: list[Tensor]


class _Sum(NamedTuple):
    """What numbers are a sum of: the coefficients of the image, of the answer and of its sign (n,),
    of each draw (n, draws), and how far off they are (n,)."""

    image: Tensor
    drawn: Tensor
    answer: Tensor
    sign: Tensor
    error: Tensor

    @property
    def draws(self) -> list[int]:
        """Which draws are in it."""
        within: list[int] = (self.drawn.abs() > NOTHING).any(dim=0).nonzero().flatten().tolist()
        return within


def slopes(subject: Subject, table: Tensor, rate: float) -> Slopes | None:
    """What the loss of a candidate shows; `table` (T,) is its alpha-bar, `rate` see `look`."""
    seen = look(subject, table, rate)
    if seen.pixels < FEWEST:
        return None

    def ask() -> Slopes | None:
        loss = settled(subject, table)
        loss = replace(loss, manner=replace(loss.manner, told=seen.told))
        with suppress(Broken, RuntimeError):  # what it raises as it goes backward
            return _read(loss, images_of(loss.manner.shape))
        return None

    found: Slopes | None = subject.remember(("slopes", *subject.asked_as), ask)
    return found


def _read(loss: Loss, x_0: Tensor) -> Slopes | None:
    normal = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(1))
    each = [_called(loss, x_0, seed, normal + FAR * normal.sign()) for seed in SEEDS]
    if len({len(one.drawn) for one in each}) > 1:
        return None
    calls = _together(each)
    given, (target, weights), at = _sum_of(calls.x, calls), _compared(calls), calls.t.unique()
    weight = None if weights is None else _by_t(*weights, calls.t, at)
    ranked = weight is None and weights is not None and _by_rank(*weights, calls.t, at)
    of_others: tuple[str, ...] = ("weight",) if ranked else ()
    if given is None or len(given.draws) != 1:
        return Slopes(at, None, None, weight, of_others)
    x_t, of_target = _parts(given, given.draws[0], calls.t, at), None
    if target is not None and target.draws in ([], given.draws):
        of_target = _parts(target, given.draws[0], calls.t, at)
    of_others += _of_others(given, calls.t, at, loss)
    return Slopes(at, x_t, of_target, weight, of_others, _of_one(given, calls.t, loss))


def _called(loss: Loss, x_0: Tensor, seed: int, answer: Tensor) -> _Calls:
    """A call of the loss with a model that answers so."""
    out = answer.to(F64).requires_grad_()
    model = loss.model(lambda x, t: out)
    with torch.enable_grad(), _Draws() as draws:
        value = loss.value(model, x_0, seed)
        if out.grad is None and value.requires_grad:
            value.mean().backward()
    if len(model.seen) != 1 or model.seen[0].x.numel() != out.numel():
        raise Broken("loss asks its model more than once")
    slope = torch.zeros_like(out) if out.grad is None else out.grad
    wide = (len(x_0), -1)
    return _Calls(
        t=loss.times(model),
        image=x_0.to(F64).flatten(1),
        x=model.seen[0].x.flatten(1),
        answer=model.seen[0].out.detach().flatten(1),
        slope=slope.flatten(1) * out.numel() / 2,
        drawn=[z.reshape(wide) for z in draws.found if z.numel() == x_0.numel()][:MOST],
    )


def _together(calls: list[_Calls]) -> _Calls:
    """Several as one."""

    def whole(name: str) -> Tensor:
        return torch.cat([getattr(one, name) for one in calls])

    return _Calls(
        t=whole("t"),
        image=whole("image"),
        x=whole("x"),
        answer=whole("answer"),
        slope=whole("slope"),
        drawn=[torch.cat(parts) for parts in zip(*(one.drawn for one in calls), strict=True)],
    )


def _sum_of(numbers: Tensor, calls: _Calls) -> _Sum | None:
    """The sum that numbers (n, pixels) are, image by image; None if they are something else."""
    ones, sign = torch.ones_like(numbers), calls.answer.sign()
    columns = torch.stack([calls.image, *calls.drawn, calls.answer, sign, ones], dim=2)
    if not bool(columns.isfinite().all() and numbers.isfinite().all()):
        return None
    found = torch.linalg.lstsq(columns, numbers.unsqueeze(2)).solution
    left = (numbers - (columns @ found).squeeze(2)).abs().amax(dim=1)
    found, most = found.squeeze(2), numbers.abs().amax(dim=1)
    if bool((left + found[:, -1].abs() > NOTHING * most).any()):
        return None
    rounded = left + ROUNDED * most
    return _Sum(found[:, 0], found[:, 1:-3], found[:, -3], found[:, -2], rounded)


def _compared(calls: _Calls) -> tuple[_Sum | None, Known | None]:
    """What squared errors are taken from, and the weight of each image (n,)."""
    found = _sum_of(calls.slope, calls)
    if found is None or not bool(calls.slope.any()):  # or no gradient reaches the answers
        return None, None
    weight, near = found.answer, NOTHING * calls.slope.abs().max()
    if bool((FAR * weight.abs() <= near).all()):  # the slopes of absolute errors
        plain = not found.draws and bool((found.image.abs() <= near).all())
        return None, Known(2 * found.sign, 2 * found.error) if plain else None
    if bool((found.sign.abs() > near).any()):
        return None, None
    known = Known(weight, found.error / FAR)
    if not bool((weight > 0).all()):
        return None, known
    image, drawn = -found.image / weight, -found.drawn / weight[:, None]
    return _Sum(image, drawn, weight, found.sign, found.error / weight), known


def _parts(found: _Sum, noise: int, t: Tensor, at: Tensor) -> Parts | None:
    """The coefficients of the image and of that draw, if they go by t."""
    x_0 = _by_t(found.image, found.error / HEIGHT, t, at)
    eps = _by_t(found.drawn[:, noise], found.error, t, at)
    return None if x_0 is None or eps is None else Parts(x_0, eps)


def _by_rank(values: Tensor, error: Tensor, t: Tensor, at: Tensor) -> bool:
    """True if the values of each batch in order are those of its t in order, rising or falling."""
    t, values = (v.reshape(len(SEEDS), -1).sort().values for v in (t, values))
    most = error.max().expand(t.numel())
    both = (values.flatten(), values.flip(1).flatten())
    return any(_by_t(one, most, t.flatten(), at) is not None for one in both)


def _of_others(given: _Sum, t: Tensor, at: Tensor, loss: Loss) -> tuple[str, ...]:
    """Of which the coefficients do not go by t, and are those of a batch in another order."""
    signal, level = loss.table[t].sqrt(), (1 - loss.table[t]).sqrt()
    noise, found = given.drawn[:, given.draws[0]], []
    for name, values, right in (("x_0", given.image, signal), ("noise", noise, level)):
        ordered, wanted = (v.reshape(len(SEEDS), -1).sort().values for v in (values, right))
        alike = bool(((ordered - wanted).abs() <= NOTHING).all())
        if alike and _by_t(values, given.error, t, at) is None:
            found.append(name)
    return tuple(found)


def _of_one(given: _Sum, t: Tensor, loss: Loss) -> int | None:
    """The image whose t all of its batch have in x_t, where they are told others."""
    if any(len(row.unique()) == 1 for row in t.reshape(len(SEEDS), -1)):
        return None
    signal, level = loss.table[t].sqrt(), (1 - loss.table[t]).sqrt()
    pairs = ((given.image, signal), (given.drawn[:, given.draws[0]], level))
    rows = [[v.reshape(len(SEEDS), -1) for v in pair] for pair in pairs]
    for j in range(rows[0][1].shape[1]):
        off = [(is_ - right[:, j : j + 1]).abs().amax() for is_, right in rows]
        if bool(max(off) <= NOTHING):
            return j
    return None


def _by_t(values: Tensor, error: Tensor, t: Tensor, at: Tensor) -> Known | None:
    """(k,) the values (n,) of each t of `at` (k,); None if those of one t differ."""
    row, far = torch.searchsorted(at, t), torch.full(at.shape, torch.inf, dtype=F64)
    low = far.scatter_reduce(0, row, values, "amin")
    high = (-far).scatter_reduce(0, row, values, "amax")
    most = torch.zeros_like(far).scatter_reduce(0, row, error, "amax")
    if bool((high - low > NOTHING * high.abs() + 2 * most).any()):
        return None
    return Known((low + high) / 2, most + (high - low) / 2)
