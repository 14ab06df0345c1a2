"""Stage variance: the noise of a step, its size at every t, its law, and where it comes from.

`step(0, 0)` leaves s_t z. With every source of randomness set to the same seed z is the same at
every t, so s_t is read exactly; a large draw in mid-chain says whether z is N(0, 1).
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from compare.affine import (
    chain,
    level_of,
    loud_setting,
    noise_row,
    replayed_noise,
    strided,
    where_t,
)
from compare.ledger import Expected, Ledger
from compare.oracle import F64, Level, Oracle, Setting
from compare.probe import Probe, alpha_bars, probe, some_of_chain, some_steps, usable
from compare.report import Check
from compare.subject import Broken, Subject
from compare.tolerances import propagated

KINDS = ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log")
CATCHES = "mistakes 49-60, 71"
SIX = 6.2  # |N(0, 1)| exceeds it with probability 6e-10
LARGE = (64, 4, 32, 32)
LARGER = (64, 4, 64, 64)  # std known to 7e-4: a 1 % error is 14 standard errors


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
            _law(ledger, subject, oracle, loud)
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


@dataclass(frozen=True)
class Draws:
    """Noise of single calls on zeros: two calls on one generator, and another seed."""

    first: Tensor
    second: Tensor
    other: Tensor
    again: Tensor
    other_global: Tensor
    dtype: torch.dtype


def _draws(subject: Subject, setting: Setting, shape: tuple[int, ...]) -> Draws:
    built = subject.build(setting)
    assert built is not None

    def ask() -> Draws:
        built.visit(None)
        t = setting.num_train_timesteps // 2
        nothing = torch.zeros(shape)

        base = 1000 * subject.seed

        def call(seed: int, generator: torch.Generator | None = None) -> Tensor:
            return built.step(nothing, t, nothing, base + seed, generator).prev.float()

        stream = torch.Generator().manual_seed(base + 5)
        first = call(5, stream)
        if "generator" in subject.step_named:
            second = call(6, stream)
        else:
            built.subject.global_state, kept = False, built.subject.global_state
            second = call(5)  # nothing is reseeded: the next numbers of the global stream
            built.subject.global_state = kept
        same = torch.Generator().manual_seed(base + 5)
        return Draws(first, second, call(9), call(5), call(77, same), torch.float32)

    return subject.remember(("draws", built.key, shape), ask)


def _law(ledger: Ledger, subject: Subject, oracle: Oracle, setting: Setting) -> None:
    known = replayed_noise(subject, Oracle()) is not None
    shape = LARGE if known else LARGER
    draws = _draws(subject, setting, shape)
    if not bool(draws.first.abs().max() > 0):
        ledger.judge(
            "law",
            _is_silent(oracle, subject, setting),
            "no noise, as looked for",
            "a step in mid-chain adds no noise",
            catches="mistake 55",
        )
        return
    sigma = float(oracle.sigma(_middle(subject, oracle, setting), setting))
    size = float(draws.first.square().mean().sqrt()) if known else sigma
    key = ("statistics", subject.build(setting).key, shape, size)  # type: ignore[union-attr]
    three = (draws.first, draws.second, draws.other)
    got = dict(subject.remember(key, lambda: statistics(*(d / size for d in three))))
    if known or size == 0:
        got["std"] = float("nan")
    _statistics(ledger, subject, oracle, got, shape)
    _sources(ledger, subject, setting, draws)
    # A wrong draw need not know what to do with a list: only the right one is held to it.
    if "generator" in subject.step_named and oracle.draw is Oracle().draw:
        _list_of_generators(ledger, subject, setting)


def _middle(subject: Subject, oracle: Oracle, setting: Setting) -> Level:
    """The level of mid-chain, where the law is looked at, with the next of the candidate's list."""
    t = setting.num_train_timesteps // 2
    following = dict(some_of_chain(subject, setting, [t])).get(t, t - 1)
    at, n = torch.tensor([[t]]), setting.num_train_timesteps
    prev = oracle.previous(torch.tensor([[following]]), at, n, setting)
    return oracle.level(alpha_bars(subject, oracle, setting), at, prev, setting)


def _is_silent(oracle: Oracle, subject: Subject, setting: Setting) -> bool:
    level = _middle(subject, oracle, setting)
    z, zero = torch.ones(1, 1), torch.zeros(1, 1)
    return not bool((oracle.sigma(level, setting) * oracle.noise_of(z, zero)).any())


def statistics(z: Tensor, second: Tensor, other: Tensor) -> dict[str, float]:
    """Moments, distance to the normal law, and correlations that should be 0."""
    flat = z.flatten()
    ordered = flat.sort().values.double()
    normal = 0.5 * (1 + torch.erf(ordered / 2**0.5))
    grid = torch.arange(1, len(ordered) + 1, dtype=F64) / len(ordered)
    return {
        "mean": float(flat.mean()),
        "std": float(flat.std()),
        "distance to N(0, 1)": float((normal - grid).abs().max()),
        "correlation of neighbours in a row": _correlation(z[..., 1:], z[..., :-1]),
        "correlation of neighbours in a column": _correlation(z[..., 1:, :], z[..., :-1, :]),
        "correlation of channels": _correlation(z[:, 1:], z[:, :-1]),
        "correlation of images": _correlation(z[1:], z[:-1]),
        "correlation of calls": _correlation(z, second),
        "correlation of seeds": _correlation(z, other),
    }


def _correlation(a: Tensor, b: Tensor) -> float:
    a, b = a.flatten().double(), b.flatten().double()
    return float((a * b).mean() / (a.square().mean() * b.square().mean()).sqrt().clamp(min=1e-30))


def _statistics(
    ledger: Ledger, subject: Subject, oracle: Oracle, got: dict[str, float], shape: tuple
) -> None:
    """Each statistic against that of the oracle's own draw, so that a wrong law can be named."""
    n = torch.Size(shape).numel()
    right = oracle.draw is Oracle().draw
    reference = dict.fromkeys(got, 0.0) | {"std": 1.0}
    factor = 1.0
    if not right:
        whole = got["std"] != got["std"]
        key = ("reference", oracle.draw, shape, whole)
        reference, n = subject.remember(key, lambda: _reference(oracle, shape, whole))
        factor = 2.0
    spread = {"std": (0.5 / n) ** 0.5, "distance to N(0, 1)": 3.3 / SIX / n**0.5}
    for name, value in got.items():
        if value != value:
            continue
        allowed = factor * SIX * spread.get(name, n**-0.5)
        off = abs(value - reference[name])
        ledger.add(
            f"law/{name.replace(' ', '-')}",
            "close" if off <= allowed else "differs",
            f"{name} of z is {value:.4f}, should be {reference[name]:.4f}",
            measured=off,
            allowed=allowed,
            input=f"step(0, t, 0) at mid-chain, {n} pixels",
            reason=f"{SIX} standard errors of {n} draws: false alarm 6e-10 each",
            catches="mistakes 17, 60-63",
        )


def _reference(oracle: Oracle, shape: tuple, normalised: bool) -> tuple[dict[str, float], int]:
    """The statistics of an oracle's own draw, and how many of its numbers are drawn singly."""
    stream, other = torch.Generator().manual_seed(21), torch.Generator().manual_seed(22)
    three = [oracle.draw(shape, g, torch.float32) for g in (stream, stream, other)]
    size = float(three[0].square().mean().sqrt()) if normalised else 1.0
    return statistics(*(d / size for d in three)), len(three[0].unique())


def _sources(ledger: Ledger, subject: Subject, setting: Setting, draws: Draws) -> None:
    same = bool((draws.first == draws.again).all())
    ledger.judge(
        "replay",
        same,
        "the same seed gives the same noise",
        "the same seed gives other noise: it cannot be replayed",
    )
    if "generator" not in subject.step_named:
        ledger.add("generator", "note", "step names no generator: noise from the global state")
        return
    alone = bool((draws.first == draws.other_global).all())
    ledger.judge(
        "generator",
        alone,
        "noise comes from the given generator alone",
        "the noise depends on the global random state, not on the given generator alone",
    )


def _list_of_generators(ledger: Ledger, subject: Subject, setting: Setting) -> None:
    """Where a list is accepted, image i is drawn from generator i whatever the batch."""
    built = subject.build(setting)
    assert built is not None

    def ask() -> tuple[Tensor, Tensor] | None:
        built.visit(None)
        t, nothing = setting.num_train_timesteps // 2, torch.zeros(3, 1, 2, 2)
        streams = [torch.Generator().manual_seed(s) for s in (31, 32, 33)]
        try:
            many = built.step(nothing, t, nothing, 5, streams).prev
        except Broken:
            return None
        alone = [
            built.step(nothing[:1], t, nothing[:1], 5, [torch.Generator().manual_seed(s)]).prev
            for s in (31, 32, 33)
        ]
        return many, torch.cat(alone)

    pair = subject.remember(("generators", built.key), ask)
    if pair is None:
        return
    ledger.judge(
        "generators",
        bool((pair[0] == pair[1]).all()),
        "a list of generators gives each image its own noise",
        "with a list of generators an image depends on its batch-mates",
        catches="mistake 106",
    )
