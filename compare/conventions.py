"""Reads off what a candidate does without naming it: T, t base, clip, variance, spacing, betas.

Such choices are shown on the convention card and every stage is judged by them; none is a failure.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from compare.affine import OWN, SPACINGS
from compare.ledger import deviation
from compare.oracle import F64, Level, Oracle, Setting
from compare.probe import OUT, SHAPE, X
from compare.schedule import FAMILIES, bound, log_snr
from compare.subject import Broken, Built, Subject
from compare.timesteps import may_be_list

RIGHT = Oracle()
FAR = 1e3  # x0-hat far outside any range that a person would clip to
EXACT = 1e-3  # of a coefficient of a step: float32 at small t, where 1 - alpha-bar is rounded


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


def _step(subject: Subject, claims: dict[str, Any]) -> None:
    """Prediction type, kind of step, clip and variance: those that explain the step best."""
    setting = subject.setting
    built = subject.build(setting)
    assert built is not None
    built.visit(None)
    table = built.table()
    table = RIGHT.alpha_bar(setting) if table is None else table
    t = torch.tensor(_quarters(setting)).reshape(-1, 1)
    level = RIGHT.level(table, t, t - 1, setting)
    rows = torch.stack([_rows(built, int(i), float(table[int(i)]) ** 0.5) for i in t])
    settings = [setting]
    if "prediction_type" not in {*subject.named, *claims}:
        settings = [
            replace(setting, prediction_type=k) for k in ("epsilon", "sample", "v_prediction")
        ]
    if setting.eta is None and not bool(rows[:, 0].any()):
        settings += [replace(s, eta=0.0) for s in settings]
    etas = _etas(rows, level) if setting.eta is None else []
    between = [replace(setting, prediction_type="epsilon", eta=eta) for eta in etas]
    fitting = [s for s in between if _mean_gap(rows, level, s) < EXACT]
    subject.setting = (fitting or [_nearest(rows, level, settings) or setting])[0]
    if "variance_type" not in {*subject.named, *claims} and subject.setting.eta is None:
        subject.setting = replace(subject.setting, variance_type=_variance(subject, built, table))
    if "clip_sample" not in {*subject.named, *claims}:
        subject.setting = replace(subject.setting, **_clip(subject, built, table, rows[:, 2]))


def _nearest(rows: Tensor, level: Level, settings: list[Setting]) -> Setting | None:
    """The setting that fits; else one that a mistake of the catalogue makes fit; else the nearest.

    So a wrong step is not taken for a right one of another kind that happens to look like it.
    """
    gaps = [_mean_gap(rows, level, s) for s in settings]
    nearest = int(torch.tensor(gaps).argmin())
    if gaps[nearest] < EXACT:
        return settings[nearest]
    from compare.mistakes import MISTAKES

    for setting in settings:
        for mistake in MISTAKES:
            kind = "" if setting.eta is None else "ddim"
            if mistake.stage in ("prediction", "mean") and mistake.only in ("", kind):
                gap = _mean_gap(rows, level, setting, mistake.oracle())
                if gap < EXACT:
                    return setting
    return settings[nearest] if gaps[nearest] < 0.05 else None


def _etas(rows: Tensor, level: Level) -> list[float]:
    """The eta between 0 and 1 of a DDIM step on the noise, if the same at every t."""
    one, zero = torch.ones(1, 1, dtype=F64), torch.zeros(1, 1, dtype=F64)
    from_x_0 = RIGHT.ddim_mean(RIGHT.x_0("epsilon", one, zero, level), zero, level, zero)
    direction = (rows[:, 2] / OUT.to(F64)).mean(1, keepdim=True) - from_x_0
    squares = (1 - level.alpha_bar_prev - direction**2) / RIGHT.std("fixed_small", level) ** 2
    found = [float(f"{float(v):.3g}") for v in squares.clamp(min=0).sqrt().flatten()]
    return found[:1] if max(found) - min(found) < 0.01 and 0 < found[0] < 1 else []


def _rows(built: Built, t: int, signal: float) -> Tensor:
    """(3, 8): the noise of a step, then what small x and small output add to it."""
    nothing, size = torch.zeros(SHAPE), 0.05 * signal
    zero = built.step(nothing, t, nothing, 3).prev.flatten()
    at_x = built.step(nothing, t, (size * X).reshape(SHAPE), 3).prev.flatten()
    at_out = built.step((size * OUT).reshape(SHAPE), t, nothing, 3).prev.flatten()
    return torch.stack([zero, (at_x - zero) / size, (at_out - zero) / size])


def _mean_gap(rows: Tensor, level: Level, setting: Setting, oracle: Oracle = RIGHT) -> float:
    x, out = X.to(F64).reshape(1, -1), OUT.to(F64).reshape(1, -1)
    zero, plain = torch.zeros_like(x), replace(setting, clip_sample=False, thresholding=False)
    gaps = []
    for j, (a, b) in enumerate(((zero, x), (out, zero)), start=1):
        right = oracle.step_mean(a, b, level, plain)
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


def _clip(subject: Subject, built: Built, table: Tensor, small: Tensor) -> dict[str, Any]:
    """Whether x0-hat saturates, and at what: read at several t, which must agree.

    `small` (3, 8) is what a small model output adds to a step. Where x_{t-1} saturates instead,
    that is the range, and stage mean says that it is misplaced.
    """
    setting = subject.setting
    nothing, far = torch.zeros(SHAPE), torch.full(SHAPE, FAR)
    sign = 1.0 if setting.prediction_type == "sample" else -1.0
    answers, kink, reach, again = [], [], [], []
    towards = sign * OUT > 0  # the side that is looked at: the other may be clipped elsewhere
    gains = (small[:, towards] / OUT[towards].to(F64)).mean(1)
    for t, gain in zip(_quarters(setting), gains, strict=True):
        answer = built.step(sign * far, t, nothing, 3)
        moved = (answer.prev - built.step(nothing, t, nothing, 3).prev).flatten()[0]
        at = torch.tensor([t])
        level = RIGHT.level(table, at, at - 1, setting)
        answers.append(answer)
        # where the straight part meets the flat one, whatever the mean
        raw = RIGHT.x_0(setting.prediction_type, 1 + 0 * gain, 0 * gain, level)
        kink.append(float(moved / gain * raw))
        reach.append(_reach(sign, moved, level, replace(setting, clip_sample=True)))
        rederived = replace(setting, clip_sample=True, use_clipped_model_output=True)
        again.append(_reach(sign, moved, level, rederived))
    shown = [float(a.x_0.flatten()[0]) for a in answers if a.x_0 is not None]
    flat = [float(a.prev.flatten()[0]) for a in answers]
    for saturated in (shown, reach, kink, flat) if setting.eta is None else (reach, again, shown):
        sizes = sorted(abs(r) for r in saturated)
        if sizes and 0 < sizes[-1] < 100 and sizes[-1] - sizes[0] < 0.02 * sizes[-1]:
            digits = 3 if sizes[-1] - sizes[0] < 1e-3 * sizes[-1] else 2  # a wrong step blurs it
            return {
                "clip_sample": True,
                "clip_sample_range": float(f"{sizes[1]:.{digits}g}"),
                "use_clipped_model_output": saturated is again,
            }
    return {"clip_sample": False}


def _quarters(setting: Setting) -> list[int]:
    """Three steps in mid-chain."""
    T = setting.num_train_timesteps
    return [T // 4, T // 2, 3 * T // 4]


def _reach(sign: float, moved: Tensor, level: Level, setting: Setting) -> float:
    """The range r that explains how far a step moved: past the clip it is affine in r."""
    far, zero = torch.full((1,), sign * FAR, dtype=F64), torch.zeros(1, dtype=F64)
    at_1, at_2 = (
        RIGHT.step_mean(far, zero, level, replace(setting, clip_sample_range=r)) for r in (1.0, 2.0)
    )
    return float(1 + (moved - at_1) / (at_2 - at_1))


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
