"""The role `sample`: a candidate's own loop, judged call by call as its model sees it."""

from collections.abc import Iterator
from contextlib import suppress
from math import isfinite

import torch
from torch import Tensor

from compare.candidate.load import Broken
from compare.candidate.loop.calls import SHAPE, sized
from compare.candidate.loop.look import Run, apart, look, replays
from compare.candidate.loss.calls import masks_told
from compare.candidate.model.guidance import GUIDED, Mix
from compare.candidate.subject import Subject
from compare.measure.check import Check, found, note, yes_no
from compare.measure.loop_steps import OVERFLOWS, Steps, Visited, steps_of, visits
from compare.measure.noise import moments
from compare.measure.tolerances import RATE, once_in
from compare.oracle import Loop, Oracle, Setting
from compare.stages.loop.transitions import transitions


def judge_loop(subject: Subject, oracle: Oracle) -> Iterator[Check]:
    """What the model was asked, from call to call, and the pictures at the end."""
    loop, table = oracle.loop, subject.scheduler().alpha_bars(Oracle())
    run = look(subject, table)
    if not replays(run):
        words = "the same seed gives other pictures: what draws from no seed, or keeps something"
        yield found("sampling/loop/replay", "error", f"{words} from call to call, is not judged")
        return
    visited = visits(run, oracle, subject.setting, table)
    yield from _manners(subject, run)
    yield _visits(run, visited)
    yield _mode(run, loop)
    if not run.left_training and loop.evaluates:
        yield note("sampling/loop/mode", "the model is left in eval mode")
    if run.mix is not None:
        yield from guided(_as_trained(subject, table, run.mix))
    if run.relabelled is not None:
        yield _labels(run.relabelled)
    yield _start(run, oracle)
    yield _apart(run, oracle)
    yield _seeds(run, loop)
    steps = steps_of(run, oracle, subject.setting, table, visited)
    if steps is not None:
        yield from _overflown(steps, subject.setting)
        yield from transitions(subject, steps)
    elif len(run.t) == 1 and visited.fits:
        words = "the model is asked once: there is no step from call to call that could be judged"
        yield found("sampling/loop/steps", "error", words)
    own = apart(run)
    if own is not None:
        yield yes_no(
            "sampling/loop/generators",
            own == loop.own_streams,
            "one generator for each image: as looked for",
            "with one generator for each image, an image depends on its batch-mates",
        )


def _overflown(steps: Steps, setting: Setting) -> Iterator[Check]:
    """Where a step leaves what float32 holds, and should not: behind it nothing is looked at."""
    run, holds = steps.run, steps.run.size < OVERFLOWS
    left = holds[:-1] & ~holds[1:] & (steps.following[:-1] >= 0)
    for i in left.nonzero()[:1].flatten():
        at, part = steps.level.at(i[None]), slice(int(i), int(i) + 1)
        right = steps.oracle.step_mean(run.out[part], run.x[part], at, setting.unlimited)
        if bool(right.abs().max() < OVERFLOWS / 10):
            size = float(run.x[int(i) + 1].abs().max())
            what = f"numbers of size {size:.3g}" if isfinite(size) else "NaN or infinity"
            words = f"the step from t={int(at.t)} gives {what}"
            yield yes_no("sampling/loop/finite", False, "", words)


def _manners(subject: Subject, run: Run) -> Iterator[Check]:
    """How the loop calls its model, where that is not the plain way."""
    if int(run.t.max()) == subject.setting.num_train_timesteps:
        yield note("sampling/loop/t-base", "the model is told t from 1")
    if run.told.words != "t":
        yield note("sampling/loop/t-scale", f"the model is told {run.told.words}")
    if run.manner.shape != SHAPE:
        yield note("sampling/loop/shape", f"judged with {sized(run.manner.shape)}")
    if run.manner.pair:
        yield note("sampling/loop/pair", "the model is taken for one that returns a pair")


def _mode(run: Run, loop: Loop) -> Check:
    """Who is handed a model may leave its mode to the caller; who keeps it must switch it."""
    id = "sampling/loop/eval"
    if run.training and not run.kept:
        words = "the model is handed over in training mode and left so: call eval() before it"
        return note(id, f"{words} (mistake 95 if nobody does)", bug="95")
    return yes_no(
        id,
        run.training != loop.evaluates or not run.kept,
        "the model is in the mode looked for",
        "the model samples in training mode",
    )


def _as_trained(subject: Subject, table: Tensor, mix: Mix) -> Mix:
    """The mix, and which of its answers know the label, where only a loss beside it shows that."""
    with suppress(Broken):
        if subject.has("loss") and not mix.labelled:
            return mix.by_training(masks_told(subject, table))
    return mix


def guided(mix: Mix) -> Iterator[Check]:
    """Several answers at one (x_t, t): a convention if mixed with two numbers, of sum 1."""
    id, right = "sampling/loop/guidance", GUIDED
    if not mix.readable:
        words = "what the loop makes of the answers at one t is no sum with a weight for each"
        yield found(id, "error", f"{words}: its steps are not judged")
        return
    if mix.varies:
        words = f"the weights of the answers vary with t: {mix.varies}"
        yield found(id, "differs", words, right=right)
        return
    said = f"guided: {mix.words}"
    if not mix.labelled:
        yield note(id, f"{said}; which of them knows the label was not told")
        return
    names = [f"out_{i + 1}" for i in mix.labelled]
    many = len(names) > 1
    who = f"{' and '.join(names)} {'are those' if many else 'is the one'} with the label"
    words = f"{said}, and {who}: the two are exchanged"
    yield yes_no(id, not mix.exchanged, f"{said}; {who}", words, right=right)


def _apart(run: Run, oracle: Oracle) -> Check:
    """No two images of x_T, and no two of their channels, rows or columns, are the same."""
    drawn = oracle.start(tuple(run.x[0].shape), torch.Generator().manual_seed(0))
    wanted, repeated = repeats(drawn), repeats(run.x[0])
    return yes_no(
        "sampling/loop/start-apart",
        repeated == wanted,
        "the numbers of x_T are drawn as looked for",
        f"x_T has the same numbers in several {' and '.join(repeated)}",
        right="x_T = randn(shape): a number of its own for each pixel",
    )


def _seeds(run: Run, loop: Loop) -> Check:
    """Noise that is the same at every step may be so with every seed; what is replayed is fresh."""
    reseeded = loop.reseeds and run.fixed == "noise" and run.drawn is None
    return yes_no(
        "sampling/loop/seeds",
        run.fixed == loop.fixed or reseeded,
        "what another seed changes is as looked for",
        f"another seed gives the same {run.fixed}: a seed is set inside sample",
        right="noise from the generator, or from the global state as it is found",
    )


def repeats(x: Tensor) -> list[str]:
    """Along which axes of x (b, c, h, w) some numbers are there twice.

    >>> one = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    >>> repeats(one.expand(3, 2, 4, 4))
    ['images']
    """
    found_in = []
    for name, dim in (("images", 0), ("channels", 1), ("rows", 2), ("columns", 3)):
        slices = x.movedim(dim, 0).flatten(1)
        if slices.shape[1] > 1 and len(slices.unique(dim=0)) < len(slices):
            found_in.append(name)
    return found_in


def _visits(run: Run, visited: Visited) -> Check:
    """Whether the model was told right."""
    id, n = "sampling/loop/visits", float(len(run.t))
    if run.parted is not None:
        of_images = ", ".join(f"{t:g}" for t in run.parted[:4].tolist())
        words = f"in one call the model is told another t for each image ({of_images}, ...)"
        return yes_no(id, False, "", f"{words}: is that its label?")
    told, base = [int(t) for t in run.t.tolist()], run.loop.subject.t_base
    said = f"the model is asked at {ends(told)}"
    if visited.own:
        words = f"{said}, {kind_of_list(visited.at)} (a convention)"
        return found(id, "close", words, measured=n)
    should = [t + base for t in visited.should]
    wrong = f"{said}, should be {ends(should)}"
    if len(told) != len(should) and ends(told) == ends(should):
        wrong = f"{said}: {len(told)} calls, should be {len(should)}"
    last, T = told[-1] - base, run.loop.subject.setting.num_train_timesteps
    if last > 1 and told == [*range(T - 1 + base, told[-1] - 1, -1)]:
        wrong = f"{said}, and ends there: its last {last} steps are left out"
    if base and told == visited.should:
        wrong = f"{wrong}: the loop counts t from 0, the table from {base}, where the noise begins"
    wrong = departure(told, visited.should) or wrong
    right = f"t from T down to {base}, as in the table, the model told the same t" if base else ""
    return yes_no(id, visited.fits, said, wrong, measured=n, right=right)


def departure(told: list[int], should: list[int]) -> str:
    """Where a list leaves the one that it should be, counted from 0 or from 1; "" where the first
    numbers tell, or another length.

    >>> departure([5, 4, 4, 2, 1], [4, 3, 2, 1, 0])
    'the model is asked at 4 in call 3, should be at 3, and 1 of 5 are off: [5, 4, 4, 2, 1]'
    """
    base = told[0] - should[0]
    off = [i for i, (a, b) in enumerate(zip(told, should, strict=False)) if a - b != base]
    if len(told) != len(should) or base not in (0, 1) or not off or 2 * len(off) > len(told):
        return ""
    i = off[0]
    asked = f"the model is asked at {told[i]} in call {i + 1}, should be at {should[i] + base}"
    return f"{asked}, and {len(off)} of {len(told)} are off: {ends(told)}"


def kind_of_list(listed: list[int]) -> str:
    """What a list of a loop's own is, in words.

    >>> kind_of_list([800, 355, 88, 0]), kind_of_list([9, 7, 0, 0])
    ('a quadratic list of its own', 'a list of its own, with 2 steps from 0')
    """
    last = len(listed) - 1
    curve = [listed[0] * ((last - i) / max(last, 1)) ** 2 for i in range(len(listed))]
    rounded = all(abs(t - right) <= 1 for t, right in zip(listed, curve, strict=True))
    kind = "a quadratic list of its own" if last > 1 and rounded else "a list of its own"
    again = listed.count(listed[-1])
    return f"{kind}, with {again} steps from {listed[-1]}" if again > 1 else kind


def ends(listed: list[int]) -> str:
    """A list, or its first and last numbers."""
    return str(listed) if len(listed) < 6 else f"{listed[0]}, {listed[1]}, ..., {listed[-1]}"


def _labels(relabelled: str) -> Check:
    return yes_no(
        "sampling/loop/labels",
        not relabelled,
        "every picture keeps its label from step to step",
        f"the model is told another label of one picture from step to step: {relabelled}",
        right="one label for each picture, drawn before the loop (Ho & Salimans 2022)",
    )


def _start(run: Run, oracle: Oracle) -> Check:
    """Mean and std of x_T; those of `rand` vary less than normal ones."""
    aims = {"mean": oracle.loop.start.mean, "std": oracle.loop.start.std}
    once = run.x[0].unique() if repeats(run.x[0]) else run.x[0]  # the law is that of draws
    seen, rate = moments(once), RATE / 2
    off = {name: abs(seen[name].value - aim) for name, aim in aims.items()}
    worst = max(aims, key=lambda name: off[name] / seen[name].allowed(rate))
    allowed = seen[worst].allowed(rate)
    return yes_no(
        "sampling/loop/start",
        off[worst] <= allowed,
        "x_T has the law looked for",
        f"x_T has mean {seen['mean'].value:.3f}, std {seen['std'].value:.3f}, should be 0, 1",
        measured=off[worst],
        allowed=allowed,
        reason=f"mean and std of {once.numel()} draws: false alarm {once_in(RATE)}",
    )
