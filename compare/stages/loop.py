"""The role `sample`: a candidate's own loop, judged call by call as its model sees it."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from torch import Tensor

from compare.candidate.loop_calls import Run, look
from compare.candidate.subject import Subject
from compare.measure.check import Check, found, note, yes_no
from compare.measure.noise import moments
from compare.measure.tolerances import RATE, once_in
from compare.oracle import F64, Loop, Oracle
from compare.stages.transitions import transitions

NOTHING_LEFT = 0.05  # signal, 1/400 of the variance of x: less than the std of x_T can show
Path = tuple[list[int], list[int]]  # the steps at which a loop stands, and the step after each


def judge_loop(subject: Subject, oracle: Oracle) -> Iterator[Check]:
    """What the model was asked, from call to call, and the pictures at the end."""
    loop, table = oracle.loop, subject.scheduler().alpha_bars(Oracle())
    run = subject.remember(("sample",), lambda: look(subject, table))
    if int(run.t.max()) == subject.setting.num_train_timesteps:
        yield note("sampling/loop/t-base", "the model is told t from 1")
    if run.told.unit != 1:
        yield note("sampling/loop/t-scale", f"the model is told {run.told.words}")
    visits, path = _visited(subject, run, oracle, table)
    yield visits
    yield yes_no(
        "sampling/loop/eval",
        run.training != loop.evaluates,
        "the model is in the mode looked for",
        "the model samples in training mode",
    )
    if not run.left_training and loop.evaluates:
        yield note("sampling/loop/mode", "the model is left in eval mode")
    yield _start(run, oracle)
    # A model that is told another t answers for it: a clip may act, and no step can be judged.
    if visits.passed and loop.tells == "t" and len(run.t) > 1:
        stepping = replace(oracle.stepping(), loop=loop)
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
        words = f"{said}, a list of its own (a convention)"
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
    """True if a list falls from where nothing is left of the image to near t = 0."""
    stride = -(-len(table) // len(listed))
    starts = listed[0] >= len(table) - stride or float(table[listed[0]].sqrt()) < NOTHING_LEFT
    falls = all(a > b for a, b in pairwise(listed))
    return starts and falls and 0 <= listed[-1] <= stride


def _ends(listed: list[int]) -> str:
    return str(listed) if len(listed) < 6 else f"{listed[0]}, {listed[1]}, ..., {listed[-1]}"


def _start(run: Run, oracle: Oracle) -> Check:
    """Mean and std of x_T; those of `rand` vary less than normal ones."""
    aims = {"mean": oracle.loop.start.mean, "std": oracle.loop.start.std}
    seen, rate = moments(run.x[0]), RATE / 2
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
        reason=f"mean and std of {run.x[0].numel()} draws: false alarm {once_in(RATE)}",
    )
