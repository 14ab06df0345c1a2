"""How many steps there are, and what t counts from: by tables, lists, and what a model is told."""

import contextlib
import inspect
from dataclasses import replace

import torch
from torch import Tensor

from compare.candidate.door import count
from compare.candidate.door.names import plain
from compare.candidate.door.reading import CANONICAL, Fact
from compare.candidate.door.signature import attribute, written
from compare.candidate.load import Broken
from compare.candidate.loop.calls import loop_told
from compare.candidate.loss.calls import loss_told
from compare.candidate.model.told import read_told
from compare.candidate.scheduler import NOTHING, Scheduler
from compare.candidate.subject import Subject
from compare.candidate.text.handed import STEPS
from compare.oracle import Oracle, Setting
from compare.stages.schedule import SHORT
from compare.verdict.conventions.schedule import families, read_schedule

LENGTHS = ("num_train_timesteps", "num_timesteps", "T")  # names that T may have
USUAL = 1000  # steps for which ends of betas are said
NEARLY = 2  # steps that a loss may leave out
FAR_OFF = 100_000  # a t that no table has


def length(subject: Subject) -> tuple[int, dict[str, Fact]]:
    """T; and what t counts from, and where its table begins, where a table, a list, or what a model
    is told says so."""
    T, named = subject.setting.num_train_timesteps, "num_train_timesteps" in subject.named
    raw = betas = None
    with contextlib.suppress(Broken):
        raw, betas = subject.scheduler().raw_table(), subject.scheduler().betas()
    if raw is None and betas is not None and not named:
        product = (1 - betas).cumprod(0)
        raw = product if _begins_with_one(product) or not subject.has("add_noise") else None
    whole, last = 0, -1
    if raw is not None and not named and subject.has("sample"):
        last = _last_trained(subject)
    if raw is not None and last > len(raw):  # a table of the loop's steps alone
        subject.shows_another, whole, raw, betas = True, last + 1, None, None
    if raw is not None and not len(raw):
        raise Broken("its table of alpha-bar is empty", raised=False)
    if raw is not None:
        spare = _begins_with_one(raw) and not _has_as_many(subject, len(raw))
        if spare and (not named or len(raw) == T + 1):
            if _may_be_the_level_of_none(subject, raw):
                return len(raw) - 1, _behind_one(subject, raw)
            return T if named else len(raw), {"t_base": Fact(0, others=(1,))}
        if not named and _first_is_no_step(subject, raw):
            why = f"its model is told t = 1..{len(raw) - 1} alone"
            return len(raw) - 1, {"t_base": Fact(1, "declared", why)}
        default = subject.defaults.get("num_train_timesteps") == T
        if named and (len(raw) != T or default) and _has_its_own_length(subject, raw):
            _forget_length(subject, len(raw))
            named = False
        T = T if named else len(raw)
    elif not named:
        said = [attribute(subject.first, name) for name in LENGTHS]
        said.append(None if betas is None else len(betas))
        declared = whole or next((v for v in said if isinstance(v, int) and v > 0), 0)
        T = declared or _visited(subject) or _constant(subject) or _answered(subject)
        if not declared and _gives_back_at_none(subject, T):
            words = "its add_noise gives the images back at t=0"
            return T - 1, {"t_base": Fact(1, "structural", words)}
    base = _list_from_one(subject, T, raw) or _all_from_one(subject, T, raw)
    base = base or _none_at_zero(subject, T)
    if base is None and subject.by_names and _is_alone(subject) and count.wraps(subject, T):
        base = Fact(0, others=(1,))  # entry t - 1, of t from 1, or wrongly so
    base = base or count.by_list(subject, T)
    return T, {} if base is None else {"t_base": base}


def _last_trained(subject: Subject) -> int:
    """The last t that a loss tells its model, whole ones from 0; -1 where there is none, or it
    tells others."""
    with contextlib.suppress(Broken):
        if subject.has("loss"):
            told = loss_told(subject, Oracle().alpha_bar(subject.setting))
            from_0 = bool((told == told.round()).all()) and float(told.min()) == 0
            return int(told.max()) if from_0 else -1
    return -1


def _list_from_one(subject: Subject, T: int, raw: Tensor | None) -> Fact | None:
    """Left open where there is a loop alone, of fewer steps, whose list ends at 1: with an offset
    of 1, or counted from 1."""
    if not subject.has("sample") or any(subject.has(m) for m in ("step", "add_noise", "loss")):
        return None
    with contextlib.suppress(Broken):
        setting = replace(subject.setting, num_train_timesteps=T)
        told = loop_told(subject, Oracle().alpha_bar(setting) if raw is None else raw[-T:])
        if len(told.unique()) < T - 1 and float(told.min()) == 1 and float(told.max()) <= T:
            return Fact(0, others=(1,))
    return None


def _all_from_one(subject: Subject, T: int, raw: Tensor | None) -> Fact | None:
    """Counted from 1, if a loop tells its model t = 1..T, and `add_noise`, as a step beside it,
    takes t = T, and finds at t = 0 the last of its table."""
    if raw is None or not (subject.has("sample") and subject.has("add_noise")):
        return None
    with contextlib.suppress(Broken):
        told = loop_told(subject, raw)
        whole = len(told.unique()) == T and float(told.min()) == 1 and float(told.max()) == T
        if whole and count.wraps(subject, T):
            return Fact(
                1, "structural", f"its loop tells its model t = 1..{T}, as add_noise takes it"
            )
    return None


def _first_is_no_step(subject: Subject, raw: Tensor) -> bool:
    """True if a loop and a loss tell their model t = 1..T alone of a table that begins at 0.

    Such as t / T from 1 / T to 1, beside T + 1 entries. Whole numbers say so to who is told that t
    counts from 1: they are also those of T + 1 steps of which the last is missing (mistake 79).
    """
    with contextlib.suppress(Broken):
        every = _told(subject, raw)
        if not len(every):
            return False
        longer, shorter = (read_told(every, T) for T in (len(raw), len(raw) - 1))
        whole = longer is not None and longer.unit == 1 and subject.t_base == 0
        never = longer is None or (not whole and bool((every > 0).all()))
        return never and shorter is not None and shorter.base == 1
    return False


def _told(subject: Subject, table: Tensor) -> Tensor:
    """(n,) float64 what a loop and a loss tell their model; none where there are none."""
    asked = {"sample": loop_told, "loss": loss_told}
    told = [ask(subject, table) for role, ask in asked.items() if subject.has(role)]
    return torch.cat(told) if told else torch.zeros(0)


def _begins_with_one(raw: Tensor) -> bool:
    """True if a table has one entry that no step of a DDPM has: x_1 without noise."""
    return len(raw) > 1 and bool((raw[0] == 1) & (raw[1] < 1))


def _has_as_many(subject: Subject, n: int) -> bool:
    """True if a candidate says that it has n steps: in a list from n - 1 to 0, or as its T."""
    said = [attribute(subject.first, name) for name in LENGTHS]
    return n in said or count.lists_all(subject, n)


def _may_be_the_level_of_none(subject: Subject, raw: Tensor) -> bool:
    """False for what is left open: a table to 0 beside methods, by a model that predicts noise.

    A last step from there divides by 0, and one that counts t from 0 never comes there.
    """
    T = len(raw) - 1
    setting = replace(subject.setting, num_train_timesteps=T)
    if raw[-1] > NOTHING or families(raw[1:], setting) or count.none_takes(subject, T):
        return True
    decided = subject.door.t_base is not CANONICAL.t_base
    return subject.t_base == 1 if decided else count.behind_one(subject, T) is None


def _behind_one(subject: Subject, raw: Tensor) -> dict[str, Fact]:
    """What t counts from, and at which entry it begins, in a table of T + 1 behind a 1.

    Who tells its model t = 0..T-1 reads entry t + 1: else its first step would be none.
    """
    T, decided = len(raw) - 1, subject.door.t_base is not CANONICAL.t_base
    words = f"its table has {T + 1} entries, the first of them 1"
    ahead, from_one = Fact(1, "declared", words), Fact(1, "declared", words)
    by_methods = count.behind_one(subject, T)
    if by_methods is not None:
        base = subject.door.t_base if decided else by_methods
        reads_ahead = base.value == 0 and count.none_takes(subject, T)
        return {"t_base": base} | ({"entry": ahead} if reads_ahead else {})
    if decided:
        return {"entry": ahead} if subject.t_base == 0 else {}
    every = torch.zeros(0)
    with contextlib.suppress(Broken):
        every = _told(subject, raw[1:])
    said = read_told(every, T) if len(every) else None
    steps = every if said is None else said.steps(every)
    if said is None or said.base == 1 or bool(steps.max() == T):
        return {"t_base": from_one}
    if bool(steps.min() == 0):
        why = f"its model is told t = 0..{int(steps.max())}"
        return {"t_base": Fact(0, "declared", why), "entry": ahead}
    return {"t_base": replace(from_one, others=(0,))}


def _forget_length(subject: Subject, T: int) -> None:
    """Does not ask for another T: the candidate has one of its own."""
    subject.named.discard("num_train_timesteps")
    words = f"num_train_timesteps changes nothing: {T} steps of its own are judged"
    subject.conventions["num_train_timesteps"] = words


def _is_as_long(subject: Subject, raw: Tensor | None) -> bool:
    """True if the table is the same whatever T is asked."""
    other = subject.takes(num_train_timesteps=SHORT)
    table = None if other is None else other.raw_table()
    return raw is not None and table is not None and torch.equal(table, raw)


def of_another_length(subject: Subject) -> None:
    """Reads the schedule once more with another T: one of its own, or a family with other ends."""
    base = subject.setting
    if base.beta_schedule == "own" and _is_as_long(subject, subject.scheduler().raw_table()):
        _forget_length(subject, base.num_train_timesteps)
    elif not subject.named & {"beta_start", "beta_end", "trained_betas"}:
        plain = replace(base, beta_schedule=Setting.beta_schedule, trained_betas=None)
        made = subject.build(replace(plain, num_train_timesteps=SHORT))
        read = plain if made is None else read_schedule(made)
        subject.shorter = read if read.beta_schedule == base.beta_schedule else None
    else:
        subject.shorter = _stretched(subject, base)


def _stretched(subject: Subject, base: Setting) -> Setting | None:
    """The setting with fewer steps whose betas are as many times larger, as those of 1000 steps
    would be (Nichol & Dhariwal's code); None where they are those that it is given."""
    ends = (base.beta_start, base.beta_end)
    made = subject.build(replace(base, num_train_timesteps=SHORT))
    table = None if made is None else made.table()
    start, end = (each * USUAL / SHORT for each in ends)
    wide = replace(base, num_train_timesteps=SHORT, beta_start=start, beta_end=end)
    if table is None or len(table) != SHORT:
        return None
    return wide if wide in families(table, wide) else None


def _has_its_own_length(subject: Subject, raw: Tensor) -> bool:
    """True if the table is as long whatever T is asked, and that T or the schedule is its own."""
    if not _is_as_long(subject, raw):
        return False
    setting = replace(subject.setting, num_train_timesteps=len(raw))
    own = subject.defaults.get("num_train_timesteps") == len(raw)
    return own or ("beta_schedule" not in subject.named and not families(raw, setting))


def _answered(subject: Subject) -> int:
    """T where nothing says it: the t before the first that is off the table, or what we ask for."""
    usual, scheduler = subject.setting.num_train_timesteps, subject.scheduler()
    low, high = 0, FAR_OFF
    if _is_off(scheduler, low) or not _is_off(scheduler, high):
        return usual
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _is_off(scheduler, middle) else (middle, high)
    return high


def _constant(subject: Subject) -> int:
    """T as the one number that is called so at the top of the file of a function alone; else 0."""
    roles = [each for each in ("add_noise", "sample", "loss") if subject.by_names]
    found: set[int] = set()
    for role in (each for each in roles if getattr(subject.adapter, each, None) is not None):
        function = inspect.unwrap(written(subject.function(role)))
        globals_ = getattr(function, "__globals__", {})
        called = {name: v for name, v in globals_.items() if plain(name) in STEPS}
        found |= {v for v in called.values() if type(v) is int and v > 1}
    return found.pop() if len(found) == 1 else 0


def _none_at_zero(subject: Subject, T: int) -> Fact | None:
    """Counted from 1, if an `add_noise` alone takes t = 1..T, and none at 0, or adds none there."""
    none = _is_alone(subject) and count.asked(subject, "add_noise", 0) is None
    if none or _gives_back_at_none(subject, T):
        ends = (count.asked(subject, "add_noise", t) for t in (1, T))
        if all(each is not None for each in ends):
            words = "none at 0" if none else "gives the images back at 0"
            return Fact(1, "structural", f"its add_noise takes t = 1..{T}, and {words}")
    return None


def _is_alone(subject: Subject) -> bool:
    """True for an `add_noise` and nothing else that is told a t, and by no adapter of the user's,
    whose contract counts from 0."""
    others, declared = ("step", "sample", "loss"), subject.adapter and not subject.by_names
    known = subject.has("add_noise") and not declared
    return known and not any(subject.has(method) for method in others)


def _gives_back_at_none(subject: Subject, T: int) -> bool:
    """True if an `add_noise` alone takes t = 0..T-1, and adds none at t = 0 only: T - 1 steps."""
    if not _is_alone(subject) or T < 3:
        return False
    with contextlib.suppress(Broken):
        signal, noise = subject.scheduler().coefficients(torch.float32, 2)
        return bool((signal[0] == 1) & (noise[0] == 0) & (noise[1] > 0))
    return False


def _visited(subject: Subject) -> int:
    """T of a loop or a loss that shows no table: all steps are visited, to 0 or 1; 0 if they are
    not."""
    if not subject.has("sample"):
        return _trained(subject) if subject.has("loss") else 0
    with contextlib.suppress(Broken):
        told = loop_told(subject, Oracle().alpha_bar(subject.setting))
        n, usual = len(told), read_told(told, subject.setting.num_train_timesteps)
        by = read_told(told, n)
        if by is None:
            return 0
        if by.unit != 1 and usual is not None and n not in _kept(subject):
            return 0  # it may be t / T of some steps
        every = torch.equal(by.steps(told).long() - by.base, torch.arange(n).flip(0))
        if not every:
            return 0
        return n + (by.base == 1 and _last_trained(subject) == n)  # whose loop ends at 1
    return 0


def _kept(subject: Subject) -> set[int]:
    """What its objects have under names of T."""
    kept = [item for each in subject.own_objects for item in getattr(each, "__dict__", {}).items()]
    return {value for name, value in kept if type(value) is int and plain(name) in STEPS}


def _trained(subject: Subject) -> int:
    """T of a loss: as many t as it tells its model, whole numbers from 0 or 1; 0 if they are not,
    or nearly as many as we ask for, of which one or two may be left out (mistake 20)."""
    usual = subject.setting.num_train_timesteps
    with contextlib.suppress(Broken):
        told = loss_told(subject, Oracle().alpha_bar(subject.setting))
        first, last = float(told.min()), float(told.max())
        n = int(last - first) + 1
        whole = bool((told == told.round()).all()) and first in (0, 1) and last > 1
        if whole and abs(n - usual) > NEARLY and len(told.unique()) == n:
            return n
    return 0


def _is_off(scheduler: Scheduler, t: int) -> bool:
    """True if a t is refused as an index of a table."""
    one = torch.ones(1, 1, 2, 2)
    try:
        if scheduler.subject.has("add_noise"):
            scheduler.add_noise(one, one, torch.tensor([t]))
        elif scheduler.subject.has("step"):
            scheduler.step(one, t, one, 0)
    except Broken as broken:
        return "IndexError" in str(broken)
    return False
