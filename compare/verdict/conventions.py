"""Reads off what a candidate does without naming it: T, t base, clip, variance, spacing, betas.

Such choices are shown on the convention card and every stage is judged by them; none is a failure.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from compare.candidate.door import count, find
from compare.candidate.door.reading import Fact, Told
from compare.candidate.load import Broken
from compare.candidate.loop_calls import loop_told
from compare.candidate.loss_calls import loss_told
from compare.candidate.model.told import read_told
from compare.candidate.scheduler import Scheduler
from compare.candidate.subject import OTHER_NAMES, Subject
from compare.measure.step import OWN, SPACINGS
from compare.measure.tolerances import as_none, log_snr
from compare.measure.values import deviation
from compare.oracle import F64, Oracle, Setting
from compare.oracle.samplers import BY_NAME
from compare.stages.schedule import FAMILIES, SHORT, betas_of, bound, own_betas, shown_betas
from compare.stages.timesteps import may_be_list
from compare.verdict.step_conventions import read_step, table_of_step

RIGHT = Oracle()
LENGTHS = ("num_train_timesteps", "num_timesteps", "T")  # names that T may have
FEWEST = 6  # entries of a table by which a curve is read off all but the first: it has two ends
ALMOST_NONE = 1e-12  # of the image: a table that ends below it has no last step
ANY = "no-such-word"
FAR_OFF = 100_000  # a t that no table has
CHOICES = (
    "beta_schedule",
    "prediction_type",
    "variance_type",
    "clip_sample",
    "timestep_spacing",
)


def read(subject: Subject, door: Told | None = None) -> None:
    """Gives the subject its door and the setting of what it does by itself, and fills the card.

    `door` are facts of it that are decided from outside.
    """
    claims = _claims(subject.first)
    if subject.adapter is not None:
        claims["prediction_type"] = subject.adapter.prediction_type
    told = {k: v for k, v in claims.items() if k not in subject.named and v is not None}
    subject.setting = replace(subject.setting, **told)
    T, subject.door = find.read(subject, door or {}, _length)
    subject.setting = replace(subject.setting, num_train_timesteps=T)
    if "beta_schedule" in subject.named:
        _leave_out_any_words(subject)
    known = {*subject.named, *claims}
    if "beta_schedule" not in known:
        subject.setting = _schedule(subject.scheduler())
        if "num_train_timesteps" in subject.named:
            _of_another_length(subject)
    if subject.has("step"):
        try:
            subject.setting = read_step(subject.scheduler(), known)
        except Broken as broken:
            subject.conventions["step"] = f"not read: {broken}"
    if subject.has("set_timesteps") and "timestep_spacing" not in known:
        subject.setting = _spacing(subject)
    subject.conventions.update(_card(subject))


def _claims(thing: Any) -> dict[str, Any]:
    """What the candidate's `config` says of itself, in Diffusers' words."""
    config = getattr(thing, "config", None)
    if not isinstance(config, Mapping):
        return {}
    known = {k: config[k] for k in vars(Setting()) if k in config}
    if known.get("trained_betas") is not None:
        known["trained_betas"] = tuple(float(b) for b in known["trained_betas"])
    return known


def _length(subject: Subject) -> tuple[int, Fact | None]:
    """T, and what t counts from where a table, a list, or what a model is told says so."""
    T, named = subject.setting.num_train_timesteps, "num_train_timesteps" in subject.named
    raw = betas = None
    with contextlib.suppress(Broken):
        raw, betas = subject.scheduler().raw_table(), subject.scheduler().betas()
    if raw is not None:
        if (not named or len(raw) == T + 1) and _counts_from_one(subject, raw):
            return len(raw) - 1, count.behind_one(subject, len(raw) - 1)
        if not named and _first_is_no_step(subject, raw):
            why = f"its model is told t = 1..{len(raw) - 1} alone"
            return len(raw) - 1, Fact(1, "declared", why)
        if named and len(raw) != T and _has_its_own_length(subject, raw):
            _forget_length(subject, len(raw))
            named = False
        T = T if named else len(raw)
    elif not named:
        said = [getattr(subject.first, name, None) for name in LENGTHS]
        said.append(None if betas is None else len(betas))
        T = next((v for v in said if isinstance(v, int) and v > 0), 0) or _answered(subject)
    return T, count.by_list(subject, T)


def _first_is_no_step(subject: Subject, raw: Tensor) -> bool:
    """True if a loop and a loss tell their model t = 1..T alone of a table that begins at 0.

    Such as t / T from 1 / T to 1, beside T + 1 entries. Whole numbers do not say so: they are also
    those of T + 1 steps of which the last is missing (mistake 79).
    """
    asked = {"sample": loop_told, "loss": loss_told}
    with contextlib.suppress(Broken):
        told = [ask(subject, raw) for role, ask in asked.items() if subject.has(role)]
        every = torch.cat(told) if told else torch.zeros(1)
        longer, shorter = (read_told(every, T) for T in (len(raw), len(raw) - 1))
        never = longer is None or (longer.unit != 1 and bool((every > 0).all()))
        return never and shorter is not None and shorter.base == 1
    return False


def _counts_from_one(subject: Subject, raw: Tensor) -> bool:
    """True if a table is one of t = 1..T behind a 1: then what follows it is a table itself."""
    if len(raw) < 2 or not bool((raw[0] == 1) & (raw[1] < 1)):
        return False
    setting = replace(subject.setting, num_train_timesteps=len(raw) - 1)
    return bool(raw[-1] > ALMOST_NONE) or bool(_families(raw[1:], setting))


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


def _of_another_length(subject: Subject) -> None:
    """Reads the schedule once more with another T: one of its own, or a family with other ends."""
    base = subject.setting
    if base.beta_schedule == "own" and _is_as_long(subject, subject.scheduler().raw_table()):
        _forget_length(subject, base.num_train_timesteps)
    elif not subject.named & {"beta_start", "beta_end", "trained_betas"}:
        plain = replace(base, beta_schedule=Setting.beta_schedule, trained_betas=None)
        made = subject.build(replace(plain, num_train_timesteps=SHORT))
        read = plain if made is None else _schedule(made)
        subject.shorter = read if read.beta_schedule == base.beta_schedule else None


def _has_its_own_length(subject: Subject, raw: Tensor) -> bool:
    """True if the table is as long whatever T is asked, and that T or the schedule is its own."""
    if not _is_as_long(subject, raw):
        return False
    setting = replace(subject.setting, num_train_timesteps=len(raw))
    own = subject.defaults.get("num_train_timesteps") == len(raw)
    return own or ("beta_schedule" not in subject.named and not _families(raw, setting))


def _leave_out_any_words(subject: Subject) -> None:
    """Words that mean what any unknown word means are not judged; its own default word is."""
    default = subject.defaults.get("beta_schedule")
    usual = {own: word for word, own in OTHER_NAMES.items()}.get(str(default), default)
    anything = _table_of(subject, ANY)
    if anything is None:
        return
    tables = {word: _table_of(subject, word) for word in FAMILIES if word != usual}
    same = {w for w, table in tables.items() if table is not None and table.equal(anything)}
    if not same:
        return
    subject.any_words = {("beta_schedule", word) for word in same}
    said = f"takes any word: {', '.join(sorted(same))} give what {ANY!r} gives, and are not judged"
    subject.conventions["beta_schedule"] = said
    if subject.setting.beta_schedule in same:
        if usual in FAMILIES:
            subject.setting = replace(subject.setting, beta_schedule=usual)
        else:
            subject.named.discard("beta_schedule")  # its default is a schedule of its own


def _table_of(subject: Subject, word: str) -> Tensor | None:
    """The table of a schedule by its word, None if the word is refused."""
    made = subject.takes(beta_schedule=subject.words.get(word, word))
    return None if made is None else made.table()


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


def _schedule(scheduler: Scheduler) -> Setting:
    """Which right family the table is, with which ends; a mistaken one is left to the stage."""
    base, own = scheduler.setting, scheduler.table()
    if own is None and scheduler.subject.has("step"):
        own = table_of_step(scheduler)
    if own is None:
        scheduler.subject.conventions["table"] = "none is shown: that of the betas below is assumed"
    if own is None or len(own) != base.num_train_timesteps or not bool(own.isfinite().all()):
        return base
    fitting = _families(own, base) or _mistaken(own, base)
    if fitting:
        return fitting[0]
    return _with_spare_beta(scheduler, own) or _own(scheduler, own)


def _families(own: Tensor, base: Setting) -> list[Setting]:
    """The right families that the table is, within the bound at every t, the default ends first."""
    families = [replace(base, beta_schedule=name) for name in FAMILIES]
    known = list(families)
    if bool(own[-1] == 0):
        known += [replace(setting, rescale_betas_zero_snr=True) for setting in families]
    if len(own) > 1:
        known += _fitted(base, betas_of(own))
    return [setting for setting in known if _is_table(own, setting)]


def _mistaken(own: Tensor, base: Setting) -> list[Setting]:
    """The families that the table is, within the bound at every t, but for one wrong formula.

    Else a wrong table that falls would be taken for a schedule of the candidate's own.
    """
    from compare.mistakes import MISTAKES

    families = [replace(base, beta_schedule=name) for name in FAMILIES]
    wrong = [mistake.oracle() for mistake in MISTAKES if mistake.stage == "schedule"]
    return [setting for setting in families if any(_is_table(own, setting, o) for o in wrong)]


def _with_spare_beta(scheduler: Scheduler, own: Tensor) -> Setting | None:
    """The schedule without a beta that the product holds though it is of no step (mistake 1)."""
    from compare.mistakes import BY_ID

    wrong = BY_ID["1"].oracle()
    for setting in _spare_betas(scheduler, own):
        spare, largest = setting.spare_beta, float(RIGHT.betas(setting).max())
        if spare is not None and not 0 < spare <= largest:
            continue
        if _is_table(own, setting, wrong) and not _is_table(own, setting):
            return setting
    return None


def _spare_betas(scheduler: Scheduler, own: Tensor) -> Iterator[Setting]:
    """Schedules with such a beta: in front of a table, beside the betas, or merged with the first.

    If it is merged, the other betas of the table lie on a curve of T points, whose first the
    product holds twice, or of T + 1 points, whose first is no step.
    """
    base, T, raw = scheduler.setting, len(own), scheduler.raw_table()
    if raw is not None and len(raw) == T + 1:
        yield _given(base, betas_of(raw)[1:], float(1 - raw[0]))
    shown = shown_betas(scheduler, T)
    if shown is not None:
        yield _given(base, shown)
        yield _given(base, shown, float(1 - own[0] / (1 - shown[0])))
    if T < FEWEST:
        return
    yield from _fitted(base, betas_of(own)[1:])
    for longer in _fitted(replace(base, num_train_timesteps=T + 1), betas_of(own)[1:]):
        betas = RIGHT.betas(longer)
        yield _given(base, betas[1:], float(betas[0]))


def _given(base: Setting, betas: Tensor, spare: float | None = None) -> Setting:
    given = tuple(betas.tolist())
    return replace(base, beta_schedule="own", trained_betas=given, spare_beta=spare)


def _own(scheduler: Scheduler, own: Tensor) -> Setting:
    """A schedule of the candidate's own: by its betas, or those of a table that falls."""
    betas = own_betas(scheduler) if scheduler.table() is not None else betas_of(own)
    return scheduler.setting if betas is None else _given(scheduler.setting, betas)


def _is_table(own: Tensor, setting: Setting, oracle: Oracle = RIGHT) -> bool:
    right = oracle.alpha_bar(setting)
    if len(right) != len(own):
        return False
    seen = log_snr(as_none(own, right))
    return deviation(seen, log_snr(right), bound(setting, oracle))[0] != "differs"


def _fitted(setting: Setting, betas: Tensor) -> list[Setting]:
    """The families with ends fitted to their last betas, as a person would write the ends."""
    T, betas = setting.num_train_timesteps, betas.clamp(min=0)
    ramp = torch.linspace(0, 1, T, dtype=F64)[-len(betas) :]
    bent = (torch.linspace(-6, 6, T, dtype=F64)).sigmoid()[-len(betas) :]
    found = []
    for name, values, curve in (
        ("linear", betas, ramp),
        ("scaled_linear", betas.sqrt(), ramp),
        ("sigmoid", betas, bent),
    ):
        design = torch.stack([1 - curve, curve], dim=1)
        ends = torch.linalg.lstsq(design, values.reshape(-1, 1)).solution.flatten()
        ends = ends**2 if name == "scaled_linear" else ends
        start, end = (float(f"{float(v):.4g}") for v in ends)
        found.append(replace(setting, beta_schedule=name, beta_start=start, beta_end=end))
    return found


def _spacing(subject: Subject) -> Setting:
    """The spacing whose lists these are, or one of the candidate's own; else the most like it."""
    base = subject.setting
    known = [
        replace(base, timestep_spacing=spacing, steps_offset=offset)
        for spacing in SPACINGS
        for offset in (0, 1)
    ]
    own = replace(base, timestep_spacing=OWN)
    trials = [(s, _is_list, (4, 7, 10)) for s in known] + [(own, may_be_list, (4, 7, 10))]
    for setting, rule, counts in trials + [(s, _is_list, (4, 10)) for s in known]:
        scheduler = subject.build(setting)
        assert scheduler is not None  # spacing and offset are not named: nothing else is asked
        with contextlib.suppress(Broken):
            if all(rule(scheduler, n) for n in counts if n <= base.num_train_timesteps):
                return setting
    return base


def _is_list(scheduler: Scheduler, n: int) -> bool:
    numerators, denominator = RIGHT.timesteps(scheduler.setting, n)
    got = scheduler.timesteps(n)
    return len(got) == n and bool(((got * denominator - numerators).abs() * 2 <= denominator).all())


def _card(subject: Subject) -> dict[str, str]:
    s = subject.setting

    def said(name: str, value: object, seen_by: str = "") -> str:
        if name in CHOICES and name in subject.named:
            return "each value that it takes (named, so judged)"
        if name in subject.named:
            return f"{value} (named, so judged)"
        if seen_by and not subject.has(seen_by):
            return f"not read, as there is no {seen_by}"
        return f"{value} (read off)"

    ends = (
        ""
        if s.beta_schedule in ("own", "squaredcos_cap_v2")
        else f" {s.beta_start:g}..{s.beta_end:g}"
    )
    spread = BY_NAME[s.sampler].words(s)
    clip = s.clip_sample_range if s.clip_sample else "none"
    card = {
        "t base": f"{subject.t_base}",
        "T": said("num_train_timesteps", s.num_train_timesteps),
        "betas": said("beta_schedule", s.beta_schedule + ends),
        "prediction": said("prediction_type", s.prediction_type),
        "variance": said("variance_type", spread, "step"),
        "clipping": said("clip_sample", clip, "step"),
        "spacing": said("timestep_spacing", s.timestep_spacing, "set_timesteps"),
        "offset": said("steps_offset", s.steps_offset, "set_timesteps"),
        "data range": "[-1, 1]",
    }
    if s.use_clipped_model_output:
        card["direction"] = "eps derived anew from the clipped x0-hat (read off)"
    with contextlib.suppress(Broken):
        table = subject.scheduler().table()
        if table is not None:
            card["terminal SNR"] = f"sqrt(alpha-bar_T) = {float(table[-1].clamp(min=0).sqrt()):.4g}"
    return card
