"""How a loop is called: with which shape, t and model, found out by calling it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from sys import float_info
from typing import Any

import torch
from torch import Tensor

from compare.candidate.door.names import plain
from compare.candidate.door.reading import POINTS, SEQUENCES, VOLUMES
from compare.candidate.generators import seed_everything
from compare.candidate.load import Broken, raised
from compare.candidate.model import learned
from compare.candidate.model.call import Manner, NoNumbers, Place
from compare.candidate.model.output import is_of_a_pair, may_be_halved
from compare.candidate.model.told import Told, told_by
from compare.candidate.replay import EXPLODED, Recorded, global_seed
from compare.candidate.scheduler import numbers
from compare.candidate.spy import Answer, Model, affine_denoiser, output_of
from compare.candidate.subject import Subject
from compare.oracle import F64

SHAPE = (32, 2, 8, 8)
OF_DATA = {POINTS: (128, 32), SEQUENCES: (32, 8, 16), VOLUMES: (16, 1, 4, 8, 8)}
TRIED = 4  # manners in which a loop is called, one after the other
SLIGHTLY = 0.005  # what answers at one (x_t, t) differ by, in x_0: no weight up to 10 makes a clip
INSIDE = 0.95  # of x_0: what is beyond is folded back, as at a limit it would be no more restless
MANNER = ("manner of sample",)  # of the answers of a subject
PICTURES = {"x", "samples", "sample", "images", "image", "imgs", "img", "pictures", "x0"}
COURSE = "the pictures after each of its steps"


@dataclass(frozen=True)
class Loop:
    """A loop of a candidate, and how it is called."""

    subject: Subject
    table: Tensor
    manner: Manner

    def run(
        self, answer: Answer, generator: Any, seed: int, shape: tuple[int, ...] | None = None
    ) -> tuple[Model, Tensor]:
        """The model that answers so, after a run, and the pictures of that run."""
        manner = replace(self.manner, shape=shape or self.manner.shape)
        model = Model(answer, self.table, manner=manner)
        result = _call(self.subject, model, manner.shape, generator, seed)
        _check(result, model, manner.shape, self.subject.by_names)
        return model, result

    def run_restless(
        self, answers: int = 3, reach: float = 1.0, beside: int = 0
    ) -> tuple[Model, Tensor]:
        """The same of a `restless` model of this seed and reach, so far beside the usual seed."""
        kind, seed = self.subject.setting.prediction_type, seed_of(self.subject) + beside
        return self.run(restless(kind, self.table, answers, reach), stream(seed), seed)


def settled(subject: Subject, table: Tensor) -> tuple[Loop, Model, Tensor]:
    """How the loop is to be called, and what came of it.

    It is asked for pictures of one shape. If it makes or shows others, it is asked for those, and
    for points or sequences if it takes no pictures and its `add_noise` neither. How it was called
    before, under another reading, it is called first.
    """
    data = subject.door.data.value
    key = ("settled", subject.setting.prediction_type, data, tuple(table.tolist()))
    return subject.remember(key, lambda: _settled(subject, table))


def _settled(subject: Subject, table: Tensor) -> tuple[Loop, Model, Tensor]:
    kind, seed = subject.setting.prediction_type, seed_of(subject)
    manner: Manner = subject.answers.get(MANNER, Manner(SHAPE))
    manner = replace(manner, answers=subject.door.answers.value)
    plain: Broken | None = None
    for tried in range(TRIED):
        model = Model(restless(kind, table), table, manner=manner, patient=tried > 0)
        broken, result = None, None
        try:
            result = _call(subject, model, manner.shape, stream(seed), seed)
        except Broken as error:
            broken = error
        stopped = not model.patient and bool(model.shapes) and model.shapes[0] != manner.shape
        if broken is not None and manner.learned is None and not stopped:
            plain = broken
        better = _better(manner, model, broken is not None and not stopped)
        if broken is not None and better == manner and manner.shape == SHAPE:
            better = replace(manner, shape=OF_DATA.get(subject.door.data.value, SHAPE))
        if better == manner:
            break
        manner = better
    if broken is not None:
        raise broken if plain is None else plain
    assert result is not None
    _check(result, model, manner.shape, subject.by_names)
    told = told_by(subject.own_objects, said_by(model), table)
    loop = Loop(subject, table, replace(manner, beside=model.beside))
    if told not in (None, model.told):
        loop = replace(loop, manner=replace(manner, told=told))
        model, result = loop.run_restless()
    subject.answers[MANNER] = loop.manner
    return loop, model, result


def loop_told(subject: Subject, table: Tensor) -> Tensor:
    """(calls,) float64 what a loop tells its model of the first picture, as it tells it."""
    return said_by(_first(subject, table)[1])


def loop_tells(subject: Subject, table: Tensor) -> Told | None:
    """By which number it tells its model t."""
    return told_by(subject.own_objects, loop_told(subject, table), table)


def shape_of_loop(subject: Subject, table: Tensor) -> tuple[int, ...]:
    """Of the pictures that a loop makes, without the batch."""
    return _first(subject, table)[0].manner.shape[1:]


def place_of_time(subject: Subject, table: Tensor) -> Place | None:
    """The place of t in a loop's calls of its model, where names do not say it."""
    return _first(subject, table)[0].manner.time


def place_of_condition(subject: Subject, table: Tensor) -> str:
    """Where a condition stands beside x_t in a loop's calls of its model; "" if none does."""
    return _first(subject, table)[1].beside.where


def _first(subject: Subject, table: Tensor) -> tuple[Loop, Model, Tensor]:
    """A loop with the first table that it may have: how it calls its model does not hang on it."""
    key = ("loop first", subject.door.data.value)
    return subject.remember(key, lambda: settled(subject, table))


def said_by(model: Model) -> Tensor:
    """(calls,) float64 what a model was told of the first picture."""
    return torch.stack([asked.said[0] for asked in model.seen]).to(F64)


def _better(manner: Manner, model: Model, raised: bool) -> Manner:
    """The manner that fits what a call showed."""
    if is_of_a_pair(model.uses):
        manner = replace(manner, pair=True)
    elif manner.learned is None and (may_be_halved(model.uses, raised) or manner.pair):
        manner = replace(manner, learned=learned.SMALLEST)
    if manner.time is None:
        manner = replace(manner, time=_by_change(model.maybe))
    shape = tuple(model.shapes[0]) if model.shapes else manner.shape
    if shape == manner.shape:
        return manner
    images = shape[0]
    if shape[1:] != manner.shape[1:]:
        images = min(max(prod(SHAPE) // prod(shape[1:]), 2), prod(SHAPE) // 2)
    return replace(manner, shape=(images, *shape[1:]))


def _by_change(told: dict[Place, list[Tensor]]) -> Place | None:
    """The place of t: of several that may be it, the only one that changes from call to call, but
    for what is switched on and off."""
    values = {k: v for k, v in told.items() if len(v) > 1}
    counts = {k: len({float(each[0]) for each in v}) for k, v in values.items()}
    for most in (1, 2):
        changing = [k for k, count in counts.items() if count > most]
        if len(changing) == 1:
            return changing[0] if len(values) > 1 else None
    return None


def _check(result: Tensor, model: Model, shape: tuple[int, ...], by_names: bool) -> None:
    made, seen = tuple(result.shape), {tuple(given) for given in model.shapes}
    if seen == {shape} and len(made) == 4 and made[:2] == shape[:2] and made != shape:
        text = f"sample makes {sized(shape)}, and returns {sized(made)}: what is made of them"
        raise Broken(f"{text} behind the loop is not judged; leave it out for this")
    if made != shape:
        text = f"sample returned shape {tuple(result.shape)}, asked for {shape}"
        own = "" if model.seen else ", and never asks the model that it is handed: it has its own"
        raise Broken(text + own, raised=bool(own) or by_names)
    if not model.seen:
        raise Broken("sample never calls the model", raised=False)
    other = next((tuple(given) for given in model.shapes if tuple(given) != shape), None)
    if other is not None:
        raise Broken(f"sample gives the model {other}, and returns {shape}", raised=False)


def _call(
    subject: Subject, model: Model, shape: tuple[int, ...], generator: Any, seed: int
) -> Tensor:
    seed_everything(global_seed(seed))
    try:
        with Recorded(prod(shape)) as recorded:
            result = subject.whole["sample"](model, shape, generator)
        model.drawn, model.draws = recorded.found, recorded.draws
        pictures, of_course = last_pictures(result, shape)
    except Broken:
        raise
    except NoNumbers as error:
        step = f", in the step from t={int(model.seen[-1].t[0])}" if model.seen else ""
        raise Broken(f"{error}{step}", raised=False) from None
    except Exception as error:
        raise Broken(f"sample(model, {shape}) raises {raised(error)}") from None
    subject.returned["sample"] = COURSE if of_course else "pictures"
    b, *image = shape
    if len(image) == 3 and pictures.shape == (b, *image[1:], image[0]):  # channels last
        return pictures.movedim(-1, 1)
    return pictures


def last_pictures(result: Any, shape: tuple[int, ...]) -> tuple[Tensor, bool]:
    """The pictures that a loop returned, first in a tuple or alone in a dict, and whether they are
    the last of a list of its course."""
    if isinstance(result, Mapping):
        fitting = {k: each for k, each in result.items() if len(_axes(each)) >= len(shape)}
        named = [each for name, each in fitting.items() if plain(str(name)) in PICTURES]
        few = named if len(named) == 1 else [*fitting.values()]
        result = few[0] if len(few) == 1 else result
    if isinstance(result, tuple) and result and hasattr(result[0], "__len__"):
        return last_pictures(result[0], shape)
    if isinstance(result, list) and result:
        if len(_axes(result[-1])) == len(shape):
            return numbers("sample", result[-1]).detach(), True
        if len(_axes(result[-1])) == len(shape) - 1:  # a list of pictures
            result = torch.stack([numbers("sample", each) for each in result])
    pictures = numbers("sample", result).detach()
    if pictures.dim() == len(shape) + 1 and len(pictures):
        return pictures[-1], True
    return pictures, False


def _axes(each: Any) -> tuple[int, ...]:
    return tuple(getattr(each, "shape", ()))


def restless(kind: str, table: Tensor, seed: int = 3, reach: float = 1.0) -> Answer:
    """The exact denoiser of "sample", off by something else at each call, as what it is asked for.

    So the output is no function of x_t, and each has a coefficient of its own in x_{t-1}. Asked
    again at one (x_t, t) it answers slightly otherwise. Every second picture is `reach` times that.
    """
    stream, last = torch.Generator().manual_seed(seed), list[Tensor]()
    every = torch.arange(len(table))
    curves = torch.stack(
        [*affine_denoiser("sample", table, every), table.sqrt(), (1 - table).sqrt()], dim=1
    )

    def answer(x: Tensor, t: Tensor) -> Tensor:
        off = torch.empty_like(x).uniform_(-1, 1, generator=stream)
        slope, height, *levels = curves[t].T.reshape(4, -1, 1, 1, 1)
        if last and torch.equal(last[0], x) and torch.equal(last[1], t):
            return output_of(kind, x, last[2] + SLIGHTLY * off, *levels)
        x_0 = torch.addcmul(height, slope, x).clamp(-1, 1) + 0.3 * off
        x_0 = 2 * x_0.clamp(-INSIDE, INSIDE) - x_0  # folded back
        if reach != 1:
            x_0[1::2] *= reach
        size = float(x.abs().amax())
        if size > EXPLODED:  # else x_t would hide it
            x_0 *= min(size, float_info.max) / EXPLODED
        last[:] = [x, t, x_0]
        return output_of(kind, x, x_0, *levels)

    return answer


def seed_of(subject: Subject) -> int:
    """That of the runs of its loop."""
    return 11 + 1000 * subject.seed


def stream(seed: int) -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


def sized(shape: tuple[int, ...]) -> str:
    """What a batch of this shape is.

    >>> sized((32, 3, 8, 8)), sized((32, 2)), sized((32, 24, 8))
    ('pictures of shape (3, 8, 8)', 'points of 2 numbers', 'sequences of shape (24, 8)')
    """
    if len(shape) == 2:
        return f"points of {shape[1]} {'number' if shape[1] == 1 else 'numbers'}"
    kind = {3: "sequences", 4: "pictures"}.get(len(shape), "volumes")
    return f"{kind} of shape {shape[1:]}"
