"""What calls of a loop show: what its model is asked, and what comes out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor

from compare.candidate.load import Broken, raised
from compare.candidate.model import learned
from compare.candidate.model.call import Manner, Place
from compare.candidate.model.guidance import Mix, Round, mix, rounds
from compare.candidate.model.output import is_of_a_pair, may_be_halved
from compare.candidate.model.told import Told, read_told
from compare.candidate.replay import Drawn, drawn, fixed_noise
from compare.candidate.scheduler import seed_everything
from compare.candidate.spy import Answer, Model, exact_denoiser, exact_output
from compare.candidate.subject import Subject
from compare.oracle import F64

SHAPE = (32, 2, 8, 8)
FEW = (3, 1, 2, 2)  # by which generators of their own are tried
TRIED = 4  # manners in which a loop is called, one after the other
SLIGHTLY = 0.005  # what answers at one (x_t, t) differ by, in x_0: no weight up to 10 makes a clip


@dataclass(frozen=True)
class Run:
    """A loop seen from the model: x (calls, ...), what it was told, and what came out.

    What was asked at one (x_t, t) is one call.

    Attributes:
        x, out: (calls, b, c, h, w) float64 what the model was given, and answered, guided.
        t: (calls,) what it was told of the first image.
        parted: what it was told of the images of the first call in which they differ; None if in
            each call they are alike.
        training: whether the model was in training mode at any call.
        left_training: and after the last.
        kept: whether an object that is no module keeps the model.
        result: (b, c, h, w) the pictures.
        again: those of a second run with the same seed.
        apart: three pictures from a list of generators, together and one by one; None if refused.
        far: bytes from a model that is sure of a left half at 1.3 and a right half at -1.3, if the
            loop returns bytes.
        told: how the model is told t; `t` is that in steps.
        drawn: what the loop drew, where it can be replayed.
        fixed: what is the same with another seed: `"x_T"`, `"noise"` or nothing.
        mix: how several answers at one (x_t, t) are mixed, if there are such.
        learned: what is made of a second half of the model's channels, where that can be read.
        manner: how the loop is called.
    """

    x: Tensor
    t: Tensor
    parted: Tensor | None
    out: Tensor
    training: bool
    left_training: bool
    kept: bool
    result: Tensor
    again: Tensor
    apart: tuple[Tensor, Tensor] | None
    far: Tensor | None
    told: Told
    drawn: Drawn | None
    fixed: str
    mix: Mix | None
    learned: learned.Learned | None
    manner: Manner

    @cached_property
    def size(self) -> Tensor:
        """(calls,) the largest pixel of each x_t, infinite where that is no number."""
        return self.x.abs().amax(dim=(1, 2, 3, 4)).nan_to_num(torch.inf)

    @property
    def rough(self) -> float:
        """How much more than once the output is rounded where several answers are mixed."""
        return 1.0 if self.mix is None else float(self.mix.main.abs().sum())


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
        _check(result, model, manner.shape)
        return model, result


def look(subject: Subject, table: Tensor) -> Run:
    """Calls the loop, once, with models of known answers; `table` (T,) is its alpha-bar."""
    run: Run = subject.remember(("sample", *subject.asked_as), lambda: _look(subject, table))
    return run


def _look(subject: Subject, table: Tensor) -> Run:
    kind, seed = subject.setting.prediction_type, 11 + 1000 * subject.seed
    loop, model, result = _settled(subject, table, seed)
    half = _learned(loop, model, seed)
    if half is not None and half.lower != loop.manner.learned:
        loop = replace(loop, manner=replace(loop.manner, learned=half.lower))
        model, result = loop.run(restless(kind, table), _stream(seed), seed)
    _, again = loop.run(restless(kind, table), _stream(seed), seed)
    seen = rounds(model.seen)
    mixture = _mixture(loop, seen, result, seed) if len(seen) < len(model.seen) else None
    if mixture is not None and mixture.stays:
        seen, mixture = [Round((each,)) for each in model.seen], None
    x, out = _mixed(seen, mixture)
    replayed = drawn(x, out, seed)
    fixed = ""
    if replayed is None:
        stranger, _ = loop.run(restless(kind, table, 4), _stream(seed + 1), seed + 1)
        fixed = fixed_noise(x, out, *_mixed(rounds(stranger.seen), mixture))
    far = None
    if result.dtype == torch.uint8:
        _, far = loop.run(_far_outside(kind, table), _stream(1), seed)
    return Run(
        x=x,
        t=torch.stack([each.asked[0].t[0] for each in seen]),
        parted=next((each.t for each in model.seen if bool((each.t != each.t[0]).any())), None),
        out=out,
        training=any(each.training for each in model.seen),
        left_training=model.training,
        kept=model.kept,
        result=_wide(result),
        again=_wide(again),
        apart=_apart(loop, seed),
        far=far,
        told=model.told or Told(),
        drawn=replayed,
        fixed=fixed,
        mix=mixture,
        learned=half,
        manner=loop.manner,
    )


def _settled(subject: Subject, table: Tensor, seed: int) -> tuple[Loop, Model, Tensor]:
    """How the loop is to be called, and what came of it.

    It is asked for pictures of one shape. If it makes or shows others, it is asked for those.
    """
    kind, manner = subject.setting.prediction_type, Manner(SHAPE)
    plain: Broken | None = None
    for _ in range(TRIED):
        model = Model(restless(kind, table), table, manner=manner)
        broken, result = None, None
        try:
            result = _call(subject, model, manner.shape, _stream(seed), seed)
        except Broken as error:
            broken = error
            plain = error if manner.learned is None else plain
        better = _better(manner, model, broken is not None)
        if better == manner:
            break
        manner = better
    if broken is not None:
        raise broken if plain is None else plain
    assert result is not None
    _check(result, model, manner.shape)
    told = read_told(said_by(model), len(table))
    loop = Loop(subject, table, manner)
    if told in (None, model.told):
        return loop, model, result
    loop = replace(loop, manner=replace(manner, told=told))
    return loop, *loop.run(restless(kind, table), _stream(seed), seed)


def loop_told(subject: Subject, table: Tensor) -> Tensor:
    """(calls,) float64 what a loop tells its model of the first picture, as it tells it."""
    return said_by(_first(subject, table)[1])


def place_of_time(subject: Subject, table: Tensor) -> Place | None:
    """The place of t in a loop's calls of its model, where names do not say it."""
    return _first(subject, table)[0].manner.time


def _first(subject: Subject, table: Tensor) -> tuple[Loop, Model, Tensor]:
    """A loop with the first table that it may have: how it calls its model does not hang on it."""
    seed = 11 + 1000 * subject.seed
    return subject.remember(("loop first",), lambda: _settled(subject, table, seed))


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
        manner = replace(manner, time=_by_change(model.maybe, len(model.seen)))
    shape = tuple(model.shapes[0]) if model.shapes else manner.shape
    if shape == manner.shape:
        return manner
    images = shape[0]
    if shape[1:] != manner.shape[1:]:
        images = min(max(prod(SHAPE) // prod(shape[1:]), 2), prod(SHAPE) // 2)
    return replace(manner, shape=(images, *shape[1:]))


def _by_change(told: dict[Place, list[Tensor]], calls: int) -> Place | None:
    """The place of t: of several that may be it, the only one that changes from call to call."""
    values = {k: v for k, v in told.items() if len(v) > 1}
    changing = [k for k, v in values.items() if len({float(each[0]) for each in v}) > 1]
    return changing[0] if len(values) > 1 and len(changing) == 1 else None


def _check(result: Tensor, model: Model, shape: tuple[int, ...]) -> None:
    if tuple(result.shape) != shape:
        text = f"sample returned shape {tuple(result.shape)}, asked for {shape}"
        raise Broken(text, raised=False)
    if not model.seen:
        raise Broken("sample never calls the model", raised=False)
    other = next((tuple(given) for given in model.shapes if tuple(given) != shape), None)
    if other is not None:
        raise Broken(f"sample gives the model {other}, and returns {shape}", raised=False)


def _call(
    subject: Subject, model: Model, shape: tuple[int, ...], generator: Any, seed: int
) -> Tensor:
    seed_everything(seed)
    try:
        return torch.as_tensor(subject.whole["sample"](model, shape, generator)).detach()
    except Exception as error:
        raise Broken(f"sample(model, {shape}) raises {raised(error)}") from None


def _apart(loop: Loop, seed: int) -> tuple[Tensor, Tensor] | None:
    """Three pictures from a list of generators, together and one by one.

    None if they are refused, or passed over: such a loop draws from the global state.
    """
    size = FEW[1:] if loop.manner.shape == SHAPE else loop.manner.shape[1:]
    exact = exact_denoiser(loop.subject.setting.prediction_type, loop.table)

    def run(*seeds: int) -> Tensor:
        return loop.run(exact, [_stream(s) for s in seeds], seed, (len(seeds), *size))[1]

    try:
        many = run(1, 2, 3)
        if torch.equal(many, run(4, 5, 6)):
            return None
        return many, torch.cat([run(s) for s in (1, 2, 3)])
    except Broken:
        return None


def _mixture(loop: Loop, one: list[Round], result: Tensor, seed: int) -> Mix:
    """How the answers of each round are mixed, by a second run of the same seed."""
    kind = loop.subject.setting.prediction_type
    model, other = loop.run(restless(kind, loop.table, 4), _stream(seed), seed)
    two = rounds(model.seen)
    if [len(r.asked) for r in one] != [len(r.asked) for r in two]:
        raise Broken("sample asks the model more or less often with other answers", raised=False)
    return mix(one, two, (_wide(result), _wide(other)))


def _learned(loop: Loop, model: Model, seed: int) -> learned.Learned | None:
    """What the loop makes of the second half of its model's channels, where that can be read."""
    if loop.manner.learned is None:
        return None
    kind, table, seen = loop.subject.setting.prediction_type, loop.table, rounds(model.seen)
    base = 0 if model.told is None else model.told.base
    t = torch.stack([each.asked[0].t[0] for each in seen]).long() - base
    noise = torch.cat([1 - table[t.clamp(0, len(table) - 1)], table.new_zeros(1)])

    def drawn_at(v: float) -> Drawn | None:
        other = replace(loop, manner=replace(loop.manner, learned=v))
        asked = rounds(other.run(restless(kind, table), _stream(seed), seed)[0].seen)
        return drawn(*_mixed(asked, None), seed)

    half = learned.look(drawn_at, noise)
    if loop.manner.pair and (half is None or not half.known):
        raise Broken("sample makes its noise of a second output by a rule that is not judged")
    return half


def _mixed(asked: Sequence[Round], mixture: Mix | None) -> tuple[Tensor, Tensor]:
    """(rounds, b, c, h, w) each: x, and the answers made one."""
    x = torch.stack([each.asked[0].x for each in asked])
    if mixture is None or len(mixture.weights) != len(asked):
        return x, torch.stack([each.asked[0].out for each in asked])
    return x, mixture.of(asked)


def _wide(pictures: Tensor) -> Tensor:
    """(b, d) -> (b, d, 1, 1); pictures as they are."""
    return pictures.reshape(*pictures.shape, *[1] * (4 - pictures.dim()))


def sized(shape: tuple[int, ...]) -> str:
    """What a batch of this shape is.

    >>> sized((32, 3, 8, 8)), sized((32, 2))
    ('pictures of shape (3, 8, 8)', 'points of 2 numbers')
    """
    if len(shape) == 2:
        return f"points of {shape[1]} numbers"
    return f"pictures of shape {shape[1:]}"


def _stream(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def restless(kind: str, table: Tensor, seed: int = 3) -> Answer:
    """The exact denoiser of "sample", off by something else at each call, as what it is asked for.

    So the output is no function of x_t, and each has a coefficient of its own in x_{t-1}. Asked
    again at one (x_t, t) it answers slightly otherwise.
    """
    exact, stream = exact_denoiser("sample", table), torch.Generator().manual_seed(seed)
    last: list[Tensor] = []

    def answer(x: Tensor, t: Tensor) -> Tensor:
        off = 2 * torch.rand(x.shape, generator=stream, dtype=F64) - 1
        if last and torch.equal(last[0], x) and torch.equal(last[1], t):
            return exact_output(kind, table, x, t, last[2] + SLIGHTLY * off)
        x_0 = (exact(x, t) + 0.3 * off).clamp(-0.95, 0.95)
        last[:] = [x, t, x_0]
        return exact_output(kind, table, x, t, x_0)

    return answer


def _far_outside(kind: str, table: Tensor) -> Answer:
    """A denoiser sure of a picture half brighter than white and half darker than black."""

    def answer(x: Tensor, t: Tensor) -> Tensor:
        x_0 = torch.full_like(x, 1.3)
        x_0[..., x.shape[-1] // 2 :] = -1.3
        return exact_output(kind, table, x, t, x_0)

    return answer
