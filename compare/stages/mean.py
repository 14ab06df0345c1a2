"""Stage mean: the linear part of a step in (x0-hat, x_t), given the candidate's own x0-hat."""

from dataclasses import replace

import torch
from torch import Tensor

from compare.candidate.subject import Subject
from compare.measure.ledger import Expected, Ledger, deviation
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
    chain,
    expected_mean,
    level_of,
    mean_bound,
    replayed,
    rounding,
    rows_of_mean,
    strided,
    where_t,
)
from compare.oracle import F64, Level, Oracle, Setting
from compare.stages.prediction import FAR_OUT, FAR_X, kinds, replace_shape
from compare.verdict.report import Check

CATCHES = "mistakes 37-48, 82-84"


def checks(subject: Subject, oracle: Oracle) -> list[Check]:
    """Full chains of every prediction type and schedule, short chains, and steps that clip."""
    ledger = Ledger("mean", subject.strict)
    if not subject.has("step"):
        if subject.adapter is None:
            ledger.add("step", "error", "has no method step(model_output, t, x_t)")
        return ledger.checks
    for name, setting, steps in _full(subject):
        with ledger.guard(name):
            rows = probe(subject, setting, None, steps)
            _linear(ledger, name, subject, oracle, setting, rows)
    for spacing, n in strided(subject):
        with ledger.guard(f"{spacing}-{n}"):
            found = chain(subject, oracle, spacing, n)
            _linear(ledger, found.name, subject, oracle, found.setting, found.rows, found.prev)
    for name, setting in _limited(subject).items():
        with ledger.guard(name):
            _whole(ledger, name, subject, oracle, setting)
    return ledger.checks


def _full(subject: Subject) -> list[tuple[str, Setting, list[int] | None]]:
    """(name, setting, steps) of the chains of all T steps."""
    T = subject.setting.num_train_timesteps
    found = kinds(subject)
    base = subject.setting
    others: dict[str, dict] = {
        "cosine": {"beta_schedule": "squaredcos_cap_v2"},
        "sigmoid": {"beta_schedule": "sigmoid"},
        "last-alpha": {"set_alpha_to_one": False},
    }
    if base.eta is not None:
        for kind, _, _ in kinds(subject):
            for eta in (0.5, 1.0):
                others[f"eta={eta}-{kind}"] = {"eta": eta, "prediction_type": kind}
        others["last-alpha-eta=1"] = {"set_alpha_to_one": False, "eta": 1.0}
    for name, changes in others.items():
        setting = subject.offers(**changes)
        if setting is not None and setting != base and usable(subject, setting):
            found.append((name, setting, some_steps(T, 16)))
    return found


def _linear(
    ledger: Ledger,
    name: str,
    subject: Subject,
    oracle: Oracle,
    setting: Setting,
    rows: Probe,
    prev: Tensor | None = None,
) -> None:
    def expected(table: Tensor, own: bool) -> Expected:
        level = level_of(oracle, table, rows, setting)
        if own and prev is not None:
            level = oracle.level(table, rows.t, prev, setting)
        return expected_mean(oracle, rows, level, setting)

    k = len(rows.t)
    where = where_t(rows)
    table, pure = alpha_bars(subject, oracle, setting), oracle.alpha_bar(setting)
    judged = expected(table, True)
    if setting.eta and deviation(rows_of_mean(rows), *judged())[0] == "differs":
        oracle = _of_its_own_size(oracle, rows.zero, rows.t.flatten().tolist(), setting.eta)
        judged = expected(table, True)
    ledger.values(
        name,
        "the linear part of the step",
        rows_of_mean(rows),
        judged,
        expected(pure, False),
        where=lambda at: f"{where(at)}, for {'x_t' if at[0] < k else 'the model output'} alone",
        input=f"{len(rows.t)} steps of a chain of {rows.n}, prediction {setting.prediction_type}",
        catches=CATCHES,
    )


def _of_its_own_size(oracle: Oracle, noise: Tensor, ts: list[int], eta: float) -> Oracle:
    """The oracle with the size of the candidate's own noise (steps, 8) in the place of sigma.

    Whether DDIM's noise has the right size is for stage variance to say.
    """
    loudest = int(noise.abs().amax(dim=1).argmax())
    z = replayed(noise[loudest : loudest + 1], Oracle())
    if z is None and bool(noise.any()):
        return oracle
    z = torch.ones(1, 1, dtype=F64) if z is None else z
    sizes = (noise * z).sum(1) / z.square().sum() / eta
    size_at = dict(zip(ts, sizes.tolist(), strict=True))

    def std(kind: str, level: Level, out: Tensor | None = None) -> Tensor:
        known = [size_at[int(t)] for t in level.t.flatten()]
        return torch.tensor(known, dtype=F64).reshape(level.t.shape)

    return replace(oracle, std=std)


def _limited(subject: Subject) -> dict[str, Setting]:
    """Settings in which x0-hat is clipped on the way to x_{t-1}."""
    wanted: dict[str, dict] = {"clipped": {"clip_sample": True}}
    wanted["clipped-large"] = {"clip_sample": True, "variance_type": "fixed_large"}
    for kind in ("sample", "v_prediction"):
        wanted[f"clipped-{kind}"] = {"clip_sample": True, "prediction_type": kind}
    if subject.setting.eta is not None:
        for clip, eta in ((True, 0.0), (True, 1.0), (False, 0.5)):
            wanted[f"rederived-{clip}-{eta}"] = {
                "use_clipped_model_output": True,
                "clip_sample": clip,
                "eta": eta,
            }
    found = {name: subject.offers(**changes) for name, changes in wanted.items()}
    return {name: setting for name, setting in found.items() if setting is not None}


def _whole(ledger: Ledger, name: str, subject: Subject, oracle: Oracle, setting: Setting) -> None:
    """Whole steps on inputs far outside the range, less the noise of the same random state."""
    T = setting.num_train_timesteps
    wanted = sorted({T - 1, T // 2, T // 20, 1, 0}, reverse=True)
    steps = some_of_chain(subject, setting, wanted)
    ts = [t for t, _ in steps]
    nothing = torch.zeros_like(FAR_X)
    seen = [single(subject, setting, None, t, FAR_X, FAR_OUT) for t in ts]
    still = [single(subject, setting, None, t, nothing, nothing) for t in ts]

    def expected(oracle: Oracle) -> tuple[Tensor, Tensor]:
        table = alpha_bars(subject, oracle, setting)
        x, out, zero = (v.to(F64).reshape(1, 2, 4) for v in (FAR_X, FAR_OUT, nothing))
        right, allowed = [], []
        for (t, following), there, here in zip(steps, seen, still, strict=True):
            at, before = torch.tensor([[t]]), torch.tensor([[following]])
            prev = oracle.previous(before, at, T, setting)
            level = replace_shape(oracle.level(table, at, prev, setting))
            own = there.x_0 if there.x_0 is None else there.x_0.reshape(1, 2, 4)
            noise = here.prev.reshape(1, 2, 4)

            mean = oracle.step_mean(out, x, level, setting, own)
            extra = oracle.sigma(level, setting) * oracle.noise_of(zero, out)
            raw = oracle.x_0(setting.prediction_type, out, x, level) if own is None else own
            raw = raw.abs() + x.abs() + out.abs()
            right.append(oracle.finish(mean + noise + extra, setting).reshape(1, 8))
            bound = mean_bound(oracle, out, x, own, level, setting) + rounding(raw + noise.abs())
            allowed.append(bound.reshape(1, 8))
        return torch.cat(right), torch.cat(allowed)

    measured = torch.cat([single.prev for single in seen])
    if setting.eta and deviation(measured, *expected(oracle))[0] == "differs":
        rows = torch.cat([single.prev for single in still])
        oracle = _of_its_own_size(oracle, rows, ts, setting.eta)
    ledger.values(
        name,
        "the step with x0-hat limited",
        measured,
        lambda: expected(oracle),
        where=lambda at: f"t={ts[at[0]]}",
        input="inputs far outside the range, the noise of the same random state taken off",
        catches="mistakes 64, 67",
    )
