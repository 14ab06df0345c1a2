"""Reads the curves of a reverse step: without clipping it is x_prev = a_t x_t + b_t out + s_t z.

Each step is called three times with the same random state: on zeros, on x alone, on the model
output alone. Differences take the noise away; what is left of zeros is the noise.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from compare.candidate.door.reading import LISTED
from compare.candidate.load import Broken
from compare.candidate.scheduler import Answer, Scheduler
from compare.oracle import F64

SHAPE = (2, 1, 2, 2)
PIXELS = 8
SEED = 1234


@dataclass(frozen=True)
class Probe:
    """Answers of k steps; all values (k, 8) float64; `t`, `prev` and `before`, the steps after and
    before them in the list, (k, 1)."""

    n: int
    t: Tensor
    prev: Tensor
    before: Tensor
    x: Tensor
    out: Tensor
    zero: Tensor
    at_x: Tensor | None
    at_out: Tensor | None
    x_0_zero: Tensor | None
    x_0_x: Tensor | None
    x_0_out: Tensor | None


@dataclass(frozen=True)
class Before:
    """Steps of the full chain on zeros, each after a step that was given `x` and `out` (k, 8)."""

    t: Tensor
    prev: Tensor
    before: Tensor
    x: Tensor
    out: Tensor
    answers: Tensor


@dataclass(frozen=True)
class Single:
    """One call of `step` with the inputs given to it; values (1, 8)."""

    prev: Tensor
    x_0: Tensor | None


def picture() -> Tensor:
    """(8,) float32 what a probe takes for x_t, up to its size."""
    return torch.tensor([0.7, -1.1, 0.4, 0.9, -0.5, 1.3, -0.8, 0.6], dtype=torch.float32)


def output() -> Tensor:
    """(8,) float32 and for the model's output."""
    return torch.tensor([-0.9, 0.5, 1.2, -0.6, 0.8, -0.4, 1.0, -1.2], dtype=torch.float32)


def followers(visited: list[int]) -> dict[int, int]:
    """The next of the list after each t, -1 after the last."""
    return dict(zip(visited, [*visited[1:], -1], strict=True)) if visited else {}


def some_steps(T: int, k: int = 48) -> list[int]:
    """The first eleven steps, the last two, and others spread between."""
    spread = torch.linspace(0, T - 1, k).round().long().tolist()
    return sorted({*range(min(11, T)), *spread, max(T - 2, 0), T - 1}, reverse=True)


def probe(
    scheduler: Scheduler,
    n: int | None = None,
    steps: list[int] | None = None,
    noise_only: bool = False,
) -> Probe:
    """The candidate's answers on a chain of n steps (None: all T), at `steps` or at every one."""
    chosen = None if steps is None else tuple(steps)

    def ask() -> Probe:
        visited = scheduler.visit(n)
        following = followers(visited)
        every = chosen is None or scheduler.door.visits.value == LISTED
        ts = [t for t in visited if every or t in (chosen or ())]
        if not ts:
            raise Broken("leaves no timestep in 0..T-1 to step from", raised=False)
        t = torch.tensor(ts).reshape(-1, 1)
        prev = torch.tensor([[following[i]] for i in ts])
        return _ask(scheduler, t, prev, sizes(scheduler, t), noise_only)

    return scheduler.subject.remember(("probe", scheduler.key, n, chosen, noise_only), ask)


def sizes(scheduler: Scheduler, t: Tensor) -> Tensor:
    """How large the inputs are: large for precision, unless a clip would act."""
    setting = scheduler.setting
    if not (setting.clip_sample or setting.thresholding):
        return torch.full(t.shape, 8.0, dtype=F64)
    table = scheduler.table()
    signal = torch.ones(t.shape, dtype=F64) if table is None else table[t].clamp(min=1e-8).sqrt()
    reach = setting.clip_sample_range if setting.clip_sample else 1.0
    return 0.2 * reach * signal


def _ask(built: Scheduler, t: Tensor, prev: Tensor, size: Tensor, noise_only: bool) -> Probe:
    x, out = ((size * v.to(F64)).float() for v in (picture(), output()))
    nothing = torch.zeros(SHAPE)
    before = built.before(t, built.length)
    answers: list[list[Answer]] = []
    for i, step in enumerate(t.flatten().tolist()):
        row = [built.alone(nothing, step, nothing, SEED)]
        if not noise_only:
            row.append(built.alone(nothing, step, x[i].reshape(SHAPE), SEED))
            row.append(built.alone(out[i].reshape(SHAPE), step, nothing, SEED))
        answers.append(row)
    prevs = [torch.stack([row[j].prev.reshape(-1) for row in answers]) for j in range(len(row))]
    x_0s: list[Tensor | None] = [None] * 3
    if answers[0][0].x_0 is not None:
        x_0s[: len(row)] = [
            torch.stack([r[j].x_0.reshape(-1) for r in answers])  # type: ignore[union-attr]
            for j in range(len(row))
        ]
    at = [*prevs, None, None][:3]
    return Probe(built.length, t, prev, before, x.to(F64), out.to(F64), at[0], at[1], at[2], *x_0s)  # type: ignore[arg-type]


def visits(scheduler: Scheduler, n: int) -> bool:
    """False if the list of n steps has none inside the chain, or one twice: then there is no step
    to judge, or not which step comes after it."""
    key = ("visits", scheduler.key, n)

    def ask() -> bool:
        visited = scheduler.visit(n)
        return bool(visited) and len(set(visited)) == len(visited)

    try:
        return scheduler.subject.remember(key, ask)
    except Broken:
        return True  # what it does instead is told by the stages that ask


def some_of_chain(scheduler: Scheduler, wanted: list[int]) -> list[tuple[int, int]]:
    """(t, the next of the list) for those of the wanted steps that the full chain visits; on a list
    of its own of those near them."""

    def ask() -> list[tuple[int, int]]:
        if scheduler.door.visits.value == LISTED:
            near = (each.flatten().tolist() for each in scheduler.near(wanted))
            return list(dict.fromkeys(zip(*near, strict=True)))
        following = followers(scheduler.visit(None))
        return [(t, following[t]) for t in wanted if t in following]

    return scheduler.subject.remember(("of chain", scheduler.key, tuple(wanted)), ask)


def single(scheduler: Scheduler, n: int | None, t: int, x: Tensor, out: Tensor) -> Single:
    """One call on given inputs (8,), on a chain of n steps."""
    key = ("single", scheduler.key, n, t, tuple(x.tolist()), tuple(out.tolist()))

    def ask() -> Single:
        scheduler.visit(n)
        answer = scheduler.alone(out.float().reshape(SHAPE), t, x.float().reshape(SHAPE), SEED)
        x_0 = None if answer.x_0 is None else answer.x_0.reshape(1, -1)
        return Single(answer.prev.reshape(1, -1), x_0)

    return scheduler.subject.remember(key, ask)


def of_before(scheduler: Scheduler, wanted: list[int]) -> Before:
    """What a step that remembers the one before it makes of that: of an x_t alone at each of some
    steps, then of a model output alone."""

    def ask() -> Before:
        visited = scheduler.visit(None)
        following, nothing = followers(visited), torch.zeros(SHAPE)
        ts = [t for t in visited[1:] if t in wanted]
        t, prev = (torch.tensor(v).reshape(-1, 1) for v in (ts, [following[i] for i in ts]))
        size = sizes(scheduler, t)
        x, out = ((size * v.to(F64)).float() for v in (picture(), output()))
        given = torch.cat([x, 0 * x]), torch.cat([0 * out, out])
        answers = []
        for i, step in enumerate(2 * ts):
            before = given[1][i].reshape(SHAPE), given[0][i].reshape(SHAPE)
            answer = scheduler.alone(nothing, step, nothing, SEED, before=before)
            answers.append(answer.prev.flatten())
        t, prev, at = (v.repeat(2, 1) for v in (t, prev, scheduler.before(t)))
        before_x, before_out = (v.to(F64) for v in given)
        return Before(t, prev, at, before_x, before_out, torch.stack(answers))

    return scheduler.subject.remember(("of before", scheduler.key, tuple(wanted)), ask)
