"""Reads off what a candidate does without naming it: T, t base, clip, variance, spacing, betas.

Such choices are shown on the convention card and every stage is judged by them; none is a failure.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from compare.candidate.load import Broken
from compare.candidate.loop_calls import loop_told
from compare.candidate.loss_calls import loss_told
from compare.candidate.scheduler import Scheduler
from compare.candidate.spy import read_told
from compare.candidate.subject import Subject
from compare.measure.step import OWN, SPACINGS
from compare.measure.tolerances import log_snr
from compare.measure.values import deviation
from compare.oracle import F64, Oracle, Setting
from compare.oracle.samplers import BY_NAME
from compare.stages.schedule import FAMILIES, bound
from compare.stages.timesteps import may_be_list
from compare.verdict.step_conventions import read_step

RIGHT = Oracle()
LENGTHS = ("num_train_timesteps", "num_timesteps", "T")  # names that T may have
FEWEST = 6  # entries of a table by which a curve is read off all but the first: it has two ends
CHOICES = (
    "beta_schedule",
    "prediction_type",
    "variance_type",
    "clip_sample",
    "timestep_spacing",
)


def read(subject: Subject) -> None:
    """Gives the subject the setting of what the candidate does by itself, and fills the card."""
    claims = _claims(subject.first)
    if subject.adapter is not None:
        claims["prediction_type"] = subject.adapter.prediction_type
    known = {*subject.named, *claims}
    told = {k: v for k, v in claims.items() if k not in subject.named and v is not None}
    subject.setting = replace(subject.setting, **told)
    T, subject.t_base = _length(subject)
    subject.setting = replace(subject.setting, num_train_timesteps=T)
    if "beta_schedule" not in known:
        subject.setting = _schedule(subject.scheduler())
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


def _length(subject: Subject) -> tuple[int, int]:
    """T, and what t counts from: a table of T+1 that starts at 1 counts from 1."""
    T, named = subject.setting.num_train_timesteps, "num_train_timesteps" in subject.named
    try:
        raw = subject.scheduler().raw_table()
    except Broken:
        raw = None
    if raw is not None:
        one = len(raw) > 1 and bool((raw[0] == 1) & (raw[1] < 1))
        if one and (not named or len(raw) == T + 1):
            return len(raw) - 1, 1
        if not named and _first_is_no_step(subject, raw):
            return len(raw) - 1, 1
        return T if named else len(raw), 0
    if not named:
        said = [getattr(subject.first, name, None) for name in LENGTHS]
        T = next((v for v in said if isinstance(v, int) and v > 0), T)
    listed = getattr(subject.first, "timesteps", None)
    if isinstance(listed, Tensor | list) and len(listed) == T:
        return T, int(min(float(t) for t in listed) == 1)
    return T, 0


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


def _schedule(scheduler: Scheduler) -> Setting:
    """Which right family the table is, with which ends; a mistaken one is left to the stage."""
    base, own = scheduler.setting, scheduler.table()
    if own is None or len(own) != base.num_train_timesteps or not bool(own.isfinite().all()):
        return base
    families = [replace(base, beta_schedule=name) for name in FAMILIES]
    known = list(families)
    if bool(own[-1] == 0):
        known += [replace(setting, rescale_betas_zero_snr=True) for setting in families]
    if len(own) > 1:
        known += _fitted(base, betas_of(own))
    for setting in known:
        if _is_table(own, setting):
            return setting
    return _mistaken(own, families) or _with_spare_beta(scheduler, own) or _own(scheduler, own)


def _mistaken(own: Tensor, families: list[Setting]) -> Setting | None:
    """The family whose table this is with a mistake of the catalogue, if it is one."""
    from compare.mistakes import MISTAKES

    for mistake in MISTAKES:
        if mistake.stage == "schedule":
            for setting in families:
                if _is_table(own, setting, mistake.oracle()):
                    return setting
    return None


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
    shown = _shown_betas(scheduler, T)
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
    betas = _shown_betas(scheduler, len(own))
    falls = bool((own[1:] < own[:-1]).all() and (own > 0).all() and (own < 1).all())
    if betas is None and falls:
        betas = betas_of(own)
    return scheduler.setting if betas is None else _given(scheduler.setting, betas)


def betas_of(table: Tensor) -> Tensor:
    """(T,) the betas of a table of alpha-bars.

    >>> betas_of(torch.tensor([0.75, 0.375], dtype=F64)).tolist()
    [0.25, 0.5]
    """
    return 1 - table / torch.cat([torch.ones(1, dtype=F64), table[:-1]])


def _shown_betas(scheduler: Scheduler, T: int) -> Tensor | None:
    """The candidate's `betas`, by which its table can be judged, if they can be betas at all."""
    betas = scheduler.betas()
    if betas is None or len(betas) not in (T, T + scheduler.subject.t_base):
        return None
    betas = betas[-T:]
    return betas if bool(((betas > 0) & (betas < 1)).all()) else None


def _is_table(own: Tensor, setting: Setting, oracle: Oracle = RIGHT) -> bool:
    right = oracle.alpha_bar(setting)
    if len(right) != len(own):
        return False
    return deviation(log_snr(own), log_snr(right), bound(setting, oracle))[0] != "differs"


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
    with contextlib.suppress(Broken):
        table = subject.scheduler().table()
        if table is not None:
            card["terminal SNR"] = f"sqrt(alpha-bar_T) = {float(table[-1].clamp(min=0).sqrt()):.4g}"
    return card
