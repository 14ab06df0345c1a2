"""Stage timesteps: the list that set_timesteps leaves, and the previous step that `step` uses."""

from dataclasses import replace
from itertools import pairwise

import torch

from compare.candidate.scheduler import Broken, Built
from compare.candidate.subject import Subject
from compare.measure.ledger import Ledger
from compare.measure.probe import probe
from compare.measure.step import COUNTS_OF_OWN, OWN, chain, spacings, strided
from compare.oracle import Oracle, Setting
from compare.verdict.report import Check


def checks(subject: Subject, oracle: Oracle) -> list[Check]:
    """(i) lists of every n for each spacing; (ii) the step before each, seen in the means."""
    ledger = Ledger("timesteps", subject.strict)
    if not subject.has("set_timesteps"):
        return ledger.checks
    for spacing in spacings(subject):
        setting = replace(subject.setting, timestep_spacing=spacing)
        with ledger.guard(spacing):
            if spacing == OWN:
                _own_lists(ledger, subject, setting)
            else:
                _lists(ledger, spacing, subject, oracle, setting)
    shifted = subject.offers(timestep_spacing="leading", steps_offset=1)
    if shifted is not None and "steps_offset" in subject.named:
        with ledger.guard("leading-offset-1"):
            _lists(ledger, "leading-offset-1", subject, oracle, shifted)
        _past_the_end(ledger, subject, oracle, shifted)
    if "timesteps" in subject.set_named:
        with ledger.guard("given"):
            _given(ledger, subject)
    if subject.has("step"):
        with ledger.guard("previous", quiet=True):  # what also shows at n = T is another stage's
            probe(subject, subject.setting)
            for spacing, n in strided(subject):
                with ledger.guard(f"previous/{spacing}-{n}"):
                    _previous(ledger, subject, oracle, spacing, n)
    if subject.has("previous_timestep"):
        for n in (10, subject.setting.num_train_timesteps):
            with ledger.guard(f"previous_timestep/{n}"):
                _said(ledger, subject, oracle, n)
    return ledger.checks


def _said(ledger: Ledger, subject: Subject, oracle: Oracle, n: int) -> None:
    """`previous_timestep` names the next of the list; anything below 0 after the last."""
    setting = subject.setting
    built = subject.build(setting)
    assert built is not None
    said = torch.tensor(subject.remember(("said", built.key, n), lambda: built.previous(n)))
    t = torch.tensor(built.visit(n))
    right = oracle.previous(torch.cat([t[1:], torch.tensor([-1])]), t, n, setting)
    wrong = (said.clamp(min=-1) != right.clamp(min=-1)).nonzero().flatten().tolist()
    message = "previous_timestep says the next of the list"
    if wrong:
        i = wrong[0]
        message = f"previous_timestep({int(t[i])}) is {int(said[i])}, should be {int(right[i])}"
    _none(
        ledger,
        f"previous_timestep/{n}",
        wrong,
        message,
        input=f"every t of set_timesteps({n})",
        catches="mistake 72",
    )


def _none(ledger: Ledger, name: str, wrong: list[int], message: str, **more: str) -> None:
    """A check that holds where nothing is wrong; `message` says what is found either way."""
    ledger.judge(name, not wrong, message, message, measured=float(len(wrong)), allowed=0.0, **more)


def _inside(setting: Setting, n: int) -> bool:
    T = setting.num_train_timesteps
    return (n - 1) * (T // n) + setting.steps_offset < T


def _lists(ledger: Ledger, name: str, subject: Subject, oracle: Oracle, setting: Setting) -> None:
    built = subject.build(setting)
    assert built is not None
    T = setting.num_train_timesteps
    counts = [n for n in range(1, T + 1) if _inside(setting, n)]
    key = ("lists", built.key, oracle.timesteps)
    wrong = subject.remember(key, lambda: _wrong_counts(built, oracle, setting, counts))
    message = f"the list is right for all {len(counts)} counts of 1..{T}"
    if wrong:
        n = wrong[0]
        got, (exact, unit) = built.timesteps(n).tolist(), oracle.timesteps(setting, n)
        right = [round(float(v) / unit) for v in exact]
        message = (
            f"wrong for {len(wrong)} of {len(counts)} counts, first n={n}: {len(got)} steps "
            f"{_ends(got)}, should be {len(right)} steps {_ends(right)}"
        )
    _none(
        ledger,
        name,
        wrong,
        message,
        input=f"set_timesteps(n), n = 1..{T}",
        catches="mistakes 73, 74",
    )
    start = (1 - T) if not counts else T // 2 + 1
    if name == "leading" and not wrong and start in counts:
        first = int(built.timesteps(start)[0])
        if first < T - 2:
            text = f"with n={start} the chain starts at t={first}, not near T={T}; let n divide T"
            ledger.add("leading/start", "note", text, catches="mistake 75")


def _own_lists(ledger: Ledger, subject: Subject, setting: Setting) -> None:
    built = subject.build(setting)
    assert built is not None
    upto = min(COUNTS_OF_OWN, setting.num_train_timesteps)
    wrong = [n for n in range(1, upto + 1) if not may_be_list(built, setting, n)]
    said = f"n={wrong[0]}: {_ends(built.timesteps(wrong[0]).tolist())}" if wrong else ""
    ledger.judge(
        OWN,
        not wrong,
        f"lists of its own (a convention) are fit for all counts of 1..{upto}",
        f"unfit for {len(wrong)} of {upto} counts, first {said}: should be n steps that fall from "
        "near T-1 to near 0",
        measured=float(len(wrong)),
        allowed=0.0,
        input=f"set_timesteps(n), n = 1..{upto}",
        catches="mistakes 73, 74",
    )


def may_be_list(built: Built, setting: Setting, n: int) -> bool:
    """True if n whole steps fall from pure noise, or a stride of T-1, to within a stride of 0."""
    T, listed = setting.num_train_timesteps, built.timesteps(n).tolist()
    stride = -(-T // n)
    falls = all(a > b for a, b in pairwise(listed)) and all(t == int(t) for t in listed)
    if len(listed) != n or not falls or not 0 <= listed[-1] <= stride or listed[0] >= T:
        return False
    table = built.table()
    noise = table is not None and float(table[int(listed[0])].sqrt()) < 0.05
    return noise or listed[0] >= T - 1 - stride


def _wrong_counts(built: Built, oracle: Oracle, setting: Setting, counts: list[int]) -> list[int]:
    wrong = []
    for n in counts:
        got = built.timesteps(n)
        exact, unit = oracle.timesteps(setting, n)
        if len(got) != len(exact) or bool(((got * unit - exact).abs() * 2 > unit + 1e-9).any()):
            wrong.append(n)
    return wrong


def _ends(listed: list) -> str:
    shown = [int(t) if t == int(t) else t for t in listed]
    return (
        str(shown)
        if len(shown) <= 6
        else f"[{shown[0]}, {shown[1]}, ..., {shown[-2]}, {shown[-1]}]"
    )


def _past_the_end(ledger: Ledger, subject: Subject, oracle: Oracle, setting: Setting) -> None:
    """An offset that passes T-1 is refused, or at least does not leave the table."""
    built = subject.build(setting)
    assert built is not None
    T = setting.num_train_timesteps
    try:
        highest = float(built.timesteps(T).max())
    except Broken:
        highest = -1.0
    ledger.judge(
        "offset-past-end",
        (highest < T) == oracle.refuses_past_end,
        "an offset that passes T-1 is refused or held inside",
        f"steps_offset=1 with n=T={T} leaves t={highest:.0f}, which the table does not have",
        input=f"steps_offset=1, set_timesteps({T})",
        catches="mistake 76",
    )


def _given(ledger: Ledger, subject: Subject) -> None:
    built = subject.build(subject.setting)
    assert built is not None
    T = subject.setting.num_train_timesteps
    chosen = sorted({T - 1, T // 2, T // 3, 1, 0}, reverse=True)
    got = subject.remember(("given", built.key), lambda: built.given_timesteps(chosen))
    ledger.judge(
        "given",
        got == chosen,
        "a list that is given is used as it is",
        f"set_timesteps(timesteps={chosen}) leaves {got}",
        input=f"timesteps={chosen}",
    )


def _previous(ledger: Ledger, subject: Subject, oracle: Oracle, spacing: str, n: int) -> None:
    found = chain(subject, oracle, spacing, n)
    name = f"previous/{spacing}-{n}"
    if found.fits_list:
        ledger.add(name, "equal", "step uses the next of its list", catches="mistakes 70, 72")
        return
    found = chain(subject, Oracle(), spacing, n)
    if not found.fits_other:
        # Where the means fit no previous step at all, the fault belongs to stage mean.
        ledger.add(name, "note", "left to stage mean", catches="mistakes 70, 72")
        return
    off = (found.prev != found.rows.prev).flatten()
    i = int(off.nonzero()[0])
    t, used, listed = (int(v[i]) for v in (found.rows.t, found.prev, found.rows.prev))
    ledger.add(
        name,
        "differs",
        f"at t={t} step goes to t={used}, but the list goes on with {listed}",
        measured=float(off.sum()),
        allowed=0.0,
        input=f"timestep_spacing={spacing!r}, set_timesteps({n})",
        catches="mistakes 70, 72",
    )
