"""What calls of a loss show: what the model is given, and what comes out."""

from contextlib import suppress
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from compare.candidate.load import Broken
from compare.candidate.loss.calls import (
    CALLS,
    OFF,
    Loss,
    enough,
    gain,
    images_of,
    knowing,
    nothing,
    said_in,
    settled,
)
from compare.candidate.loss.variance import Trained, trained
from compare.candidate.model.call import Place
from compare.candidate.model.cost import HEIGHTS
from compare.candidate.model.told import Told, taken_for, told_by
from compare.candidate.replay import Recorded
from compare.candidate.spy import per_image
from compare.candidate.subject import Subject
from compare.oracle import F64
from compare.oracle.algorithms import TARGETS

APART = 0.1  # what noise has in common with x_t that it is no part of: far above what is by chance
NOTHING = 1e-4  # of a perfect model's loss: what is left of one that has no other error


@dataclass(frozen=True)
class Seen:
    """What calls of a loss showed."""

    shape: tuple[int, ...]  # (b, c, h, w) or (b, d) of the images
    perfect: float
    perfect_t: Tensor  # (images,) the t at which it was asked
    redrawn: bool  # whether that of a model that knows noise which is not in x_t is 0
    zero: float
    told: Told  # how the model is told t
    t: Tensor  # (calls, b), in steps that count from its base
    x: Tensor  # (images, pixels) what the model was given, for images of +-HEIGHT
    x_t: Tensor  # (images,) and at which t
    signs: Tensor  # (images, pixels) of those images
    dtype: torch.dtype  # of what the model was given
    gain: Tensor | None  # (images,) what one unit of x_0 adds to x_t, from two calls of one seed
    spoiled: Tensor  # (calls, 3) loss of one spoiled image
    spoiled_by: Tensor  # (calls, 3, pixels) and what it was off by
    adds: bool  # whether every spoiled image changed the loss
    flat: float  # loss of a model that is wrong by the same amount everywhere
    chequered: float  # and of one that is wrong by it up and down
    costs: Tensor  # (heights,) what errors of `HEIGHTS`, up and down, add to a perfect model's
    bare: float  # to which they add
    fewer: float | None  # of one that is wrong by the last, in a batch of half as many images
    smaller: float | None  # and of smaller images
    spread: bool  # whether images of one channel are compared with those of others in the batch
    gradient: str | None  # what is wrong with its gradient, "" if nothing is; NumPy has none
    pair: bool  # whether the model is taken for one that returns a pair
    trained: Trained | None  # how a variance is, that is learned beside what is predicted
    time: Place | None  # the place of t in a call of it, where several may be that
    beside: str  # where a condition stands beside x_t in the channels, "" if none does
    nothing: float | None  # the number that some images are told now and then for their label
    dropped: float  # the share of the labels that are that number

    @property
    def images(self) -> int:
        """In a batch."""
        return self.shape[0]

    @property
    def pixels(self) -> int:
        """In an image."""
        return prod(self.shape[1:])


def look(subject: Subject, table: Tensor, rate: float) -> Seen:
    """Calls the loss, once, with models of known answers; `table` (T,) is its alpha-bar.

    So many calls show which t are drawn that an end is missed by chance at most at this `rate`.
    """
    calls = enough(len(table), rate)
    seen: Seen = subject.remember(("loss", *subject.asked_as), lambda: _look(subject, table, calls))
    return seen


def _look(subject: Subject, table: Tensor, calls: int) -> Seen:
    loss = settled(subject, table)
    x_0 = images_of(loss.manner.shape)
    times, told = _times(loss, calls, x_0)
    loss = replace(loss, manner=replace(loss.manner, told=told))
    perfects = [_perfect(loss, x_0, seed) for seed in range(4)]
    up, down = (
        OFF * torch.tensor(signs).repeat(x_0[0].numel() // 2) for signs in ([1, 1], [1, -1])
    )
    last = HEIGHTS[-1]
    seen = Seen(
        shape=tuple(x_0.shape),
        perfect=sum(value for value, _ in perfects) / len(perfects),
        perfect_t=torch.cat([t for _, t in perfects]),
        redrawn=_redrawn(loss, x_0, perfects[0][0]),
        told=told,
        t=times,
        signs=x_0.sign().flatten(1).repeat(CALLS, 1),
        flat=_perfect(loss, x_0, 0, up)[0],
        chequered=_perfect(loss, x_0, 0, down)[0],
        **_costs(loss, x_0),
        fewer=_perfect(loss, x_0[: len(x_0) // 2], 0, last)[0],
        smaller=_smaller(loss, last),
        spread=_spread(loss),
        gradient=_gradient(loss, x_0),
        pair=loss.manner.pair,
        trained=None if loss.manner.learned is None else trained(loss),
        time=loss.manner.time,
        **_spoilt(loss, x_0),
        **_shown(loss, x_0),
    )
    if not torch.equal(_perfect(loss, x_0, 0)[1], perfects[0][1]):
        text = "loss draws other t when a seed comes again: it goes by what it was asked before"
        raise Broken(f"{text}, as importance sampling by past losses does, which is not judged")
    return seen


def _perfect(loss: Loss, x_0: Tensor, seed: int, off: Tensor | float = 0.0) -> tuple[float, Tensor]:
    """The loss of a model that is off by so much, (pixels,), and the t at which it was asked."""
    model = loss.model(knowing(loss, x_0, off))
    value = loss.of(model, x_0, seed)
    return value, loss.times(model)


def _redrawn(loss: Loss, x_0: Tensor, perfect: float) -> bool:
    """Whether a model that answers with other noise of the loss's, which is not in x_t, costs
    nothing beside one that answers with that in x_t."""
    of_noise, of_image = TARGETS[loss.subject.setting.prediction_type](loss.table)
    with Recorded(x_0.numel()) as draws:
        model = loss.model(nothing)
        loss.of(model, x_0, 0)
    x_t = model.seen[0].x.flatten()
    others = [z for z in draws.found if abs(float(z.to(F64).flatten() @ x_t)) < APART * len(x_t)]

    def costs(z: Tensor) -> float:
        def answer(x: Tensor, t: Tensor) -> Tensor:
            a, b = (per_image(part[t], x) for part in (of_noise, of_image))
            return a * z.to(F64).reshape(x.shape) + b * x_0.to(F64).reshape(x.shape)

        return loss.of(loss.model(answer), x_0, 0)

    return any(costs(z) < NOTHING * perfect for z in others)


def _costs(loss: Loss, x_0: Tensor) -> dict[str, Any]:
    """The mean of both signs less the loss without, so that of squares a wrong target falls out."""
    up, down = ([_perfect(loss, x_0, 0, s * h)[0] for h in HEIGHTS] for s in (1, -1))
    both, bare = (torch.tensor(up, dtype=F64) + torch.tensor(down)) / 2, _perfect(loss, x_0, 0)[0]
    return {"costs": both - bare, "bare": bare}


def _smaller(loss: Loss, off: float) -> float | None:
    """The loss on images of half the size, if it takes them."""
    *front, last = loss.manner.shape
    if last < 4:
        return None
    other = replace(loss, manner=replace(loss.manner, shape=(*front, last // 2)))
    with suppress(Broken):
        return _perfect(other, images_of(other.manner.shape), 0, off)[0]
    return None


def _spread(loss: Loss) -> bool:
    """Whether answers to images of one channel, or points of one number, and not to those of
    several, cost as much in another order: shapes such as (b, h, w) and (b, 1, h, w), or (b,) and
    (b, 1), are spread over each other."""
    images, *sizes = loss.manner.shape
    if len(sizes) not in (1, 3) or sizes[0] == 1:
        return False
    single = replace(loss, manner=replace(loss.manner, shape=(images, 1, *sizes[1:])))
    with suppress(Broken):
        return _takes_any_order(single) and not _takes_any_order(loss)
    return False


def _takes_any_order(loss: Loss) -> bool:
    """True if the answers for other images of the batch cost as much."""
    x_0 = images_of(loss.manner.shape)
    out = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(6), dtype=F64)

    def costs(out: Tensor) -> float:
        return loss.of(loss.model(lambda x, t: out.reshape(x.shape)), x_0, 0)

    one = costs(out)
    return abs(one - costs(out.roll(1, 0))) <= NOTHING * abs(one)


def _times(loss: Loss, calls: int, x_0: Tensor) -> tuple[Tensor, Told]:
    """The t that each call of the loss draws for `TIMES` images, (calls, TIMES), and how told."""
    said, table = said_in(loss, calls), loss.table
    told = told_by(loss.subject.own_objects, said.flatten(), table)
    if told is None:
        _refuse_continuous(said, len(table))
        told = taken_for(said, len(table))
    times = told.steps(said)
    loss = replace(loss, manner=replace(loss.manner, told=told))
    return times, replace(told, base=_base(loss, times, x_0))


def _refuse_continuous(said: Tensor, T: int) -> None:
    """Raises `Broken` where a loss tells more numbers than there are steps, and not whole ones."""
    parts = said[said != said.round()]
    if len(parts.unique()) > T:
        text = f"loss tells its model numbers that are none of {T} steps, such as {parts[0]:.4g}"
        raise Broken(f"{text}: a noise level between steps, or a continuous time, is not judged")


def _shown(loss: Loss, x_0: Tensor) -> dict[str, Any]:
    """What a zero model is given, and costs; and the same for the images turned over."""
    zeros, xs, ts, gains, labels = [], [], [], [], list[Tensor]()
    for seed in range(100, 100 + CALLS):
        model, turned = loss.model(nothing), loss.model(nothing)
        zeros.append(loss.of(model, x_0, seed))
        loss.of(turned, -x_0, seed)
        xs.append(model.seen[0].x.flatten(1))
        ts.append(loss.times(model))
        labels += [v for v in model.seen[0].labels.values() if isinstance(v, Tensor)]
        if torch.equal(model.seen[0].t, turned.seen[0].t):  # else it does not replay
            gains.append(gain(model, turned, x_0))
    return {
        "zero": sum(zeros) / len(zeros),
        "x": torch.cat(xs),
        "x_t": torch.cat(ts),
        "dtype": model.dtype,
        "gain": torch.cat(gains) if len(gains) == CALLS else None,
        "beside": model.beside.where,
        **_dropped_to(labels),
    }


def _dropped_to(labels: list[Tensor]) -> dict[str, Any]:
    """The one number that takes the place of labels, (calls, b) the same but for that, and of how
    many of them.

    >>> told = [[1, 2, 3]] * (CALLS - 2) + [[1, 9, 3], [9, 2, 3]]
    >>> _dropped_to([torch.tensor(each) for each in told])["nothing"]
    9.0
    """
    none = {"nothing": None, "dropped": 0.0}
    if len(labels) != CALLS or any(v.shape != labels[0].shape or v.dim() != 1 for v in labels):
        return none
    told = torch.stack(labels)
    usual = told.mode(dim=0).values
    put = told[told != usual].unique()
    if len(usual) > 1 and len(usual.unique()) == 1 < len(put):  # mostly dropped
        put = usual[:1]
    if len(put) != 1:
        return none
    return {"nothing": float(put[0]), "dropped": float((told == put).double().mean())}


def _gradient(loss: Loss, x_0: Tensor) -> str | None:
    """What is wrong with the gradient of the loss; "" if it reaches the model, None in NumPy."""
    stream = torch.Generator().manual_seed(5)
    model = loss.model(lambda x, t: torch.rand(x.shape, generator=stream, dtype=F64))
    with torch.enable_grad():
        value = loss.value(model, x_0, 0)
        if model.in_arrays:
            return None
        if model.weight.grad is not None:  # it goes backward itself
            return ""
        if not value.requires_grad:
            return "the loss has no gradient: it is detached, or computed under no_grad"
        of_model = torch.autograd.grad(value.sum(), model.weight, allow_unused=True)[0]
    if of_model is None or not bool(of_model):
        return "the gradient of the loss does not reach the model: its output is detached"
    return ""


def _spoilt(loss: Loss, x_0: Tensor) -> dict[str, Any]:
    """Losses of models that are perfect but for one image, and what those are off by; one of which
    a perfect model answers next to 0 is off by nothing."""
    spoiled, by, adds = [], [], True
    for seed in range(200, 204):
        value, t = _perfect(loss, x_0, seed)
        rows = (0, int(t.argmin()), int(t.argmax()))
        pairs = [_spoiled(loss, x_0, i, seed) for i in rows]
        spoiled.append([cost for cost, _ in pairs])
        by.append(torch.stack([out for _, out in pairs]))
        adds = adds and all(
            cost != value for cost, off in pairs if bool((off.abs() > NOTHING).any())
        )
    return {"spoiled": torch.tensor(spoiled), "spoiled_by": torch.stack(by), "adds": adds}


def _spoiled(loss: Loss, x_0: Tensor, i: int, seed: int) -> tuple[float, Tensor]:
    """The loss of a model perfect but for image i, and by how much it is off there."""
    known, off = knowing(loss, x_0), list[Tensor]()

    def answer(x: Tensor, t: Tensor) -> Tensor:
        out = known(x, t)
        off.append(out[i].flatten().clone())
        out[i] = 0
        return out

    return loss.of(loss.model(answer), x_0, seed), off[0]


def _base(loss: Loss, t: Tensor, x_0: Tensor) -> int:
    """What t counts from; where neither 0 nor T is drawn, by the signal level at t or at t - 1.

    A loss that draws both counts as its tables do.
    """
    T, low, from_one = len(loss.table), int(t.min()), loss.subject.t_base == 1
    if int(t.max()) >= T:
        return int(low > 0 or from_one)
    if low == 0 and not from_one:
        return 0
    model, turned = loss.model(nothing), loss.model(nothing)
    for one, images in ((model, x_0), (turned, -x_0)):
        loss.of(one, images, 100)
    signal, at = gain(model, turned, x_0), model.seen[0].t.long()
    inside = at > 0
    off = [float((signal - loss.table[at - base].sqrt())[inside].abs().sum()) for base in (0, 1)]
    return int(off[1] < off[0])
