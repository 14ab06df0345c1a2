"""Stage prediction: from what the model returns to x0-hat, clipping and thresholding included."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compare.candidate.subject import Subject
from compare.measure.ledger import Expected, Ledger
from compare.measure.probe import (
    Probe,
    alpha_bars,
    probe,
    single,
    some_of_chain,
    some_steps,
    usable,
)
from compare.measure.step import (
    full_chain_fits,
    inputs,
    level_of,
    mean_bound,
    own_x_0,
    rounding,
    rows_of_mean,
    twice,
    where_t,
)
from compare.measure.tolerances import propagated
from compare.oracle import F64, Level, Oracle, Setting
from compare.verdict.report import Check

KINDS = ("epsilon", "sample", "v_prediction")
CATCHES = "mistakes 24-28, 42"
FAR_X = torch.tensor([2.0, -3.0, 0.3, 5.0, -0.2, 0.1, -0.4, 0.25])
FAR_OUT = torch.tensor([-3.0, 2.0, 0.4, -6.0, 0.1, -0.3, 0.2, -0.05])


def kinds(subject: Subject) -> list[tuple[str, Setting, list[int] | None]]:
    """(name, setting, steps) of each prediction type: the base one at every t."""
    base, T = subject.setting, subject.setting.num_train_timesteps
    found = []
    for kind in KINDS:
        setting = subject.offers(prediction_type=kind)
        if setting is not None:
            every = kind == base.prediction_type or subject.level == "full"
            found.append((kind, setting, None if every else some_steps(T)))
    return found


def checks(subject: Subject, oracle: Oracle) -> list[Check]:
    """x0-hat of every prediction type, then each way of limiting it."""
    ledger = Ledger("prediction", subject.strict)
    if not subject.has("step"):
        return ledger.checks
    with ledger.guard("step", quiet=True):  # a step that gives no answer is left to stage mean
        probe(subject, subject.setting)
        for name, setting, steps in kinds(subject):
            with ledger.guard(name):
                _unlimited(ledger, name, subject, oracle, setting, steps)
        for name, setting in limits(subject).items():
            with ledger.guard(name):
                _limited(ledger, name, subject, oracle, setting)
    return ledger.checks


@dataclass(frozen=True)
class Seen:
    """A candidate's x0-hat, the difference from that of zeros, and how precisely it is known."""

    x_0: Tensor
    error: Tensor


def seen_x_0(subject: Subject, oracle: Oracle, rows: Probe, steps: list[int] | None) -> Seen | None:
    """x0-hat as returned, or taken out of the step by the mean that `sample` fixes, or None."""
    own = own_x_0(rows)
    if own is not None:
        return Seen(own[0] - own[1], rounding(*own))
    setting = subject.offers(prediction_type="sample")
    if setting is None or "prediction_type" not in subject.named:
        return None
    plain = probe(subject, setting, None, steps)
    assert plain.at_out is not None
    assert plain.at_x is not None
    by_out = (plain.at_out - plain.zero) / plain.out
    by_x = (plain.at_x - plain.zero) / plain.x
    c_0, c_t = by_out.mean(1, keepdim=True), by_x.mean(1, keepdim=True)
    slack_0 = rounding(plain.zero, plain.at_out) / plain.out.abs()
    slack_t = rounding(plain.zero, plain.at_x) / plain.x.abs()
    _, x = inputs(rows)
    measured = rows_of_mean(rows)
    double = [v.repeat(2, 1) for v in (c_0, c_t, slack_0.amax(1, True), slack_t.amax(1, True))]
    x_0 = (measured - double[1] * x) / double[0]
    noise = rounding(measured, torch.cat([rows.zero, rows.zero]), double[1] * x)
    error = (noise + double[3] * x.abs() + double[2] * x_0.abs()) / double[0].abs()
    return Seen(x_0, error)


def _unlimited(
    ledger: Ledger,
    name: str,
    subject: Subject,
    oracle: Oracle,
    setting: Setting,
    steps: list[int] | None,
) -> None:
    rows = probe(subject, setting, None, steps)
    found = seen_x_0(subject, oracle, rows, steps)
    if found is None:
        text = "x0-hat is not shown (pred_original_sample), so it is judged in the mean"
        ledger.add(name, "note", text)
        return
    out, x = inputs(rows)

    def limited(out: Tensor, x: Tensor, at: Level) -> Tensor:
        """Inputs are small, so that a right limit does nothing."""
        raw = oracle.x_0(setting.prediction_type, out, x, at)
        return oracle.limit(raw.reshape(-1, 2, 4), setting).reshape(raw.shape)

    def expected(table: Tensor) -> Expected:
        level = twice(level_of(oracle, table, rows, setting))

        def formula(at: Level) -> Tensor:
            return limited(out, x, at) - limited(0 * out, 0 * x, at)

        terms = formula(level).abs() + x.abs() + out.abs()
        return lambda: (formula(level), propagated(formula, level, terms) + found.error)

    ledger.values(
        name,
        "x0-hat",
        found.x_0,
        expected(alpha_bars(subject, oracle, setting)),
        expected(oracle.alpha_bar(setting)),
        where=where_t(rows),
        input=f"prediction_type={name!r}; x alone, then the model output alone",
        catches=CATCHES,
    )


def limits(subject: Subject) -> dict[str, Setting]:
    """Each way of limiting x0-hat that is offered, and a step without one."""
    wanted: dict[str, dict] = {}
    for kind in KINDS:
        wanted[f"clip-{kind}"] = {"clip_sample": True, "prediction_type": kind}
        wanted[f"no-clip-{kind}"] = {"clip_sample": False, "prediction_type": kind}
    wanted["clip-range-2"] = {"clip_sample": True, "clip_sample_range": 2.0}
    wanted["clip-cosine"] = {"clip_sample": True, "beta_schedule": "squaredcos_cap_v2"}
    wanted["threshold"] = {"thresholding": True, "sample_max_value": 1.5}
    wanted["threshold-half"] = {
        "thresholding": True,
        "dynamic_thresholding_ratio": 0.5,
        "sample_max_value": 100.0,
    }
    found = {name: subject.offers(**changes) for name, changes in wanted.items()}
    return {n: s for n, s in found.items() if s is not None and usable(subject, s)}


def _limited(ledger: Ledger, name: str, subject: Subject, oracle: Oracle, setting: Setting) -> None:
    T = setting.num_train_timesteps
    measured: list[Tensor] = []
    rights: list[Tensor] = []
    alloweds: list[Tensor] = []
    pures: list[Tensor] = []
    pure_alloweds: list[Tensor] = []
    wanted = sorted({T - 1, 3 * T // 4, T // 2, T // 20, 1, 0}, reverse=True)
    steps = some_of_chain(subject, setting, wanted)
    ts = [t for t, _ in steps]
    own, pure = alpha_bars(subject, oracle, setting), oracle.alpha_bar(setting)
    nothing = torch.zeros_like(FAR_X)
    hidden = single(subject, setting, None, ts[0], FAR_X, FAR_OUT).x_0 is None
    if hidden and not full_chain_fits(subject, Oracle()):
        ledger.add(name, "note", "x0-hat is not shown and the mean is off: left to stage mean")
        return
    for t, following in steps:
        seen = single(subject, setting, None, t, FAR_X, FAR_OUT)
        still = single(subject, setting, None, t, nothing, nothing).prev
        x, out = FAR_X.to(F64).reshape(1, -1), FAR_OUT.to(F64).reshape(1, -1)
        for table, values, bounds in ((own, rights, alloweds), (pure, pures, pure_alloweds)):
            level = _level(oracle, table, t, following, setting)
            value, bound = _expected(
                oracle, level, setting, x, out, still if seen.x_0 is None else None
            )
            values.append(value)
            bounds.append(bound)
        measured.append(seen.prev if seen.x_0 is None else seen.x_0)
    ledger.values(
        name,
        "x0-hat" if seen.x_0 is not None else "the step with x0-hat limited",
        torch.cat(measured),
        lambda: (torch.cat(rights), torch.cat(alloweds)),
        lambda: (torch.cat(pures), torch.cat(pure_alloweds)),
        where=lambda at: f"t={ts[at[0]]}",
        input=f"{_changed(subject.setting, setting)}; inputs inside and far outside the range",
        catches="mistakes 64, 65, 67, 68",
    )


def _changed(base: Setting, setting: Setting) -> str:
    changed = {k: v for k, v in vars(setting).items() if v != getattr(base, k)}
    return ", ".join(f"{k}={v!r}" for k, v in changed.items()) or "as it is by itself"


def _level(oracle: Oracle, table: Tensor, t: int, following: int, setting: Setting) -> Level:
    at, before = torch.tensor([[t]]), torch.tensor([[following]])
    prev = oracle.previous(before, at, setting.num_train_timesteps, setting)
    return oracle.level(table, at, prev, setting)


def _expected(
    oracle: Oracle,
    level: Level,
    setting: Setting,
    x: Tensor,
    out: Tensor,
    still: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """x0-hat limited, or the step that it leads to with the noise `still`, and what is allowed."""

    def x_0(at: Level) -> Tensor:
        raw = oracle.x_0(setting.prediction_type, out, x, at).reshape(1, 2, 4)
        return oracle.limit(raw, setting).reshape(1, 8)

    nothing, kind = torch.zeros_like(x), setting.prediction_type

    def from_x(at: Level) -> Tensor:
        return oracle.x_0(kind, nothing, x, at)

    def from_out(at: Level) -> Tensor:
        return oracle.x_0(kind, out, nothing, at)

    terms = x.abs() + out.abs()
    bound = sum(
        (propagated(part, level, part(level).abs()) for part in (from_x, from_out)),
        rounding(terms),
    )
    if still is None:
        return x_0(level), bound
    images = [v.reshape(1, 2, 4) for v in (out, x, still)]
    at = replace_shape(level)
    noise = oracle.sigma(at, setting) * oracle.noise_of(torch.zeros_like(images[0]), images[0])
    mean = oracle.step_mean(images[0], images[1], at, setting) + images[2] + noise
    step = oracle.finish(mean, setting).reshape(1, 8)
    return step, bound + mean_bound(oracle, out, x, None, level, setting) + rounding(still)


def replace_shape(level: Level) -> Level:
    """The level with one more axis, for values of shape (k, b, pixels)."""
    names = ("t", "prev", "alpha_bar", "alpha_bar_prev")
    return replace(level, **{name: getattr(level, name).unsqueeze(-1) for name in names})
