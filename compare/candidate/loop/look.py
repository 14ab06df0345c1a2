"""What calls of a loop show: what its model is asked, and what comes out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from compare.candidate.load import Broken
from compare.candidate.loop.calls import (
    SHAPE,
    Loop,
    loop_tells,
    loop_told,
    seed_of,
    settled,
    stream,
)
from compare.candidate.model import learned
from compare.candidate.model.call import Manner
from compare.candidate.model.guidance import Mix, Round, mix, relabelled, rounds
from compare.candidate.model.told import Told
from compare.candidate.replay import Drawn, drawn, drawn_as_seen, fixed_noise, noise_within
from compare.candidate.spy import Answer, Model, as_pictures, exact_denoiser, exact_output
from compare.candidate.subject import Subject

FEW = (3, 1, 2, 2)  # by which generators of their own are tried
FAR_OUTSIDE = 1.3  # what white and black are overshot to
OUTSIDE = 2.0  # times what is inside [-1, 1]


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
        kept: whether an object that is no module keeps the model, or the loop puts it in a mode.
        result: (b, c, h, w) the pictures.
        told: how the model is told t; `t` is that in steps.
        drawn: what the loop drew, where it can be replayed.
        noise: (calls, b, c, h, w) that alone, where the steps are no sums with it, or not at all
            pixels; None if unknown.
        fixed: what is the same with another seed: `"x_T"`, `"noise"` or nothing.
        mix: how several answers at one (x_t, t) are mixed, if there are such.
        relabelled: which picture has other labels step by step, as `relabelled` has it.
        learned: what is made of a second half of the model's channels, where that can be read.
        loop: it, and how it is called.
    """

    x: Tensor
    t: Tensor
    parted: Tensor | None
    out: Tensor
    training: bool
    left_training: bool
    kept: bool
    result: Tensor
    told: Told
    drawn: Drawn | None
    noise: Tensor | None
    fixed: str
    mix: Mix | None
    relabelled: str | None
    learned: learned.Learned | None
    loop: Loop

    @property
    def manner(self) -> Manner:
        """How the loop is called."""
        return self.loop.manner

    @property
    def z(self) -> Tensor | None:
        """(calls, b, c, h, w) the noise of each step, where it is known, sums or not."""
        return self.noise if self.drawn is None else self.drawn.z

    @cached_property
    def size(self) -> Tensor:
        """(calls,) the largest pixel of each x_t, infinite where that is no number."""
        return self.x.abs().amax(dim=(1, 2, 3, 4)).nan_to_num(torch.inf)

    @property
    def rough(self) -> float:
        """How much more than once the output is rounded where several answers are mixed."""
        return 1.0 if self.mix is None else float(self.mix.main.abs().sum())


def look(subject: Subject, table: Tensor) -> Run:
    """Calls the loop, once, with models of known answers; `table` (T,) is its alpha-bar."""
    run: Run = subject.remember(_key("sample", subject), lambda: _look(subject, table))
    return run


def _key(what: str, subject: Subject) -> tuple[str, str]:
    """An answer of a loop hangs on what its model predicts, and on no other reading."""
    return what, subject.setting.prediction_type


def _look(subject: Subject, table: Tensor) -> Run:
    seed = seed_of(subject)
    loop, model, result = settled(subject, table)
    _refuse_unknown_times(subject, table)
    half = _learned(loop, model)
    if half is not None and half.lower != loop.manner.learned:
        loop = replace(loop, manner=replace(loop.manner, learned=half.lower))
        model, result = loop.run_restless()
    seen = rounds(model.seen)
    mixture = _mixture(loop, seen, result) if len(seen) < len(model.seen) else None
    if mixture is not None and mixture.stays:
        seen, mixture = [Round((each,)) for each in model.seen], None
    x, out = _mixed(seen, mixture)
    replayed = drawn(x, out, seed)
    fixed = ""
    if replayed is None:
        stranger, _ = loop.run_restless(4, beside=1)
        fixed = fixed_noise(x, out, *_mixed(rounds(stranger.seen), mixture))
        replayed = drawn_as_seen(x, out, model.drawn)
    noise = None if replayed is None else replayed.z
    if replayed is None:
        noise = noise_within(x, out, seed, model.drawn, model.draws)
    return Run(
        x=x,
        t=torch.stack([each.asked[0].t[0] for each in seen]),
        parted=next((each.t for each in model.seen if bool((each.t != each.t[0]).any())), None),
        out=out,
        training=any(each.training for each in model.seen),
        left_training=model.training,
        kept=model.kept or model.put_in_training,
        result=as_pictures(result),
        told=model.told or Told(),
        drawn=replayed,
        noise=noise if replayed is None or replayed.cut else None,
        fixed=fixed,
        mix=mixture,
        relabelled=relabelled(seen),
        learned=half,
        loop=loop,
    )


def _refuse_unknown_times(subject: Subject, table: Tensor) -> None:
    """Raises `Broken` for a loop that tells its model parts of numbers that are none of t."""
    said = loop_told(subject, table)
    parts = bool((said.isfinite() & (said != said.round())).any())
    if parts and loop_tells(subject, table) is None:
        first, last = float(said[0]), float(said[-1])
        text = f"sample tells its model {first:g}, ..., {last:g}: no t, t / T or level of its table"
        raise Broken(f"{text}, so of which steps these are the times is not known")


def look_far_outside(run: Run) -> Tensor:
    """(b, c, h, w) the pictures from a model that is sure of a left half at FAR_OUTSIDE and a right
    half at less that."""
    loop, subject = run.loop, run.loop.subject
    answer = _far_outside(subject.setting.prediction_type, loop.table)
    return subject.remember(
        _key("sample far outside", subject),
        lambda: loop.run(answer, stream(1), seed_of(subject))[1],
    )


def replays(run: Run) -> bool:
    """Whether the same seed gives the same pictures; NaN, which another check is about, is one."""
    subject = run.loop.subject
    return subject.remember(
        ("sample replays",), lambda: _same(run.result, as_pictures(run.loop.run_restless()[1]))
    )


def look_outside(run: Run) -> Run | None:
    """The run of the same seed with a model that leaves [-1, 1] in every second picture; None where
    it goes another way."""
    subject = run.loop.subject

    def ask() -> Run | None:
        model, result = run.loop.run_restless(reach=OUTSIDE)
        x, out = _mixed(rounds(model.seen), run.mix)
        same = x.shape == run.x.shape
        return replace(run, x=x, out=out, result=as_pictures(result)) if same else None

    return subject.remember(_key("sample outside", subject), ask)


def apart(run: Run) -> bool | None:
    """Whether three pictures from a list of generators are the same together and one by one.

    None if they are refused, or passed over: such a loop draws from the global state.
    """
    return run.loop.subject.remember(("sample apart",), lambda: _apart(run.loop))


def _apart(loop: Loop) -> bool | None:
    size = FEW[1:] if loop.manner.shape == SHAPE else loop.manner.shape[1:]
    exact = exact_denoiser(loop.subject.setting.prediction_type, loop.table)
    seed = seed_of(loop.subject)

    def run(*seeds: int) -> Tensor:
        return loop.run(exact, [stream(s) for s in seeds], seed, (len(seeds), *size))[1]

    try:
        many = run(1, 2, 3)
        if _same(many, run(4, 5, 6)):
            return None
        return _same(many, torch.cat([run(s) for s in (1, 2, 3)]))
    except Broken:
        return None


def _same(one: Tensor, other: Tensor) -> bool:
    """True if all numbers are the same; NaN is."""
    return bool(torch.isclose(one, other, rtol=0, atol=0, equal_nan=True).all())


def _mixture(loop: Loop, one: list[Round], result: Tensor) -> Mix:
    """How the answers of each round are mixed, by a second run of the same seed."""
    model, other = loop.run_restless(4)
    two = rounds(model.seen)
    if [len(r.asked) for r in one] != [len(r.asked) for r in two]:
        raise Broken("sample asks the model more or less often with other answers", raised=False)
    return mix(one, two, (as_pictures(result), as_pictures(other)))


def _learned(loop: Loop, model: Model) -> learned.Learned | None:
    """What the loop makes of the second half of its model's channels, where that can be read."""
    if loop.manner.learned is None:
        return None
    table, seen = loop.table, rounds(model.seen)
    base = 0 if model.told is None else model.told.base
    t = torch.stack([each.asked[0].t[0] for each in seen]).long() - base
    noise = torch.cat([1 - table[t.clamp(0, len(table) - 1)], table.new_zeros(1)])

    def drawn_at(v: float) -> Drawn | None:
        asked = seen
        if v != loop.manner.learned:
            other = replace(loop, manner=replace(loop.manner, learned=v))
            asked = rounds(other.run_restless()[0].seen)
        return drawn(*_mixed(asked, None), seed_of(loop.subject))

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


def _far_outside(kind: str, table: Tensor) -> Answer:
    """A denoiser sure of a picture half brighter than white and half darker than black."""

    def answer(x: Tensor, t: Tensor) -> Tensor:
        x_0 = torch.full_like(x, FAR_OUTSIDE)
        x_0[..., x.shape[-1] // 2 :] = -FAR_OUTSIDE
        return exact_output(kind, table, x, t, x_0)

    return answer
