"""The role `sample`: a candidate's own loop, judged call by call as its model sees it."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from compare.candidate.loop_calls import SHAPE, Run, look, sized
from compare.candidate.model.guidance import Mix
from compare.candidate.subject import Subject
from compare.measure.check import Check, found, note, yes_no
from compare.measure.noise import moments
from compare.measure.tolerances import RATE, once_in
from compare.oracle import F64, Loop, Oracle
from compare.stages.transitions import transitions

NOTHING_LEFT = 0.05  # signal, 1/400 of the variance of x: less than the std of x_T can show
GUIDED = "(1 + w) out(x_t, t, label) - w out(x_t, t), one w (Ho & Salimans 2022, eq. 6)"
Path = tuple[list[int], list[int]]  # the steps at which a loop stands, and the step after each


def judge_loop(subject: Subject, oracle: Oracle) -> Iterator[Check]:
    """What the model was asked, from call to call, and the pictures at the end."""
    loop, table = oracle.loop, subject.scheduler().alpha_bars(Oracle())
    run = subject.remember(("sample", *subject.asked_as), lambda: look(subject, table))
    yield from _manners(subject, run)
    visits, path = _visited(subject, run, oracle, table)
    yield visits
    yield _mode(run, loop)
    if not run.left_training and loop.evaluates:
        yield note("sampling/loop/mode", "the model is left in eval mode")
    if run.mix is not None:
        yield from guided(run.mix)
    yield _start(run, oracle)
    yield _apart(run, oracle)
    yield _seeds(run, loop)
    # A model that is told another t answers for it: a clip may act, and no step can be judged.
    known = run.mix is None or (run.mix.readable and not run.mix.varies)
    if visits.passed and loop.tells == "t" and len(run.t) > 1 and known:
        stepping = oracle.stepping("loop")
        yield from transitions(subject, run, stepping, table, path)
    yield yes_no(
        "sampling/loop/replay",
        bool((run.result == run.again).all()),
        "the same seed gives the same pictures",
        "the same seed gives other pictures",
    )
    if run.apart is not None:
        own = bool((run.apart[0] == run.apart[1]).all())
        yield yes_no(
            "sampling/loop/generators",
            own == loop.own_streams,
            "one generator for each image: as looked for",
            "with one generator for each image, an image depends on its batch-mates",
        )


def _manners(subject: Subject, run: Run) -> Iterator[Check]:
    """How the loop calls its model, where that is not the plain way."""
    if int(run.t.max()) == subject.setting.num_train_timesteps:
        yield note("sampling/loop/t-base", "the model is told t from 1")
    if run.told.unit != 1:
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
    if mix.labelled is None:
        yield note(id, f"{said}; which of them knows the label was not told")
        return
    who = f"out_{mix.labelled + 1} is the one with the label"
    words = f"{said}, and {who}: the two are exchanged"
    check = yes_no(id, not mix.exchanged, f"{said}; {who}", words)
    yield replace(check, right=right)


def _apart(run: Run, oracle: Oracle) -> Check:
    """No two images of x_T, and no two of their channels, rows or columns, are the same."""
    drawn = oracle.draw(tuple(run.x[0].shape), torch.Generator().manual_seed(0), torch.float32)
    wanted, repeated = repeats(drawn), repeats(run.x[0])
    check = yes_no(
        "sampling/loop/start-apart",
        repeated == wanted or oracle.loop.start != Loop().start,
        "the numbers of x_T are drawn as looked for",
        f"x_T has the same numbers in several {' and '.join(repeated)}",
    )
    return replace(check, right="x_T = randn(shape): a number of its own for each pixel")


def _seeds(run: Run, loop: Loop) -> Check:
    check = yes_no(
        "sampling/loop/seeds",
        not run.fixed or (loop.reseeds and run.fixed == "noise"),
        "another seed gives other noise",
        f"another seed gives the same {run.fixed}: a seed is set inside sample",
    )
    return replace(check, right="noise from the generator, or from the global state as it is found")


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


def _visited(subject: Subject, run: Run, oracle: Oracle, table: Tensor) -> tuple[Check, Path]:
    """Whether the model was told right, and where its steps stand."""
    n, T, loop = len(run.t), subject.setting.num_train_timesteps, oracle.loop
    told = [int(t) for t in run.t]
    counted = [t - int(max(told) == T) for t in told]
    full = n >= T - 1
    paths = _paths(subject, oracle, n, full)
    fitting = next((s for s, (visited, _) in paths.items() if counted == visited), None)
    if loop.tells == "index":
        places = [*range(n)]
        fitting = "leading" if not full and counted in (places, places[::-1]) else None
    id, said = "sampling/loop/visits", f"the model is asked at {_ends(told)}"
    if fitting is None and not full and loop == Loop() and _may_visit(counted, table):
        kind = _kind_of_list(counted)
        subject.conventions["list"] = f"{_ends(told)}: {kind} (read off)"
        words = f"{said}, {kind} (a convention)"
        return found(id, "close", words, measured=float(n)), (counted, [*counted[1:], -1])
    right, _ = next(iter(paths.values()))
    wrong = f"{said}, should be {_ends(right)}"
    check = yes_no(id, fitting is not None, said, wrong, measured=float(n))
    return check, paths[fitting or "leading"]


def _paths(subject: Subject, oracle: Oracle, n: int, full: bool) -> dict[str, Path]:
    """The chains of n steps that an oracle's loop may take, by spacing."""
    setting, loop = subject.setting, oracle.loop
    count = setting.num_train_timesteps if full else n + (loop.stops_at > 0)
    paths: dict[str, Path] = {}
    for spacing in ("leading",) if full else ("leading", "trailing", "linspace"):
        exact, unit = oracle.timesteps(replace(setting, timestep_spacing=spacing), count)
        listed = (exact.to(F64) / unit).round().long().tolist()
        visited, after = listed, [*listed[1:], -1]
        if loop.stops_at:
            visited, after = visited[:-1], after[:-1]
        paths[spacing] = (visited, after) if loop.falls else (visited[::-1], after[::-1])
    return paths


def _may_visit(listed: list[int], table: Tensor) -> bool:
    """True if a list falls from where nothing is left of the image to near t = 0.

    One that is dense at its end, such as a quadratic one, may be rounded to 0 more than once: the
    step from 0 to 0 is to stay where it is.
    """
    stride = -(-len(table) // len(listed))
    starts = listed[0] >= len(table) - stride or float(table[listed[0]].sqrt()) < NOTHING_LEFT
    falls = all(a > b or a == b == 0 for a, b in pairwise(listed))
    return starts and falls and 0 <= listed[-1] <= stride


def _kind_of_list(listed: list[int]) -> str:
    """What a list of a loop's own is, in words.

    >>> _kind_of_list([800, 355, 88, 0]), _kind_of_list([9, 7, 0, 0])
    ('a quadratic list of its own', 'a list of its own, with 2 steps from 0')
    """
    last = len(listed) - 1
    curve = [listed[0] * ((last - i) / max(last, 1)) ** 2 for i in range(len(listed))]
    rounded = all(abs(t - right) <= 1 for t, right in zip(listed, curve, strict=True))
    kind = "a quadratic list of its own" if last > 1 and rounded else "a list of its own"
    again = listed.count(0)
    return f"{kind}, with {again} steps from 0" if again > 1 else kind


def _ends(listed: list[int]) -> str:
    return str(listed) if len(listed) < 6 else f"{listed[0]}, {listed[1]}, ..., {listed[-1]}"


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
