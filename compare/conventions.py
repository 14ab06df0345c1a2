"""Reads off what a candidate does without naming it: T, t base, clip, variance, spacing, betas.

Such choices are shown on the convention card and every stage is judged by them; none is a failure.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from compare.ledger import deviation
from compare.oracle import F64, Level, Oracle, Setting
from compare.probe import OUT, SHAPE, X
from compare.schedule import FAMILIES, log_snr
from compare.subject import Broken, Built, Subject
from compare.tolerances import table_bound

RIGHT = Oracle()


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
            _step(subject, claims)
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
    if raw is not None and bool(raw[0] == 1) and (not named or len(raw) == T + 1):
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
    own = built.table()
    if own is None or not bool(own.isfinite().all()):
        return
    known = [replace(subject.setting, beta_schedule=name) for name in FAMILIES]
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
    falls = bool((own[1:] < own[:-1]).all() and (own > 0).all() and (own < 1).all())
    if falls:
        before = torch.cat([torch.ones(1, dtype=F64), own[:-1]])
        subject.setting = replace(
            subject.setting, beta_schedule="own", trained_betas=tuple((1 - own / before).tolist())
        )


def _is_table(own: Tensor, setting: Setting, oracle: Oracle = RIGHT) -> bool:
    right = oracle.alpha_bar(setting)
    if len(right) != len(own):
        return False
    bound = table_bound(right) / (1 - right).clamp(min=1e-30)
    return deviation(log_snr(own), log_snr(right), bound)[0] != "differs"


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


def _step(subject: Subject, claims: dict[str, Any]) -> None:
    """Prediction type, kind of step, clip and variance: those that explain the step best."""
    setting, T = subject.setting, subject.setting.num_train_timesteps
    built = subject.build(setting)
    assert built is not None
    built.visit(None)
    table = built.table()
    table = RIGHT.alpha_bar(setting) if table is None else table
    t = torch.tensor([[i] for i in sorted({T // 4, T // 2, 3 * T // 4})])
    level = RIGHT.level(table, t, t - 1, setting)
    rows = torch.stack([_rows(built, int(i), float(table[int(i)]) ** 0.5) for i in t])
    settings = [setting]
    if "prediction_type" not in {*subject.named, *claims}:
        settings = [
            replace(setting, prediction_type=k) for k in ("epsilon", "sample", "v_prediction")
        ]
    if setting.eta is None and not bool(rows[:, 0].any()):
        settings += [replace(s, eta=0.0) for s in settings]
    gaps = [_mean_gap(rows, level, s) for s in settings]
    best = int(torch.tensor(gaps).argmin())
    if gaps[best] < 0.05:
        subject.setting = settings[best]
    if "variance_type" not in {*subject.named, *claims} and subject.setting.eta is None:
        subject.setting = replace(subject.setting, variance_type=_variance(subject, built, table))
    if "clip_sample" not in {*subject.named, *claims}:
        subject.setting = replace(subject.setting, **_clip(subject, built, table))


def _rows(built: Built, t: int, signal: float) -> Tensor:
    """(3, 8): the noise of a step, then what small x and small output add to it."""
    nothing, size = torch.zeros(SHAPE), 0.05 * signal
    zero = built.step(nothing, t, nothing, 3).prev.flatten()
    at_x = built.step(nothing, t, (size * X).reshape(SHAPE), 3).prev.flatten()
    at_out = built.step((size * OUT).reshape(SHAPE), t, nothing, 3).prev.flatten()
    return torch.stack([zero, (at_x - zero) / size, (at_out - zero) / size])


def _mean_gap(rows: Tensor, level: Level, setting: Setting) -> float:
    x, out = X.to(F64).reshape(1, -1), OUT.to(F64).reshape(1, -1)
    zero, plain = torch.zeros_like(x), replace(setting, clip_sample=False, thresholding=False)
    gaps = []
    for j, (a, b) in enumerate(((zero, x), (out, zero)), start=1):
        right = RIGHT.step_mean(a, b, level, plain)
        gaps.append(
            float(((rows[:, j] - right).abs() / right.abs().amax(1, True).clamp(min=1e-4)).max())
        )
    return max(gaps)


def _variance(subject: Subject, built: Built, table: Tensor) -> str:
    """The kind whose ratio between t = 1 and mid-chain is nearest."""
    T = subject.setting.num_train_timesteps
    t = torch.tensor([[min(1, T - 1)], [T // 2]])
    level = RIGHT.level(table, t, t - 1, subject.setting)
    nothing = torch.zeros(SHAPE)
    sizes = [float(built.step(nothing, int(i), nothing, 3).prev.abs().max()) for i in t]
    z = sizes[1] / max(float(RIGHT.std("fixed_small", level)[1]), 1e-12)
    gaps = {}
    for kind in ("fixed_small", "fixed_large"):
        wanted = float(RIGHT.std(kind, level)[0]) * z
        gaps[kind] = abs(sizes[0] - wanted)
    return min(gaps, key=lambda kind: gaps[kind])


def _clip(subject: Subject, built: Built, table: Tensor) -> dict[str, Any]:
    """Whether x0-hat saturates, and at what: read at several t, which must agree."""
    T = subject.setting.num_train_timesteps
    nothing, far = torch.zeros(SHAPE), torch.full(SHAPE, 1e4)
    reach = []
    for t in (T // 4, T // 2, 3 * T // 4):
        sign = 1.0 if subject.setting.prediction_type == "sample" else -1.0
        answer = built.step(sign * far, t, nothing, 3)
        if answer.x_0 is not None:
            reach.append(float(answer.x_0.flatten()[0]))
            continue
        at = torch.tensor([t])
        level = RIGHT.level(table, at, at - 1, subject.setting)
        still = built.step(nothing, t, nothing, 3).prev
        one, zero = torch.ones(1, dtype=F64), torch.zeros(1, dtype=F64)
        reach.append(float((answer.prev - still).flatten()[0] / RIGHT.mean(one, zero, level)))
    middle = sorted(reach)[1]
    agree = all(abs(r - middle) < 0.02 * abs(middle) for r in reach)
    if agree and 0 < middle < 100:
        return {"clip_sample": True, "clip_sample_range": float(f"{middle:.3g}")}
    return {"clip_sample": False}


def _spacing(subject: Subject) -> None:
    for spacing in ("leading", "trailing", "linspace"):
        for offset in (0, 1):
            setting = replace(subject.setting, timestep_spacing=spacing, steps_offset=offset)
            built = subject.build(setting)
            assert built is not None
            try:
                fits = all(_is_list(built, setting, n) for n in (4, 10))
            except Broken:
                return
            if fits:
                subject.setting = setting
                return


def _is_list(built: Built, setting: Setting, n: int) -> bool:
    numerators, denominator = RIGHT.timesteps(setting, n)
    got = built.timesteps(n)
    return len(got) == n and bool(((got * denominator - numerators).abs() * 2 <= denominator).all())


def _card(subject: Subject) -> None:
    s = subject.setting

    def said(name: str, value: object) -> str:
        return f"{value} ({'named, so judged' if name in subject.named else 'read off'})"

    ends = (
        ""
        if s.beta_schedule in ("own", "squaredcos_cap_v2")
        else f" {s.beta_start:g}..{s.beta_end:g}"
    )
    card = {
        "t base": f"{subject.t_base}",
        "T": said("num_train_timesteps", s.num_train_timesteps),
        "betas": said("beta_schedule", s.beta_schedule + ends),
        "prediction": said("prediction_type", s.prediction_type),
        "variance": said(
            "variance_type", s.variance_type if s.eta is None else f"DDIM, eta={s.eta:g}"
        ),
        "clipping": said("clip_sample", s.clip_sample_range if s.clip_sample else "none"),
        "spacing": said("timestep_spacing", s.timestep_spacing),
        "offset": said("steps_offset", s.steps_offset),
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
