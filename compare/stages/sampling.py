"""Stage sampling: whole chains with the exact denoiser, and the role `sample`.

By recursion where the step is affine, by walking the chain with the candidate's own step where it
is not; a loop of the candidate's own call by call.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from compare.candidate.spy import CENTRE, SPREAD, exact_denoiser
from compare.candidate.subject import Subject
from compare.measure import chains
from compare.measure import noise as evidence
from compare.measure.ledger import Ledger
from compare.measure.probe import alpha_bars, probe
from compare.measure.step import (
    COUNTS_OF_OWN,
    OWN,
    inputs,
    level_of,
    mean_bound,
    rounding,
    rows_of_mean,
    twice,
)
from compare.measure.tolerances import TOLERANCES, propagated
from compare.oracle import F64, Oracle, Setting
from compare.stages.loop import judge_loop
from compare.verdict.report import Check

LENGTHS = (4, 10, 50, None)
KINDS = ("epsilon", "sample", "v_prediction")
CATCHES = "what is kept between calls, so that no single step shows it; mistakes 37-68"


def checks(subject: Subject, oracle: Oracle) -> list[Check]:
    """Laws along chains by recursion, then by walking them; a loop of the candidate's own."""
    ledger = Ledger("sampling", subject.strict)
    # Whether they pass is said once: a mistake that is tried on changes nothing in what is judged.
    passing = subject.remember(("steps pass",), lambda: subject.steps_pass)
    if subject.has("step") and not passing:
        ledger.add("chains", "note", "not judged: chains follow from the steps, and an earlier "
                   "stage differs")  # fmt: skip
    if subject.has("step") and passing:
        _inputs(ledger, subject)
        for n in _lengths(subject):
            with ledger.guard(f"marginals-{n or 'all'}"):
                _recursion(ledger, subject, oracle, n)
        for name, setting, lengths in _walked(subject):
            with ledger.guard(name):
                _walk(ledger, name, subject, oracle, setting, lengths)
    if subject.adapter is not None and subject.adapter.sample is not None:
        with ledger.guard("loop"):
            judge_loop(ledger, subject, oracle)
    return ledger.checks


def _lengths(subject: Subject) -> list[int | None]:
    """The chains shorter than T that the candidate can make, then the full one."""
    T, short = subject.setting.num_train_timesteps, subject.has("set_timesteps")
    most = COUNTS_OF_OWN if subject.setting.timestep_spacing == OWN else T
    return [n for n in LENGTHS if n is None or (short and n < T and n <= most)]


def _walked(subject: Subject) -> Iterator[tuple[str, Setting, tuple[int | None, ...]]]:
    """(name, setting, lengths) of the chains that are walked, the full one by default once.

    Where nothing is clipped the recursion says the law, so `quick` walks such a chain only where
    no clip is offered.
    """
    everything, lengths = subject.level == "full", tuple(_lengths(subject))
    wanted: dict[str, dict] = {"clipped": {"clip_sample": True}, "plain": {"clip_sample": False}}
    wanted["threshold"] = {"thresholding": True, "sample_max_value": 1.5}
    if subject.setting.eta is not None:
        wanted["clipped-eta=1"] = {"clip_sample": True, "eta": 1.0}
    for kind in KINDS if everything else ():
        wanted[f"clipped-{kind}"] = {"clip_sample": True, "prediction_type": kind}
    walked: list[Setting] = []
    for name, changes in wanted.items():
        setting = subject.offers(**changes)
        again = setting in walked or (name == "plain" and walked and not everything)
        if setting is None or again:
            continue
        chosen = lengths if everything or not walked else tuple(n for n in lengths if n)
        walked.append(setting)
        if chosen:
            yield name, setting, chosen


def _walk(
    ledger: Ledger,
    name: str,
    subject: Subject,
    oracle: Oracle,
    setting: Setting,
    lengths: tuple[int | None, ...],
) -> None:
    table = alpha_bars(subject, Oracle(), setting)
    found = chains.walks(subject, table, setting, lengths)
    for n, walk in found.items():
        for what, seen in chains.evidence(subject, oracle, table, setting, walk).items():
            how = TOLERANCES["two samples" if what in evidence.AT_THE_END else "chain"]
            ledger.add(
                f"{name}-{n or 'all'}/{what}",
                "close" if seen.holds else "differs",
                evidence.RIGHT[what] if seen.holds else seen.message + evidence.KEPT,
                measured=seen.measured,
                allowed=seen.allowed,
                input=f"{walk.x.shape[1]} images from N(0, I), {len(walk.t)} steps, exact denoiser",
                reason=f"{how.bound}: {how.reason}",
                catches=CATCHES,
            )
    ledger.judge(
        f"{name}/again",
        found[lengths[0]].again,
        "walked again after other chains, the first one goes the same way",
        "walked again after other chains, the first one goes another way" + evidence.KEPT,
        catches=CATCHES,
    )


def _inputs(ledger: Ledger, subject: Subject) -> None:
    """A note only: public samplers clamp the model's output in place, and their pictures are right.

    A loop that keeps what it gave, for guidance or to draw the chain, is told here.
    """
    changed = sorted(words for words in subject.overwritten if words.startswith("step"))
    if changed:
        ledger.add("inputs", "note", f"{' and '.join(changed)} in place: give it a copy if you "
                   "keep it")  # fmt: skip
    else:
        ledger.add("inputs", "equal", "step leaves what it is given as it was")


def marginals(gain: Tensor, shift: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of x after each step x_prev = gain x + shift + s z, from x_T ~ N(0, 1).

    All (k,) float64. The law stays Gaussian, so nothing is sampled.

    >>> mean, variance = marginals(torch.tensor([0.5]), torch.tensor([1.0]), torch.tensor([0.5]))
    >>> mean.item(), variance.item()
    (1.0, 0.5)
    """
    centre, variance = 0.0, 1.0
    centres, variances = [], []
    for g, h, size in zip(gain.tolist(), shift.tolist(), s.tolist(), strict=True):
        centre, variance = g * centre + h, g * g * variance + size * size
        centres.append(centre)
        variances.append(variance)
    return torch.tensor(centres, dtype=F64), torch.tensor(variances, dtype=F64)


def affine_denoiser(kind: str, table: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """(k,) slope and height at 0 of the exact output for data N(CENTRE, SPREAD^2) at each t."""
    answer = exact_denoiser(kind, table)
    at_0, at_1 = (answer(torch.full((len(t), 1, 1, 1), v, dtype=F64), t).flatten() for v in (0, 1))
    return at_1 - at_0, at_0


def _recursion(ledger: Ledger, subject: Subject, oracle: Oracle, n: int | None) -> None:
    """The law of x after every step, from the measured curves and from the oracle's."""
    setting = subject.setting
    if setting.thresholding:
        return
    plain = replace(setting, clip_sample=False)
    rows, table = probe(subject, setting, n), alpha_bars(subject, oracle, setting)
    level, k, t = level_of(oracle, table, rows, setting), len(rows.t), rows.t.flatten()
    slope, height = affine_denoiser(setting.prediction_type, table, t)
    out, x = inputs(rows)
    uncut, cut = (oracle.step_mean(out, x, twice(level), how) for how in (plain, setting))
    if not torch.equal(uncut, cut):
        text = "x0-hat of the probes is cut off: the chain is walked instead"
        ledger.add(f"marginals-{n or 'all'}", "note", text)
        return

    def halves(both: Tensor) -> tuple[Tensor, Tensor]:
        """What x and the model output are multiplied by."""
        return (both[:k] / rows.x).mean(1), (both[k:] / rows.out).mean(1)

    def law(a: Tensor, b: Tensor, s: Tensor) -> Tensor:
        centre, variance = marginals(a + b * slope, b * height, s)
        return torch.stack([centre, variance.sqrt()], dim=1)

    one, zero = torch.ones(k, 1, dtype=F64), torch.zeros(k, 1, dtype=F64)
    right_a = oracle.step_mean(zero, one, level, plain).flatten()
    right_b = oracle.step_mean(one, zero, level, plain).flatten()
    sigma = oracle.sigma(level, setting)
    size = rows.zero.abs().mean(1)  # s_t up to the size of z
    noisy = sigma.flatten() > 0
    z = (size / sigma.flatten())[noisy].median() if bool(noisy.any()) else torch.ones(())
    measured = rows_of_mean(rows)
    got = law(*halves(measured), size / z)
    right = law(right_a, right_b, sigma.flatten())

    def expected() -> tuple[Tensor, Tensor]:
        ends = rounding(measured, rows.zero.repeat(2, 1))
        allowed = mean_bound(oracle, out, x, None, twice(level), setting) + ends
        off_a, off_b = ((v / w.abs()).amax(1) for v, w in
                        ((allowed[:k], rows.x), (allowed[k:], rows.out)))  # fmt: skip
        off_s = propagated(lambda at: oracle.sigma(at, setting), level, sigma).flatten()
        if bool(noisy.any()):  # most of the steps say z no worse than this, so their median does
            each = (off_s / sigma.flatten())[noisy]
            off_s = off_s + sigma.flatten() * each.kthvalue(len(each) // 2 + 1).values
        gain, spread = (right_a + right_b * slope).abs(), right[:, 1].clamp(min=1e-12)
        off_gain, off_shift = off_a + off_b * slope.abs(), off_b * height.abs()
        before = torch.cat([torch.tensor([[0.0, 1.0]], dtype=F64), right[:-1]])
        off_mean, _ = marginals(
            gain + off_gain, off_gain * before[:, 0].abs() + off_shift, one[:, 0]
        )
        by_gain = (2 * gain + off_gain) * off_gain * before[:, 1] ** 2
        by_s = (2 * sigma.flatten() + off_s) * off_s
        off_variance, _ = marginals((gain + off_gain) ** 2, by_gain + by_s, one[:, 0])
        return right, torch.stack([off_mean, off_variance / (2 * spread)], dim=1)

    ledger.values(
        f"marginals-{n or 'all'}",
        "the law of x_t along the chain",
        got,
        expected,
        where=lambda at: f"{('mean', 'std')[at[1]]} after the step from t={int(t[at[0]])}",
        tolerance="marginals",
        input=f"data N({CENTRE}, {SPREAD}^2), the exact denoiser, {k} steps, recursion",
    )
