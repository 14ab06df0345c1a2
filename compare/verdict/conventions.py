"""Reads off what a candidate does without naming it: T, t base, clip, variance, spacing, betas.

Such choices are shown on the convention card and every stage is judged by them; none is a failure.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from compare.candidate.load import Broken
from compare.candidate.scheduler import Scheduler
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
        return T if named else len(raw), 0
    if not named:
        said = [getattr(subject.first, name, None) for name in LENGTHS]
        T = next((v for v in said if isinstance(v, int) and v > 0), T)
    listed = getattr(subject.first, "timesteps", None)
    if isinstance(listed, Tensor | list) and len(listed) == T:
        return T, int(min(float(t) for t in listed) == 1)
    return T, 0


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
        known += _fitted(base, own)
    for setting in known:
        if _is_table(own, setting):
            return setting
    return _mistaken(own, families) or _own(scheduler, own)


def _mistaken(own: Tensor, families: list[Setting]) -> Setting | None:
    """The family whose table this is with a mistake of the catalogue, if it is one."""
    from compare.mistakes import MISTAKES

    for mistake in MISTAKES:
        if mistake.stage == "schedule":
            for setting in families:
                if _is_table(own, setting, mistake.oracle()):
                    return setting
    return None


def _own(scheduler: Scheduler, own: Tensor) -> Setting:
    """A schedule of the candidate's own: by its betas, or those of a table that falls."""
    betas = _shown_betas(scheduler, len(own))
    falls = bool((own[1:] < own[:-1]).all() and (own > 0).all() and (own < 1).all())
    if betas is None and falls:
        betas = 1 - own / torch.cat([torch.ones(1, dtype=F64), own[:-1]])
    if betas is None:
        return scheduler.setting
    given = tuple(betas.tolist())
    return replace(scheduler.setting, beta_schedule="own", trained_betas=given)


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


def _fitted(setting: Setting, own: Tensor) -> list[Setting]:
    """The families with ends fitted to the table, rounded to what a person would write."""
    before = torch.cat([torch.ones(1, dtype=F64), own[:-1]])
    betas = (1 - own / before).clamp(min=0)
    T = len(own)
    ramp = torch.linspace(0, 1, T, dtype=F64)
    bent = (torch.linspace(-6, 6, T, dtype=F64)).sigmoid()
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
