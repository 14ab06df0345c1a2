"""How a loss is called, and what it tells its model."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from math import ceil, log, prod

import torch
from torch import Tensor

from compare.candidate.door import handing
from compare.candidate.generators import seed_everything
from compare.candidate.load import Broken, raised
from compare.candidate.loop.calls import place_of_time, shape_of_loop
from compare.candidate.model import learned
from compare.candidate.model.call import Manner, Place
from compare.candidate.model.output import is_of_a_pair, may_be_halved
from compare.candidate.replay import global_seed
from compare.candidate.scheduler import numbers
from compare.candidate.spy import Answer, Model, exact_output
from compare.candidate.subject import Subject
from compare.oracle import F64

HEIGHT = 0.6  # pixels of the images are +-HEIGHT
OFF = 4.0  # how wrong a model is that is wrong everywhere
MISSED = 1e-9  # how often an end of the t that are drawn is missed by chance
TIMES = 512  # images of a call that shows which t are drawn
SAME = 1e-6  # of the signal of two images at one t, by rounding
MASKS = 1024  # images by which it is seen how often their labels are dropped
CALLS = 24  # by which x_t is taken apart
TINY = (1, 2, 2)  # those images, if the loss takes any
PICTURES = ((3, 8, 8), (1, 8, 8), (3, 32, 32), (1, 28, 28), (1, 32, 32), (3, 64, 64))
CHANNELS_LAST = "lambda model, x_0: YOURS(model, x_0.permute(0, 2, 3, 1))"
SHAPES = (*PICTURES, (192,), (2,), (24, 8), (1, 4, 8, 8))  # then points, sequences, volumes
NUMBERS = 32 * prod(SHAPES[0])  # of a batch


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
            if len(asked) == 4 and shown == (asked[0], asked[3], *asked[1:3]):
                text = "loss takes images (b, h, w, c), and gives its model (b, c, h, w)"
                raise Broken(f"{text}: Adapter(loss={CHANNELS_LAST}) says so")
            times, left = divmod(shown[0], asked[0])
            if shown[1:] == asked[1:] and times > 1 and not left:
                raise Broken(f"loss shows its model each image {times} times, which is not judged")
            raise Broken(f"loss gives the model {shown} for images {asked}", raised=False)
        return float(value.mean())

    def value(self, model: Model, x_0: Tensor, seed: int) -> Tensor:
        """What the loss returns."""
        seed += 10_000 * self.subject.seed
        seed_everything(global_seed(seed))
        stream = torch.Generator().manual_seed(seed)
        try:
            images = handing.ranged(self.subject.door, x_0)
            value = self.subject.whole["loss"](model, images, stream)
            if isinstance(value, Mapping) and ("loss" in value or len(value) == 1):
                value = value.get("loss", next(iter(value.values())))
            value = value[0] if isinstance(value, tuple) and _is_one_number(value[:1]) else value
        except Exception as error:
            called = f"loss(model, images {tuple(x_0.shape)})"
            raise Broken(f"{called} raises {raised(error)}") from None
        return numbers("loss", value)

    def times(self, model: Model) -> Tensor:
        """(b,) the t, from 0, at which a model was asked first."""
        base = 0 if self.manner.told is None else self.manner.told.base
        return (model.seen[0].t.long() - base).clamp(0, len(self.table) - 1)


def _is_one_number(value: tuple[object, ...]) -> bool:
    """True for a tensor of one number: a loss, before what is returned beside it."""
    return any(isinstance(each, Tensor) and each.numel() == 1 for each in value)


def enough(T: int, rate: float) -> int:
    """Calls that miss one of both ends of the t that are drawn by chance at most at this rate.

    (1 - 1/T)^n < exp(-n/T) is the chance that n draws miss one; t that are drawn in pairs are half
    as many draws.
    """
    return 2 * max(1, ceil(T * log(2 / rate) / TIMES))


def settled(subject: Subject, table: Tensor) -> Loss:
    """How the loss is to be called: with the first images that it takes."""
    time, answers = _told_by_the_loop(subject, table), subject.door.answers.value
    loss = Loss(subject, table, Manner((), time=time, answers=answers))
    first: Broken | None = None
    _refuse_single_numbers(subject, table)
    for shape in SHAPES:
        images = min(max(NUMBERS // prod(shape), 8), NUMBERS // 2)
        for pair in (False, True):
            loss = replace(loss, manner=replace(loss.manner, shape=(images, *shape), pair=pair))
            model = loss.model(nothing)
            broken = _refusal(loss, model)
            halved = _halved(loss, model, broken is not None)
            if halved is not None:
                return _with_time(*halved)
            if broken is None:
                if pair or not is_of_a_pair(model.uses):
                    return _with_time(loss, model)
            else:
                first = first or broken
                if not is_of_a_pair(model.uses):
                    break
    assert first is not None
    raise first


def _refuse_single_numbers(subject: Subject, table: Tensor) -> None:
    """Raises `Broken` where a loop makes points of one number: what a loss makes of their axis is
    not seen in others."""
    shape: tuple[int, ...] = ()
    with suppress(Broken):
        shape = shape_of_loop(subject, table) if subject.has("sample") else ()
    if shape == (1,):
        raise Broken("of points of one number, as the loop makes them, a loss is not judged")


def _with_time(loss: Loss, seen: Model) -> Loss:
    """The loss; of several numbers for each image that may be t, the one that the signal goes by,
    else the one that changes in a loop.

    Labels stand beside t, and may stand before it. What an image adds to x_t, of two calls of one
    seed, goes down where t goes up and nowhere else (up, with mistake 5-swapped): labels do so in
    no batch.
    """
    told = {k: v[0] for k, v in seen.maybe.items() if v[0].numel() == loss.manner.shape[0]}
    if len(told) < 2:
        return loss
    x_0, turned = images_of(loss.manner.shape), loss.model(nothing)
    loss.of(turned, -x_0, 0)
    signal = gain(seen, turned, x_0)
    found = [place for place, value in told.items() if _goes_by(signal, value.flatten())]
    time = found[0] if len(found) == 1 else loss.manner.time
    return replace(loss, manner=replace(loss.manner, time=time))


def gain(model: Model, turned: Model, x_0: Tensor) -> Tensor:
    """(b,) what one unit of x_0 adds to x_t, by models that were shown x_0 and -x_0 at one seed."""
    x, other = (each.seen[0].x.flatten(1) for each in (model, turned))
    return ((x - other) / (2 * x_0.flatten(1))).mean(dim=1)


def _goes_by(signal: Tensor, value: Tensor) -> bool:
    """True if the signal of images goes one way with a value of theirs, and is the same just where
    the value is, but at one place: where a table is read beyond its end."""
    order = value.argsort()
    steps, falls = value[order].to(F64).diff(), -signal[order].diff()
    back = min(int((falls > SAME).sum()), int((falls < -SAME).sum()))
    return back + int(((steps > 0) != (falls.abs() > SAME)).sum()) <= 1


def _refusal(loss: Loss, model: Model) -> Broken | None:
    """What a loss says that does not take its images; None if it does."""
    try:
        loss.of(model, images_of(loss.manner.shape), 0)
    except Broken as broken:
        return broken
    return None


def _halved(loss: Loss, model: Model, raised: bool) -> tuple[Loss, Model] | None:
    """The loss with outputs of twice the channels, if it wants those, and a model it was given."""
    if not (may_be_halved(model.uses, raised) or (raised and loss.manner.pair)):
        return None
    other = replace(loss, manner=replace(loss.manner, learned=learned.SMALLEST))
    seen = other.model(nothing)
    return (other, seen) if _refusal(other, seen) is None else None


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


def loss_told(subject: Subject, table: Tensor) -> Tensor:
    """(n,) float64 what a loss tells its model of so many images that both ends are among them."""

    def ask() -> Tensor:
        return said_in(settled(subject, table), enough(len(table), MISSED)).flatten()

    return subject.remember(("loss told",), ask)


def masks_told(subject: Subject, table: Tensor) -> dict[Place, float]:
    """{place: the share of ones} of what a loss tells its model beside x_t and t as a mask of zeros
    and ones, drawn for each image."""

    def ask() -> dict[Place, float]:
        loss, told = settled(subject, table), dict[Place, list[Tensor]]()
        for seed in range(ceil(MASKS / loss.manner.shape[0])):
            model = loss.model(nothing)
            loss.of(model, images_of(loss.manner.shape), 600 + seed)
            for place, value in model.seen[0].labels.items():
                if isinstance(value, Tensor) and value.numel() == len(model.seen[0].x):
                    told.setdefault(place, []).append(value.flatten().to(F64))
        every = {place: torch.cat(values) for place, values in told.items()}
        masks = {p: v for p, v in every.items() if bool(((v == 0) | (v == 1)).all())}
        return {p: float(v.mean()) for p, v in masks.items() if len(v.unique()) == 2}

    found: dict[Place, float] = subject.remember(("masks told",), ask)
    return found


def said_in(loss: Loss, calls: int) -> Tensor:
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
        model = loss.model(nothing)
        loss.of(model, images, 300 + seed)
        drawn.append(model.seen[0].said)
    said = torch.stack(drawn).to(F64)
    if not bool(said.isfinite().all()):
        strange = float(said[~said.isfinite()][0])
        raise Broken(f"the loss tells its model t = {strange}", raised=False)
    return said


def knowing(loss: Loss, x_0: Tensor, off: Tensor | float = 0.0) -> Answer:
    """The exact answer for images that are known, off by so much."""
    kind = loss.subject.setting.prediction_type

    def answer(x: Tensor, t: Tensor) -> Tensor:
        wrong = off.reshape(x.shape[1:]) if isinstance(off, Tensor) else off
        return exact_output(kind, loss.table, x, t, x_0.double().reshape(x.shape)) + wrong

    return answer


def nothing(x: Tensor, t: Tensor) -> Tensor:
    """The answer of a model that predicts zero, of the shape of x (b, c, h, w)."""
    return 0 * x
