"""Stage tables (the role `tables`, or attributes of such names): is each what its name says?

Each is judged by the candidate's own alpha-bar and betas, and where one is made of another that is
shown, it may be made of that one: what follows from a wrong table is not wrong itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compare.candidate.door.names import plain
from compare.candidate.door.tables import Own, Shown, of_steps, own_schedule, shown
from compare.candidate.load import Broken
from compare.candidate.scheduler import Scheduler
from compare.candidate.subject import Subject
from compare.measure.check import Check, guarded, note
from compare.measure.tolerances import FACTOR, UNIT, betas_bound, table_bound
from compare.measure.values import values
from compare.oracle import ALPHA_BAR, TABLES, Oracle, Steps
from compare.stages.schedule import betas_of
from compare.stages.stage import Stage

MADE_OF = ("alphas", "alphas_cumprod_prev", "posterior_variance")  # of which others are made
FEWEST = 4  # entries by which a table is told to be that of another t
ALMOST_0 = 1e-8  # a variance of at most this stands for 0
ALSO = {  # {a table: what else one of its names may hold, and by whose letters}
    "alphas": {
        "alphas_cumprod": "alpha-bar_t, which Song et al. (DDIM) call alpha_t",
        "sqrt_alphas_cumprod": "sqrt(alpha-bar_t), which Salimans & Ho call alpha_t",
    },
    "posterior_variance": {
        "betas": "beta_t, the other variance of a step (Ho et al. section 3.2)",
    },
    "noise_coef": {
        "sqrt_one_minus_alphas_cumprod": "sqrt(1 - alpha-bar_t), the noise's weight in x_t",
    },
}


@dataclass(frozen=True)
class Given:
    """What the tables of a candidate are judged by.

    Attributes:
        steps: its betas and alpha-bars, with the formulas of an oracle.
        of_beta: (T,) how far off a beta may be.
        of_table: (T,) by what factor, less 1, all alpha-bars together may be off.
        walks: its steps are judged too, or a loop: which variance they have is then known.
    """

    steps: Steps
    of_beta: Tensor
    of_table: Tensor
    walks: bool = False

    def bound(self, table: str) -> Tensor:
        """(T,) allowed deviation of a table: what one rounding of each thing that it is made of
        changes, and one of its own."""
        formula = self.steps.tables[table]
        value = formula(self.steps)
        change = sum(((formula(v) - value).abs() for v in self._moved()), torch.zeros_like(value))
        inside = 1.0 if "log" in table else 0.0  # a relative error inside a logarithm
        return FACTOR * (change + UNIT * (value.abs() + inside))

    def _moved(self) -> Iterator[Steps]:
        at, own = self.steps, self.steps.own
        even = torch.arange(len(at.beta)) % 2 == 0
        yield replace(at, beta=at.beta + self.of_beta)
        yield replace(at, alpha_bar=_rounded(at.alpha_bar, self.of_table))
        yield replace(at, alpha_bar=torch.where(even, _rounded(at.alpha_bar), at.alpha_bar))
        for name, table in own.items():
            yield replace(at, own={**own, name: _rounded(table)})


def _rounded(table: Tensor, more: Tensor | float = 0.0) -> Tensor:
    """A table off by what float32 may make of each entry; what is below 1 stays there."""
    moved = table * (1 + 2 * UNIT + more)
    return torch.where(table < 1, moved.clamp(max=1 - 1e-16), table)


def given(own: Own, oracle: Oracle) -> Given | None:
    """What is judged by, of the candidate's own schedule; None if it shows none."""
    alpha_bar, beta = own.alpha_bar, own.beta
    if alpha_bar is None:
        return None
    # Who shows a table of alpha-bars made the others of it: it is rounded, and off by no more.
    of_table = torch.zeros_like(alpha_bar) if own.beside else table_bound(alpha_bar) / FACTOR
    rough = 4 * UNIT if beta is None else UNIT
    beta = betas_of(alpha_bar) if beta is None else beta
    return Given(Steps(beta, alpha_bar, oracle.tables), rough * (1 + beta), of_table)


def checks(subject: Subject, oracle: Oracle) -> Iterator[Check]:
    """Each table whose name is known, in the order in which one is made of another."""
    yield from guarded("tables/run", _checks(subject, oracle))


def _checks(subject: Subject, oracle: Oracle) -> Iterator[Check]:
    scheduler = subject.scheduler()
    found, order = shown(scheduler), list(TABLES)
    if found.unknown:
        names = ", ".join(found.unknown)
        yield note("tables/names", f"not judged, as nobody knows these names: {names}")
    at = given(own_schedule(scheduler), oracle)
    if at is None:
        text = "not judged: there is neither alphas_cumprod nor betas, of which they are made"
        yield note("tables/made_of", text)
        return
    at = replace(at, walks=subject.has("step") or subject.has("sample"))
    for name, table in sorted(found.known.items(), key=lambda pair: order.index(pair[1])):
        if table in ("alphas_cumprod", "betas"):
            judged = _schedule(scheduler, found, name, at)
        else:
            judged = _derived(found, name, at)
        yield from guarded(f"tables/{name}", judged)


def _values(found: Shown, name: str, T: int) -> Tensor:
    """(T,) or (T + 1,) a table as it is shown."""
    table = found.values[name]
    if isinstance(table, Broken):
        raise table
    if table.numel() not in (T, T + 1):
        text = f"{name} has shape {tuple(table.shape)}, should have ({T},) or ({T + 1},)"
        raise Broken(text, raised=False)
    return table.flatten()


def _schedule(scheduler: Scheduler, found: Shown, name: str, at: Given) -> Iterator[Check]:
    """Alpha-bar or betas, by what else says the same; the stage `schedule` judges what it reads."""
    table, adapter = found.known[name], scheduler.subject.adapter
    measured = _values(found, name, len(at.of_beta))[-len(at.of_beta) :]
    if table == "betas":
        right = betas_of(at.steps.alpha_bar)
        off = betas_bound(right, torch.full_like(right, 2 * FACTOR * UNIT))
        read = adapter is not None or found.of("alphas_cumprod") is None
    else:
        known = of_steps(scheduler.table(), len(at.of_beta))
        right = (1 - at.steps.beta).cumprod(0) if known is None else known
        off = table_bound(right) * right
        read = adapter is not None and adapter.alpha_bar is None
    if not read:
        yield _check(name, table, measured, right, off)


def _derived(found: Shown, name: str, at: Given) -> Iterator[Check]:
    """A table by the right ones that it is made of, else by the candidate's own.

    Those that are shown have checks of their own: here they are never the oracle's.
    """
    T, table = len(at.of_beta), found.known[name]
    measured = _values(found, name, T)
    shown_too = {made: of_steps(found.of(made), T) for made in MADE_OF if made != table}
    beside = {made: values for made, values in shown_too.items() if values is not None}
    right = {made: TABLES[made] for made in beside}
    at = replace(at, steps=replace(at.steps, tables={**at.steps.tables, **right}))
    check = _judged(name, table, measured, at)
    if not check.passed:
        own = {made: v for made, v in beside.items() if not _judged(made, made, v, at).passed}
        follows = _judged(name, table, measured, replace(at, steps=replace(at.steps, own=own)))
        if follows.passed:
            words = f"{name} is right for the candidate's own {' and '.join(own)}"
            check = replace(follows, status="follows", message=words)
    if not check.passed:
        check = _at_another_t(check, name, measured[-T:], at, table)
    if not check.passed and "over" not in plain(name):  # which says the quotient
        also = {k: words for k, words in ALSO.get(table, {}).items() if k != "betas" or at.walks}
        for other, words in also.items():
            if _judged(name, other, measured, at).passed:
                check = note(f"tables/{name}", f"{name} is {words}: a convention")
    yield check
    yield from _first_entry(name, table, measured)


def _at_another_t(check: Check, name: str, here: Tensor, at: Given, table: str) -> Check:
    """The same, said of a table that is right for another t; where that begins, it may be any."""
    right, off = at.steps.tables[table](at.steps), at.bound(table)
    for other, own, wanted in (
        ("t - 1", slice(2, None), slice(1, -1)),
        ("t + 1", slice(0, -1), slice(1, None)),
    ):
        apart = (here[own] - right[wanted]).abs()
        if len(here) > FEWEST and bool((apart <= off[wanted]).all()):
            words = f"{name}[t] is what {name}[{other}] should be: {check.message}"
            return replace(check, message=words)
    return check


def _judged(name: str, table: str, measured: Tensor, at: Given) -> Check:
    right, T = at.steps.tables[table](at.steps), len(at.of_beta)
    here = measured[-T:]
    if table == "alphas_cumprod_prev" and len(measured) > T:  # a 1 in front, and nothing cut off
        shifted = measured[:T]
        here = min(here, shifted, key=lambda own: float((own - right).abs().nan_to_num(9).max()))
    here = _as_clipped(name, table, here, right)
    here = torch.where(right.isnan() | (right == torch.inf), right, here)  # divided by 0
    return _check(name, table, here, right, at.bound(table))


def _check(name: str, table: str, measured: Tensor, right: Tensor, allowed: Tensor) -> Check:
    check = values(
        f"tables/{name}",
        name,
        measured,
        lambda: (right, allowed),
        where=lambda at: f"t={at[0]}",
        tolerance="derived",
    )
    said = " ".join((TABLES[table].__doc__ or "").split()).rstrip(".")
    return replace(check, right=f"{name} = {said}")


def _as_clipped(name: str, table: str, measured: Tensor, right: Tensor) -> Tensor:
    """The same, right at t = 0, where beta-tilde is 0 and never used, if it is one of what people
    put there: almost 0, or the entry of t = 1; its logarithm may be infinite if the name says
    nothing of a clip."""
    if len(measured) < 2 or not table.startswith("posterior_") or "mean" in table:
        return measured
    first, second = float(measured[0]), float(measured[1])
    if table == "posterior_variance":
        usual = 0 <= first <= ALMOST_0 or first == second
        usual = usual and float(right[0]) <= ALMOST_0
    else:
        unclipped = first == -torch.inf and "clip" not in plain(name)
        usual = unclipped or (-torch.inf < first <= second and bool(right[0].isfinite()))
    return torch.cat([right[:1], measured[1:]]) if usual else measured


def _first_entry(name: str, table: str, measured: Tensor) -> Iterator[Check]:
    """What stands at t = 0 in the place of a variance of 0, if it is not 0."""
    if table == "posterior_variance" and len(measured) > 1 and measured[0] == measured[1] != 0:
        text = f"{name} holds at t = 0, where beta-tilde is 0, the entry of t = 1: a convention"
        yield note(f"tables/{name}/first", text)


OF_TABLES = Stage(
    name="tables",
    looks_at="the role `tables`, or attributes of such names",
    right="(T,) or (T+1,) each, what its name says of its own alpha-bar (Ho et al. eq. 4, 7, 15)",
    page="write-your-own",
    checks=checks,
    needs=("tables",),
    sees=(*ALPHA_BAR, "tables"),
)
