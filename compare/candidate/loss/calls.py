"""What calls of a loss show: what the model is given, and what comes out."""

from contextlib import suppress
from dataclasses import dataclass, replace
from math import ceil, log, prod
from typing import Any

import torch
from torch import Tensor

from compare.candidate.door import handing
from compare.candidate.load import Broken, raised
from compare.candidate.loop.calls import place_of_time
from compare.candidate.model import learned
from compare.candidate.model.call import Manner, Place
from compare.candidate.model.cost import HEIGHTS
from compare.candidate.model.output import is_of_a_pair, may_be_halved
from compare.candidate.model.told import Told, read_told, taken_for
from compare.candidate.replay import global_seed
from compare.candidate.scheduler import seed_everything
from compare.candidate.spy import Answer, Model, exact_output
from compare.candidate.subject import Subject
from compare.oracle import F64

HEIGHT = 0.6  # pixels of the images are +-HEIGHT
OFF = 4.0  # how wrong a model is that is wrong everywhere
MISSED = 1e-9  # how often an end of the t that are drawn is missed by chance
TIMES = 512  # images of a call that shows which t are drawn
SAME = 1e-6  # of the signal of two images at one t, by rounding
CALLS = 24  # by which x_t is taken apart
TINY = (1, 2, 2)  # those images, if the loss takes any
SHAPES = ((3, 8, 8), (1, 8, 8), (3, 32, 32), (1, 28, 28), (1, 32, 32), (3, 64, 64), (192,), (2,))
NUMBERS = 32 * prod(SHAPES[0])  # of a batch


@dataclass(frozen=True)
class Seen:
    """What calls of a loss showed."""

    shape: tuple[int, ...]  # (b, c, h, w) or (b, d) of the images
    perfect: float
    perfect_t: Tensor  # (images,) the t at which it was asked
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
    fewer: float | None  # of one that is wrong by the last, in a batch of half as many images
    smaller: float | None  # and of smaller images
    gradient: str  # what is wrong with its gradient, "" if nothing is
    pair: bool  # whether the model is taken for one that returns a pair

    @property
    def images(self) -> int:
        """In a batch."""
        return self.shape[0]

    @property
    def pixels(self) -> int:
        """In an image."""
        return prod(self.shape[1:])


@dataclass(frozen=True)
class Loss:
    """A loss of a candidate, and how it is called."""

    subject: Subject
    table: Tensor
    manner: Manner

    def model(self, answer: Answer) -> Model:
        """A model that the loss can be given."""
        return Model(answer, self.table, self.manner)

    def of(self, model: Model, x_0: Tensor, seed: int) -> float:
        """What the model costs on these images."""
        value = self.value(model, x_0, seed).detach().float()
        if not model.seen:
            raise Broken("loss never calls the model", raised=False)
        if value.numel() not in (1, len(x_0), x_0.numel()):
            raise Broken(f"loss returned shape {tuple(value.shape)}, not a scalar", raised=False)
        if model.shapes[0] != x_0.shape:
            shown, asked = tuple(model.shapes[0]), tuple(x_0.shape)
            raise Broken(f"loss gives the model {shown} for images {asked}", raised=False)
        return float(value.mean())

    def value(self, model: Model, x_0: Tensor, seed: int) -> Tensor:
        """What the loss returns."""
        seed += 10_000 * self.subject.seed
        seed_everything(global_seed(seed))
        stream = torch.Generator().manual_seed(seed)
        try:
            images = handing.ranged(self.subject.door, x_0)
            return torch.as_tensor(self.subject.whole["loss"](model, images, stream))
        except Exception as error:
            called = f"loss(model, images {tuple(x_0.shape)})"
            raise Broken(f"{called} raises {raised(error)}") from None

    def times(self, model: Model) -> Tensor:
        """(b,) the t, from 0, at which a model was asked first."""
        base = 0 if self.manner.told is None else self.manner.told.base
        return (model.seen[0].t.long() - base).clamp(0, len(self.table) - 1)


def _enough(T: int, rate: float) -> int:
    """Calls that miss one of both ends of the t that are drawn by chance at most at this rate.

    (1 - 1/T)^n < exp(-n/T) is the chance that n draws miss one; t that are drawn in pairs are half
    as many draws.
    """
    return 2 * max(1, ceil(T * log(2 / rate) / TIMES))


def look(subject: Subject, table: Tensor, rate: float) -> Seen:
    """Calls the loss, once, with models of known answers; `table` (T,) is its alpha-bar.

    So many calls show which t are drawn that an end is missed by chance at most at this `rate`.
    """
    calls = _enough(len(table), rate)
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
    return Seen(
        shape=tuple(x_0.shape),
        perfect=sum(value for value, _ in perfects) / len(perfects),
        perfect_t=torch.cat([t for _, t in perfects]),
        told=told,
        t=times,
        signs=x_0.sign().flatten(1).repeat(CALLS, 1),
        flat=_perfect(loss, x_0, 0, up)[0],
        chequered=_perfect(loss, x_0, 0, down)[0],
        costs=_costs(loss, x_0),
        fewer=_perfect(loss, x_0[: len(x_0) // 2], 0, last)[0],
        smaller=_smaller(loss, last),
        gradient=_gradient(loss, x_0),
        pair=loss.manner.pair,
        **_spoilt(loss, x_0),
        **_shown(loss, x_0),
    )


def settled(subject: Subject, table: Tensor) -> Loss:
    """How the loss is to be called: with the first images that it takes."""
    loss = Loss(subject, table, Manner((), time=_told_by_the_loop(subject, table)))
    first: Broken | None = None
    for shape in SHAPES:
        images = min(max(NUMBERS // prod(shape), 8), NUMBERS // 2)
        for pair in (False, True):
            loss = replace(loss, manner=replace(loss.manner, shape=(images, *shape), pair=pair))
            model = loss.model(_nothing)
            try:
                loss.of(model, images_of(loss.manner.shape), 0)
                _refuse_learned(loss, model, False)
                if pair or not is_of_a_pair(model.uses):
                    return _with_time(loss, model)
            except Broken as broken:
                _refuse_learned(loss, model, True)
                first = first or broken
                if not is_of_a_pair(model.uses):
                    break
    assert first is not None
    raise first


def _with_time(loss: Loss, seen: Model) -> Loss:
    """The loss; of several numbers for each image that may be t, the one that the signal goes by.

    Labels stand beside t, and may stand before it. What an image adds to x_t, of two calls of one
    seed, goes down where t goes up and nowhere else (up, with mistake 5-swapped): labels do so in
    no batch.
    """
    told = {k: v[0] for k, v in seen.maybe.items() if v[0].numel() == loss.manner.shape[0]}
    if loss.manner.time is not None or len(told) < 2:
        return loss
    x_0, turned = images_of(loss.manner.shape), loss.model(_nothing)
    loss.of(turned, -x_0, 0)
    apart = (seen.seen[0].x - turned.seen[0].x).flatten(1)
    signal = (apart / (2 * x_0.flatten(1))).mean(dim=1)
    found = [place for place, value in told.items() if _goes_by(signal, value.flatten())]
    time = found[0] if len(found) == 1 else None
    return replace(loss, manner=replace(loss.manner, time=time))


def _goes_by(signal: Tensor, value: Tensor) -> bool:
    """True if the signal of images goes one way with a value of theirs, and is the same just where
    the value is, but at one place: where a table is read beyond its end."""
    order = value.argsort()
    steps, falls = value[order].to(F64).diff(), -signal[order].diff()
    back = min(int((falls > SAME).sum()), int((falls < -SAME).sum()))
    return back + int(((steps > 0) != (falls.abs() > SAME)).sum()) <= 1


def _refuse_learned(loss: Loss, model: Model, raised: bool) -> None:
    """Raises `Broken` for a loss that wants outputs of twice the channels."""
    if not may_be_halved(model.uses, raised):
        return
    other = replace(loss, manner=replace(loss.manner, learned=learned.SMALLEST))
    try:
        other.of(other.model(_nothing), images_of(loss.manner.shape), 0)
    except Broken:
        return
    words = "loss halves the channels of its model's output: that of a learned variance"
    raise Broken(f"{words} is not judged, its `step` or `sample` is")


def _told_by_the_loop(subject: Subject, table: Tensor) -> Place | None:
    """The place of t in a call of the model, if there is a loop that shows it."""
    if subject.has("sample"):
        with suppress(Broken):  # what a loop raises is told of it
            return place_of_time(subject, table)
    return None


def images_of(shape: tuple[int, ...]) -> Tensor:
    """Images whose pixels are +-HEIGHT, both in each."""
    signs = torch.randn(shape, generator=torch.Generator().manual_seed(0)).sign()
    if prod(shape[1:]) == 2:
        signs[:, 1] = -signs[:, 0]
    return HEIGHT * signs


def _perfect(loss: Loss, x_0: Tensor, seed: int, off: Tensor | float = 0.0) -> tuple[float, Tensor]:
    """The loss of a model that is off by so much, (pixels,), and the t at which it was asked."""
    model = loss.model(_knowing(loss, x_0, off))
    value = loss.of(model, x_0, seed)
    return value, loss.times(model)


def _knowing(loss: Loss, x_0: Tensor, off: Tensor | float = 0.0) -> Answer:
    """The exact answer for images that are known, off by so much."""
    kind = loss.subject.setting.prediction_type

    def answer(x: Tensor, t: Tensor) -> Tensor:
        wrong = off.reshape(x.shape[1:]) if isinstance(off, Tensor) else off
        return exact_output(kind, loss.table, x, t, x_0.double().reshape(x.shape)) + wrong

    return answer


def _costs(loss: Loss, x_0: Tensor) -> Tensor:
    """(heights,) the mean of both signs less the loss without, so that a wrong target falls out."""
    up, down = ([_perfect(loss, x_0, 0, s * h)[0] for h in HEIGHTS] for s in (1, -1))
    return (torch.tensor(up, dtype=F64) + torch.tensor(down)) / 2 - _perfect(loss, x_0, 0)[0]


def _smaller(loss: Loss, off: float) -> float | None:
    """The loss on images of half the size, if it takes them."""
    *front, last = loss.manner.shape
    if last < 4:
        return None
    other = replace(loss, manner=replace(loss.manner, shape=(*front, last // 2)))
    with suppress(Broken):
        return _perfect(other, images_of(other.manner.shape), 0, off)[0]
    return None


def loss_told(subject: Subject, table: Tensor) -> Tensor:
    """(n,) float64 what a loss tells its model of so many images that both ends are among them."""

    def ask() -> Tensor:
        return _said(settled(subject, table), _enough(len(table), MISSED)).flatten()

    return subject.remember(("loss told",), ask)


def _times(loss: Loss, calls: int, x_0: Tensor) -> tuple[Tensor, Told]:
    """The t that each call of the loss draws for `TIMES` images, (calls, TIMES), and how told."""
    said, T = _said(loss, calls), len(loss.table)
    told = read_told(said.flatten(), T) or taken_for(said, T)
    times = told.steps(said)
    loss = replace(loss, manner=replace(loss.manner, told=told))
    return times, replace(told, base=_base(loss, times, x_0))


def _said(loss: Loss, calls: int) -> Tensor:
    """(calls, TIMES) float64 what each call of the loss tells its model of as many images."""
    shape = loss.manner.shape[1:]
    if shape == SHAPES[0]:
        tiny = replace(loss, manner=replace(loss.manner, shape=(TIMES, *TINY)))
        with suppress(Broken):
            return _drawn(tiny, TINY, calls)
    return _drawn(loss, shape, calls)


def _drawn(loss: Loss, shape: tuple[int, ...], calls: int) -> Tensor:
    images, drawn = torch.zeros(TIMES, *shape), []
    for seed in range(calls):
        model = loss.model(_nothing)
        loss.of(model, images, 300 + seed)
        drawn.append(model.seen[0].said)
    return torch.stack(drawn).to(F64)


def _nothing(x: Tensor, t: Tensor) -> Tensor:
    return 0 * x


def _shown(loss: Loss, x_0: Tensor) -> dict[str, Any]:
    """What a zero model is given, and costs; and the same for the images turned over."""
    zeros, xs, ts, gains = [], [], [], []
    for seed in range(100, 100 + CALLS):
        model, turned = loss.model(_nothing), loss.model(_nothing)
        zeros.append(loss.of(model, x_0, seed))
        loss.of(turned, -x_0, seed)
        x, other = (m.seen[0].x.flatten(1) for m in (model, turned))
        xs.append(x)
        ts.append(loss.times(model))
        if torch.equal(model.seen[0].t, turned.seen[0].t):  # else it does not replay
            gains.append(((x - other) / (2 * x_0.flatten(1))).mean(dim=1))
    return {
        "zero": sum(zeros) / len(zeros),
        "x": torch.cat(xs),
        "x_t": torch.cat(ts),
        "dtype": model.dtype,
        "gain": torch.cat(gains) if len(gains) == CALLS else None,
    }


def _gradient(loss: Loss, x_0: Tensor) -> str:
    """What is wrong with the gradient of the loss; "" if it reaches the model."""
    stream = torch.Generator().manual_seed(5)
    model = loss.model(lambda x, t: torch.rand(x.shape, generator=stream, dtype=F64))
    with torch.enable_grad():
        value = loss.value(model, x_0, 0)
        if model.weight.grad is not None:  # it goes backward itself
            return ""
        if not value.requires_grad:
            return "the loss has no gradient: it is detached, or computed under no_grad"
        of_model = torch.autograd.grad(value.sum(), model.weight, allow_unused=True)[0]
    if of_model is None or not bool(of_model):
        return "the gradient of the loss does not reach the model: its output is detached"
    return ""


def _spoilt(loss: Loss, x_0: Tensor) -> dict[str, Any]:
    """Losses of models that are perfect but for one image, and what those are off by."""
    spoiled, by, adds = [], [], True
    for seed in range(200, 204):
        value, t = _perfect(loss, x_0, seed)
        rows = (0, int(t.argmin()), int(t.argmax()))
        pairs = [_spoiled(loss, x_0, i, seed) for i in rows]
        spoiled.append([cost for cost, _ in pairs])
        by.append(torch.stack([out for _, out in pairs]))
        adds = adds and all(cost != value for cost, _ in pairs)
    return {"spoiled": torch.tensor(spoiled), "spoiled_by": torch.stack(by), "adds": adds}


def _spoiled(loss: Loss, x_0: Tensor, i: int, seed: int) -> tuple[float, Tensor]:
    """The loss of a model perfect but for image i, and by how much it is off there."""
    known, off = _knowing(loss, x_0), list[Tensor]()

    def answer(x: Tensor, t: Tensor) -> Tensor:
        out = known(x, t)
        off.append(out[i].flatten().clone())
        out[i] = 0
        return out

    return loss.of(loss.model(answer), x_0, seed), off[0]


def _base(loss: Loss, t: Tensor, x_0: Tensor) -> int:
    """What t counts from; where neither 0 nor T is drawn, by the signal level at t or at t - 1."""
    T = len(loss.table)
    if int(t.min()) == 0 or int(t.max()) >= T:
        return int(int(t.max()) >= T and int(t.min()) > 0)
    seen = []
    for images in (x_0, -x_0):
        model = loss.model(_nothing)
        loss.of(model, images, 100)
        seen.append(model.seen[0])
    gain = ((seen[0].x - seen[1].x).flatten(1) / (2 * x_0.flatten(1))).mean(dim=1)
    at = seen[0].t.long()
    off = [float((gain - loss.table[at - base].sqrt()).abs().sum()) for base in (0, 1)]
    return int(off[1] < off[0])
