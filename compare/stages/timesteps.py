"""Stage timesteps: the list that set_timesteps leaves, and the previous step that `step` uses."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise

import torch

from compare.candidate.load import Broken
from compare.candidate.scheduler import Scheduler
from compare.candidate.subject import Subject
from compare.measure.check import Check, found, guarded, note, yes_no
from compare.measure.probe import probe
from compare.measure.step import COUNTS_OF_OWN, OWN, chain, spacings, strided
from compare.measure.tolerances import NOTHING_LEFT
from compare.oracle import STEP, Oracle, Setting
from compare.stages.stage import Stage


def checks(subject: Subject, oracle: Oracle) -> Iterator[Check]:
    """(i) lists of every n for each spacing; (ii) the step before each, seen in the means."""
    for spacing, scheduler in spacings(subject).items():
        judged = _own_lists(scheduler) if spacing == OWN else _lists(spacing, scheduler, oracle)
        yield from guarded(f"timesteps/{spacing}", judged)
    shifted = subject.offers(timestep_spacing="leading", steps_offset=1)
    if shifted is not None and "steps_offset" in subject.named:
        name = "leading-offset-1"
        yield from guarded(f"timesteps/{name}", _lists(name, shifted, oracle))
        yield _past_the_end(shifted, oracle)
    if "timesteps" in subject.set_named:
        yield from guarded("timesteps/given", _given(subject.scheduler()))
    if subject.has("step"):  # what also shows at n = T is another stage's
        yield from guarded("timesteps/previous", _previous_steps(subject, oracle), quiet=True)
    if subject.has("previous_timestep"):
        for n in (10, subject.setting.num_train_timesteps):
            id = f"timesteps/previous_timestep/{n}"
            yield from guarded(id, _said(id, subject.scheduler(), oracle, n))


def _none(id: str, wrong: list[int], message: str, **more: str) -> Check:
    """A check that holds where nothing is wrong; `message` says what is found either way."""
    return yes_no(id, not wrong, message, message, measured=float(len(wrong)), allowed=0.0, **more)


def _said(id: str, scheduler: Scheduler, oracle: Oracle, n: int) -> Iterator[Check]:
    """`previous_timestep` names the next of the list; anything below 0 after the last."""
    said = torch.tensor(
        scheduler.subject.remember(("said", scheduler.key, n), lambda: scheduler.previous(n))
    )
    t = torch.tensor(scheduler.visit(n))
    right = oracle.previous(torch.cat([t[1:], torch.tensor([-1])]), t, n, scheduler.setting)
    wrong = (said.clamp(min=-1) != right.clamp(min=-1)).nonzero().flatten().tolist()
    message = "previous_timestep says the next of the list"
    if wrong:
        i = wrong[0]
        message = f"previous_timestep({int(t[i])}) is {int(said[i])}, should be {int(right[i])}"
    yield _none(id, wrong, message, input=f"every t of set_timesteps({n})")


def _inside(setting: Setting, n: int) -> bool:
    T = setting.num_train_timesteps
    return (n - 1) * (T // n) + setting.steps_offset < T


def _lists(name: str, scheduler: Scheduler, oracle: Oracle) -> Iterator[Check]:
    setting, T = scheduler.setting, scheduler.setting.num_train_timesteps
    counts = [n for n in range(1, T + 1) if _inside(setting, n)]
    key = ("lists", scheduler.key, setting, oracle.timesteps)
    wrong = scheduler.subject.remember(key, lambda: _wrong_counts(scheduler, oracle, counts))
    message = f"the list is right for all {len(counts)} counts of 1..{T}"
    if wrong:
        n = wrong[0]
        got, (exact, unit) = scheduler.timesteps(n).tolist(), oracle.timesteps(setting, n)
        right = [round(float(v) / unit) for v in exact]
        message = (
            f"wrong for {len(wrong)} of {len(counts)} counts, first n={n}: {len(got)} steps "
            f"{ends(got)}, should be {len(right)} steps {ends(right)}"
        )
    yield _none(f"timesteps/{name}", wrong, message, input=f"set_timesteps(n), n = 1..{T}")
    start = T // 2 + 1
    if name == "leading" and not wrong and start in counts:
        first = int(scheduler.timesteps(start)[0])
        if first < T - 2:
            text = f"with n={start} the chain starts at t={first}, not near T={T}; let n divide T"
            yield note("timesteps/leading/start", text)


def _own_lists(scheduler: Scheduler) -> Iterator[Check]:
    upto = min(COUNTS_OF_OWN, scheduler.setting.num_train_timesteps)
    wrong = [n for n in range(1, upto + 1) if not may_be_list(scheduler, n)]
    said = f"n={wrong[0]}: {ends(scheduler.timesteps(wrong[0]).tolist())}" if wrong else ""
    yield yes_no(
        f"timesteps/{OWN}",
        not wrong,
        f"lists of its own (a convention) are fit for all counts of 1..{upto}",
        f"unfit for {len(wrong)} of {upto} counts, first {said}: should be n steps that fall from "
        "near T-1 to near 0",
        measured=float(len(wrong)),
        allowed=0.0,
        input=f"set_timesteps(n), n = 1..{upto}",
    )


def may_be_list(scheduler: Scheduler, n: int) -> bool:
    """True if n whole steps fall from pure noise, or a stride of T-1, to within a stride of 0.

    A list that is dense at its end, such as a quadratic one, may be rounded to 0 more than once.
    """
    T, listed = scheduler.setting.num_train_timesteps, scheduler.timesteps(n).tolist()
    stride = -(-T // n)
    falls = all(a > b or a == b == 0 for a, b in pairwise(listed))
    falls = falls and all(float(t).is_integer() for t in listed)
    if len(listed) != n or not falls or not 0 <= listed[-1] <= stride or listed[0] >= T:
        return False
    table = scheduler.table()
    noise = table is not None and float(table[int(listed[0])].sqrt()) < NOTHING_LEFT
    return noise or listed[0] >= T - 1 - stride


def _wrong_counts(scheduler: Scheduler, oracle: Oracle, counts: list[int]) -> list[int]:
    """The counts whose list is wrong; one step alone may be from T-1 or from 0."""
    wrong, ends_of_chain = [], ([0.0], [scheduler.setting.num_train_timesteps - 1.0])
    for n in counts:
        got = scheduler.timesteps(n)
        if n == 1 and got.tolist() in ends_of_chain:
            continue
        exact, unit = oracle.timesteps(scheduler.setting, n)
        same = len(got) == len(exact)
        if not same or not bool(((got * unit - exact).abs() * 2 <= unit + 1e-9).all()):  # or NaN
            wrong.append(n)
    return wrong


def ends(listed: list) -> str:
    """A list, or the two numbers at each of its ends."""
    shown = [int(t) if float(t).is_integer() else t for t in listed]
    if len(shown) <= 6:
        return str(shown)
    return f"[{shown[0]}, {shown[1]}, ..., {shown[-2]}, {shown[-1]}]"


def _past_the_end(scheduler: Scheduler, oracle: Oracle) -> Check:
    """An offset that passes T-1 is refused, or at least does not leave the table."""
    T = scheduler.setting.num_train_timesteps
    highest = -1.0
    with suppress(Broken):
        highest = max(scheduler.timesteps(T).tolist(), default=highest)
    return yes_no(
        "timesteps/offset-past-end",
        (highest < T) == oracle.refuses_past_end,
        "an offset that passes T-1 is refused or held inside",
        f"steps_offset=1 with n=T={T} leaves t={highest:.0f}, which the table does not have",
        input=f"steps_offset=1, set_timesteps({T})",
    )


def _given(scheduler: Scheduler) -> Iterator[Check]:
    T = scheduler.setting.num_train_timesteps
    chosen = sorted({T - 1, T // 2, T // 3, 1, 0}, reverse=True)
    got = scheduler.subject.remember(
        ("given", scheduler.key), lambda: scheduler.given_timesteps(chosen)
    )
    yield yes_no(
        "timesteps/given",
        got == chosen,
        "a list that is given is used as it is",
        f"set_timesteps(timesteps={chosen}) leaves {got}",
        input=f"timesteps={chosen}",
    )


def _previous_steps(subject: Subject, oracle: Oracle) -> Iterator[Check]:
    probe(subject.scheduler())
    for spacing, n in strided(subject):
        id = f"timesteps/previous/{spacing}-{n}"
        yield from guarded(id, _previous(id, subject, oracle, spacing, n))


def _previous(id: str, subject: Subject, oracle: Oracle, spacing: str, n: int) -> Iterator[Check]:
    if chain(subject, oracle, spacing, n).fits_list:
        yield found(id, "equal", "step uses the next of its list")
        return
    seen = chain(subject, Oracle(), spacing, n)
    if not seen.fits_other:
        # Where the means fit no previous step at all, the fault belongs to stage mean.
        yield note(id, "left to stage mean")
        return
    off = (seen.prev != seen.rows.prev).flatten()
    i = int(off.nonzero()[0])
    t, used, listed = (int(v[i]) for v in (seen.rows.t, seen.prev, seen.rows.prev))
    yield found(
        id,
        "differs",
        f"at t={t} step goes to t={used}, but the list goes on with {listed}",
        measured=float(off.sum()),
        allowed=0.0,
        input=f"timestep_spacing={spacing!r}, set_timesteps({n})",
    )


TIMESTEPS = Stage(
    name="timesteps",
    looks_at="the list for every n and spacing; the previous step that step() uses",
    right="the list of Lin et al. table 2; each step goes to the next of the list",
    page="fewer-steps",
    checks=checks,
    needs=("set_timesteps",),
    sees=(*STEP, "timesteps", "refuses_past_end"),
)
