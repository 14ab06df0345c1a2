"""Stage variance: the noise of a step, its size at every t, its law, and where it comes from.

`step(0, 0)` leaves s_t z. With every source of randomness set to the same seed z is the same at
every t, so s_t is read exactly; a large draw in mid-chain says whether z is N(0, 1).
"""

from functools import partial

import torch
from torch import Tensor

from compare.candidate.subject import Subject
from compare.measure.ledger import Expected, Ledger
from compare.measure.noise_law import judge_law
from compare.measure.probe import Probe, alpha_bars, probe, some_steps, usable
from compare.measure.step import (
    chain,
    level_of,
    loud_setting,
    noise_row,
    strided,
    where_t,
)
from compare.measure.tolerances import propagated
from compare.oracle import F64, Level, Oracle, Setting
from compare.verdict.report import Check

KINDS = ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log")
CATCHES = "mistakes 49-60, 71"


def checks(subject: Subject, oracle: Oracle) -> list[Check]:
    """Sizes on full and short chains, then the law of z."""
    ledger = Ledger("variance", subject.strict)
    if not subject.has("step"):
        return ledger.checks
    if subject.strict is None:
        _sizes(ledger, subject, oracle)
    loud = loud_setting(subject)
    if loud is not None:
        with ledger.guard("law"):
            judge_law(ledger, subject, oracle, loud)
    if subject.strict is not None:  # a mistake is tried on: most fail by the law, which is quick
        _sizes(ledger, subject, oracle)
    return ledger.checks


def _sizes(ledger: Ledger, subject: Subject, oracle: Oracle) -> None:
    for name, setting, steps in _full(subject):
        with ledger.guard(name):
            rows = probe(subject, setting, None, steps, noise_only=setting != subject.setting)
            _size(ledger, name, subject, oracle, setting, rows)
    for spacing, n in strided(subject):
        for kind in _kinds(subject):
            if kind.endswith("_log") and n != 10 and subject.level == "quick":
                continue
            with ledger.guard(f"{kind}/{spacing}-{n}"):
                _short(ledger, subject, oracle, kind, spacing, n)
    learned = subject.offers(variance_type="learned_range")
    if learned is not None and "variance_type" in subject.named:
        with ledger.guard("learned_range"):
            _learned(ledger, subject, oracle, learned)


def _kinds(subject: Subject) -> list[str]:
    """The variance types that are offered, the base one first; `eta` takes their place in DDIM."""
    base = subject.setting
    if base.eta is not None:
        etas = sorted({base.eta, 0.0, 0.5, 1.0}, key=lambda eta: eta != base.eta)
        return [f"eta={eta}" for eta in etas if subject.offers(eta=eta) is not None]
    offered = [k for k in KINDS if subject.offers(variance_type=k) is not None]
    return sorted(offered, key=lambda kind: kind != base.variance_type)


def _setting(subject: Subject, kind: str, **more: object) -> Setting | None:
    if kind.startswith("eta="):
        return subject.offers(eta=float(kind[4:]), **more)
    return subject.offers(variance_type=kind, **more)


def _full(subject: Subject) -> list[tuple[str, Setting, list[int] | None]]:
    T = subject.setting.num_train_timesteps
    found: list[tuple[str, Setting, list[int] | None]] = []
    for kind in _kinds(subject):
        setting = _setting(subject, kind)
        if setting is not None:
            some = kind.endswith("_log") and subject.level == "quick"
            found.append((kind, setting, some_steps(T) if some else None))
    wanted: dict[str, dict] = {
        "cosine": {"beta_schedule": "squaredcos_cap_v2"},
        "v_prediction": {"prediction_type": "v_prediction"},
        "clipped": {"clip_sample": True},
    }
    for name, changes in wanted.items():
        setting = subject.offers(**changes)
        if setting is not None and setting != subject.setting and usable(subject, setting):
            found.append((name, setting, some_steps(T, 16)))
    return found


def _expected(
    subject: Subject,
    oracle: Oracle,
    rows: Probe,
    setting: Setting,
    table: Tensor,
    prev: Tensor | None = None,
) -> Expected:
    level = level_of(oracle, table, rows, setting)
    if prev is not None:
        level = oracle.level(table, rows.t, prev, setting)
    z, off = noise_row(subject, oracle)
    zero = torch.zeros_like(z)

    def formula(at: Level) -> Tensor:
        return oracle.finish(oracle.sigma(at, setting) * oracle.noise_of(z, zero), setting)

    def expected() -> tuple[Tensor, Tensor]:
        right = formula(level)
        # Under the square root, a variance that should be 0 may be clamped to 1e-20.
        slack = 1e-9 * z.abs() + off * right.abs()
        return right, propagated(formula, level, right.abs()) + slack

    return expected


def _size(
    ledger: Ledger,
    name: str,
    subject: Subject,
    oracle: Oracle,
    setting: Setting,
    rows: Probe,
    prev: Tensor | None = None,
) -> None:
    own, pure = alpha_bars(subject, oracle, setting), oracle.alpha_bar(setting)
    ledger.values(
        name,
        "the noise of a step, s_t z,",
        rows.zero,
        _expected(subject, oracle, rows, setting, own, prev),
        _expected(subject, oracle, rows, setting, pure),
        where=where_t(rows),
        input=f"step(0, t, 0) at {len(rows.t)} steps of a chain of {rows.n}, one random state",
        catches=CATCHES,
    )


def _short(
    ledger: Ledger, subject: Subject, oracle: Oracle, kind: str, spacing: str, n: int
) -> None:
    setting = _setting(subject, kind, timestep_spacing=spacing)
    if setting is None:
        return
    found = chain(subject, oracle, spacing, n)
    rows = found.rows if setting == found.setting else probe(subject, setting, n, None, True)
    _size(ledger, f"{kind}/{found.name}", subject, oracle, setting, rows, found.prev)


def _learned(ledger: Ledger, subject: Subject, oracle: Oracle, setting: Setting) -> None:
    """The model returns mean and v side by side; v = -1, 0, 1 spans beta-tilde to beta."""
    T = setting.num_train_timesteps
    built = subject.build(setting)
    assert built is not None
    ts = [T - 1, T // 2, 2]
    built.visit(None)
    table = alpha_bars(subject, oracle, setting)
    rows, level, v = [], [], (-1.0, -0.5, 0.0, 1.0)
    for t in ts:
        for value in v:
            both = torch.cat([torch.zeros(2, 1, 2, 2), torch.full((2, 1, 2, 2), value)], dim=1)
            answer = subject.remember(
                ("learned", built.key, t, value),
                partial(built.step, both, t, torch.zeros(2, 1, 2, 2), 1234),
            )
            rows.append(answer.prev.reshape(-1))
            level.append(t)
    at = torch.tensor(level).reshape(-1, 1)
    where = oracle.level(table, at, at - 1, setting)
    z, off = noise_row(subject, oracle)
    wanted = torch.tensor(v * len(ts), dtype=F64).reshape(-1, 1)

    def formula(at: Level) -> Tensor:
        return oracle.std("learned_range", at, wanted) * z

    ledger.values(
        "learned_range",
        "the noise of a step, s_t z,",
        torch.stack(rows),
        lambda: (
            formula(where),
            propagated(formula, where, 8 * formula(where).abs()) + off * formula(where).abs(),
        ),
        where=lambda index: f"t={level[index[0]]}",
        input="model output with v = -1, -0.5, 0, 1 in its second half",
        catches="mistake 52",
    )
