"""Reads off what a candidate does without naming it: T, t base, clip, variance, spacing, betas.

Such choices are shown on the convention card and every stage is judged by them; none is a failure.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from compare.candidate.scheduler import Broken, Built
from compare.candidate.subject import Subject
from compare.measure.ledger import deviation
from compare.measure.step import OWN, SPACINGS
from compare.oracle import F64, Oracle, Setting
from compare.stages.schedule import FAMILIES, bound, log_snr
from compare.stages.timesteps import may_be_list
from compare.verdict.step_conventions import read_step

RIGHT = Oracle()
CHOICES = (
    "beta_schedule", "prediction_type", "variance_type", "clip_sample", "timestep_spacing",
)  # fmt: skip


def read(subject: Subject) -> None:
    """Fills `subject.setting` with what the candidate does by itself, and the card."""
    claims = _claims(subject.first)
    if subject.adapter is not None:
        claims["prediction_type"] = subject.adapter.prediction_type
    for name, value in claims.items():
        if name not in subject.named and value is not None:
            subject.setting = replace(subject.setting, **{name: value})
    _length(subject)
    built = subject.build(subject.setting)
    assert built is not None
    if "beta_schedule" not in subject.named and "beta_schedule" not in claims:
        _schedule(subject, built)
    if subject.has("step"):
        try:
            read_step(subject, claims)
        except Broken as broken:
            subject.conventions["step"] = f"not read: {broken}"
    if subject.has("set_timesteps") and "timestep_spacing" not in {*subject.named, *claims}:
        _spacing(subject)
    _card(subject)


def _claims(thing: Any) -> dict[str, Any]:
    """What the candidate's `config` says of itself, in Diffusers' words."""
    config = getattr(thing, "config", None)
    if not isinstance(config, Mapping):
        return {}
    known = {k: config[k] for k in vars(Setting()) if k in config}
    if known.get("trained_betas") is not None:
        known["trained_betas"] = tuple(float(b) for b in known["trained_betas"])
    return known


def _length(subject: Subject) -> None:
    """T and whether t counts from 0 or 1: a table of T+1 that starts at 1 counts from 1."""
    thing = subject.first
    raw = None
    try:
        built = subject.build(subject.setting)
        raw = built.raw_table() if built is not None else None
    except Broken:
        pass
    T = subject.setting.num_train_timesteps
    named = "num_train_timesteps" in subject.named
    one = raw is not None and len(raw) > 1 and bool((raw[0] == 1) & (raw[1] < 1))
    if raw is not None and one and (not named or len(raw) == T + 1):
        subject.t_base = 1
        T = len(raw) - 1
    elif raw is not None and not named:
        T = len(raw)
    elif not named:
        for name in ("num_train_timesteps", "num_timesteps", "T"):
            value = getattr(thing, name, None)
            if isinstance(value, int) and value > 0:
                T = value
                break
    subject.setting = replace(subject.setting, num_train_timesteps=T)
    listed = getattr(thing, "timesteps", None)
    if raw is None and isinstance(listed, Tensor | list) and len(listed) == T:
        subject.t_base = int(min(float(t) for t in listed) == 1)


def _schedule(subject: Subject, built: Built) -> None:
    """Which right family the table is, with which ends; a mistaken one is left to the stage."""
    own, T = built.table(), subject.setting.num_train_timesteps
    if own is None or len(own) != T or not bool(own.isfinite().all()):
        return
    known = [replace(subject.setting, beta_schedule=name) for name in FAMILIES]
    if bool(own[-1] == 0):
        known += [replace(setting, rescale_betas_zero_snr=True) for setting in known]
    if len(own) > 1:
        known += _fitted(subject.setting, own)
    for setting in known:
        if _is_table(own, setting):
            subject.setting = setting
            return
    from compare.mistakes import MISTAKES

    for mistake in MISTAKES:
        if mistake.stage == "schedule":
            wrong = mistake.oracle()
            for name in FAMILIES:
                setting = replace(subject.setting, beta_schedule=name)
                if _is_table(own, setting, wrong):
                    subject.setting = setting
                    return
    betas = _shown_betas(built, len(own))
    falls = bool((own[1:] < own[:-1]).all() and (own > 0).all() and (own < 1).all())
    if betas is None and falls:
        betas = 1 - own / torch.cat([torch.ones(1, dtype=F64), own[:-1]])
    if betas is not None:
        setting = replace(subject.setting, beta_schedule="own")
        subject.setting = replace(setting, trained_betas=tuple(betas.tolist()))


def _shown_betas(built: Built, T: int) -> Tensor | None:
    """The candidate's `betas`, by which its table can be judged, if they can be betas at all."""
    betas = built.betas()
    if betas is None or len(betas) not in (T, T + built.subject.t_base):
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


def _spacing(subject: Subject) -> None:
    """The spacing whose lists these are, or one of the candidate's own; else the most like it."""
    known = [
        replace(subject.setting, timestep_spacing=spacing, steps_offset=offset)
        for spacing in SPACINGS
        for offset in (0, 1)
    ]
    own = replace(subject.setting, timestep_spacing=OWN)
    trials = [(s, _is_list, (4, 7, 10)) for s in known] + [(own, may_be_list, (4, 7, 10))]
    for setting, rule, counts in trials + [(s, _is_list, (4, 10)) for s in known]:
        built = subject.build(setting)
        assert built is not None
        with contextlib.suppress(Broken):
            if all(rule(built, setting, n) for n in counts if n <= setting.num_train_timesteps):
                subject.setting = setting
                return


def _is_list(built: Built, setting: Setting, n: int) -> bool:
    numerators, denominator = RIGHT.timesteps(setting, n)
    got = built.timesteps(n)
    return len(got) == n and bool(((got * denominator - numerators).abs() * 2 <= denominator).all())


def _card(subject: Subject) -> None:
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
    spread = s.variance_type if s.eta is None else f"DDIM, eta={s.eta:g}"
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
    try:
        built = subject.build(s)
        table = None if built is None else built.table()
        if table is not None:
            card["terminal SNR"] = f"sqrt(alpha-bar_T) = {float(table[-1].clamp(min=0).sqrt()):.4g}"
    except Broken:
        pass
    subject.conventions.update(card)
