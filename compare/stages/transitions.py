"""A candidate's own loop from call to call: what each step leaves after its mean, over sigma."""

from dataclasses import replace

import torch
from torch import Tensor

from compare.candidate.subject import Subject
from compare.measure.ledger import Ledger, apart_in_print
from compare.measure.loop_steps import HUGE, Run, Steps, clear, finite, kind_of_step, shaped
from compare.measure.noise import apart_from_x
from compare.measure.noise_law import SIX, statistics
from compare.measure.replay import Drawn
from compare.measure.step import mean_bound, rounding
from compare.measure.tolerances import RATE, TOLERANCES, of_a_step, propagated
from compare.oracle import F64, Oracle, Setting
from compare.stages.pictures import judge_pictures
from compare.verdict.report import Check

CORRELATIONS = tuple(
    f"correlation of {what}"
    for what in ("neighbours in a row", "neighbours in a column", "channels", "images", "calls")
)
ALIKE = 1e-3  # what float32 leaves of the correlation of a draw with itself


def transitions(
    subject: Subject,
    strict: frozenset[str] | None,
    run: Run,
    oracle: Oracle,
    table: Tensor,
    path: tuple[tuple[int, int], ...],
) -> list[Check]:
    """From call to call; worked out once for all oracles with the same steps.

    A mistake that is tried on is asked at a few calls first: most are seen there.
    """
    k, setting = len(run.t), subject.setting
    t, following = torch.tensor(path[:k]).unbind(1)
    prev = oracle.previous(following, t, k, setting)
    level = shaped(oracle.level(table, t, prev, setting))
    steps = Steps(run, oracle, level, clear(run, following))
    whole = replace(steps, calls=finite(run, following))

    def judge() -> list[Check]:
        ledger = Ledger("sampling")
        chosen = kind_of_step(steps, setting)
        if _exactly(ledger, whole, chosen):  # what a wrong step leaves is no noise
            _left(ledger, steps, chosen)
        end = level.at(torch.tensor([k - 1]))
        last = oracle.step_mean(run.out[-1:], run.x[-1:], end, chosen)[0]
        ends = int(following[-1]) < 0 and oracle.loop.falls
        if ends and bool(run.x[-1].abs().max() < HUGE):
            sigma = float(oracle.sigma(end, chosen))
            judge_pictures(ledger, run.result, run.far, last, sigma, end, oracle)
        return ledger.checks

    if strict is not None:
        few = steps.few()
        chosen = kind_of_step(few, setting)
        if _exactly(Ledger("sampling", strict), whole.few(), chosen):
            _left(Ledger("sampling", strict), few, chosen)
    found: list[Check] = subject.remember(("loop", oracle, path), judge)
    return found


def _exactly(ledger: Ledger, steps: Steps, chosen: Setting) -> bool:
    """Every pixel of every step, where its noise is known; False if some end elsewhere."""
    oracle, run, calls = steps.oracle, steps.run, steps.calls
    if run.drawn is None or not len(calls):
        return True
    if not _drawn_right(oracle):
        ledger.judge("loop/steps", False, "", "the noise is what randn draws, fresh for each step")
        return False
    at, off = steps.level.at(calls), steps.off(chosen)
    out, x, ends = (
        v.abs().amax(dim=(1, 2, 3, 4), keepdim=True).to(F64)
        for v in (run.out[calls], run.x[calls], run.x[calls + 1])
    )
    size = oracle.sigma(at, chosen)
    of_noise = propagated(lambda level: oracle.sigma(level, chosen), at, size)
    bound = mean_bound(oracle, -out, x, None, at, chosen) + SIX * of_noise
    allowed = (bound + rounding(ends, SIX * size)).flatten()
    wrong, t = (~(off <= allowed)).nonzero().flatten(), at.t.flatten()
    i = int((off / allowed).nan_to_num(torch.inf).argmax())
    said = "every step ends where its formula and the noise that it drew put it"
    if len(wrong):
        first = int(wrong[0])
        said = (
            f"the step from t={int(t[first])} ends {float(off[first]):.3g} away from where it "
            f"should, as do {len(wrong)} of {len(calls)}; the worst, from t={int(t[i])}, "
            f"{float(off[i]):.3g}"
        )
    ledger.add(
        "loop/steps",
        "differs" if len(wrong) else "close",
        said,
        measured=float(off[i]),
        allowed=float(allowed[i]),
        reason=TOLERANCES["coefficient"].reason,
        catches="mistakes 37-59",
    )
    return not len(wrong) and _weights(ledger, steps, run.drawn, chosen)


def _drawn_right(oracle: Oracle) -> bool:
    """True if the noise of this oracle is fresh and normal, whatever else is wrong."""
    right = Oracle()
    same = (oracle.draw, oracle.noise_of) == (right.draw, right.noise_of)
    return same and not oracle.loop.reseeds


def _weights(ledger: Ledger, steps: Steps, drawn: Drawn, chosen: Setting) -> bool:
    """What x_t and the output are multiplied by, each by itself; False if one is off."""
    oracle, at = steps.oracle, steps.level.at(drawn.some)
    one = torch.ones(len(drawn.some), 1, 1, 1, 1, dtype=F64)
    plain = replace(chosen, clip_sample=False)
    holds = True
    inputs = (("x_t", one, 0 * one), ("output", 0 * one, one))
    for i, (what, x, out) in enumerate(inputs):
        right = oracle.step_mean(out, x, at, plain).flatten()
        allowed = mean_bound(oracle, out, x, None, at, plain).flatten() + drawn.error[:, i]
        off = (drawn.weights[:, i] - right).abs()
        fits, worst = bool((off <= allowed).all()), int((off / allowed).argmax())
        holds = holds and fits
        got, wanted = apart_in_print(float(drawn.weights[worst, i]), float(right[worst]))
        ledger.add(
            f"loop/weight-of-{what}",
            "close" if fits else "differs",
            f"the weight of {what} is {got} at t={int(at.t[worst])}, should be {wanted}",
            measured=float(off[worst]),
            allowed=float(allowed[worst]),
            reason=TOLERANCES["coefficient"].reason,
            catches="mistakes 37-48",
        )
    return holds


def _left(ledger: Ledger, steps: Steps, chosen: Setting) -> None:
    """What is left after the mean, over sigma, must be fresh N(0, 1)."""
    oracle = steps.oracle
    rest, size = steps.left(chosen)
    loud = (size > 0).flatten()
    if not bool(loud.all()):
        still = steps.is_silent(rest, ~loud)
        what = "of DDIM, eta = 0 (a convention)" if chosen.eta == 0 else "as looked for"
        ledger.judge("loop/silent", still, f"{int((~loud).sum())} steps add no noise, {what}",
                     "there is noise where none is looked for")  # fmt: skip
    if not bool(loud.any()):
        return
    z, x, out = (
        rest[loud] / size[loud],
        *(v[steps.calls][loud] for v in (steps.run.x, steps.run.out)),
    )
    right, plain = Ledger("sampling"), Oracle()
    _fresh(right, z, out, plain)
    if _drawn_right(oracle):
        for check in right.checks:
            ledger.put(check)
    else:
        _fresh(ledger, z, out, oracle)
    # A z of another law may depend on x_t.
    if all(c.passed for c in right.checks):
        _apart_from_x(ledger, z, x, steps.share(chosen)[loud])


def _fresh(ledger: Ledger, z: Tensor, out: Tensor, oracle: Oracle) -> None:
    """(calls, b, c, h, w): mean and std of every step's z, its law, and independence.

    All against a draw of the oracle's, so that a wrong law can be named too.
    """
    if oracle.noise_of is not Oracle().noise_of:
        off = float((z - oracle.noise_of(torch.zeros_like(z), out)).abs().max())
        ledger.judge("loop/steps-mean", off < 1e-2, "the noise is what was looked for",
                     f"the noise is {off:.3g} away from what was looked for")  # fmt: skip
        return
    pixels, right = z[0].numel(), oracle.draw is Oracle().draw
    stream, other = torch.Generator().manual_seed(21), torch.Generator().manual_seed(22)
    shape = tuple(z.shape[1:])
    drawn = [oracle.draw(shape, g, torch.float32).to(F64) for g in (stream, stream, other)]
    wide = oracle.draw((64, *shape[1:]), other, torch.float32)
    wanted = {"mean": 0.0, "std": 1.0} if right else {"mean": wide.mean(), "std": wide.std()}
    factor = 1.0 if right else 2.0
    allowed = factor * of_a_step(pixels)
    each = {"mean": z.flatten(1).mean(dim=1), "std": z.flatten(1).std(dim=1)}
    for name, values in each.items():
        gaps = (values - float(wanted[name])).abs()
        i = int(gaps.argmax())
        ledger.add(f"loop/steps-{name}", "close" if float(gaps[i]) <= allowed else "differs",
                   f"step {i + 1}: what is left after the mean, over sigma, has {name} "
                   f"{float(values[i]):.3f}", measured=float(gaps[i]), allowed=allowed,
                   reason=TOLERANCES["law"].reason, catches="mistakes 37-60")  # fmt: skip
    if len(z) < 2:
        return
    middle = len(z) // 2
    pair = statistics(z[middle - 1].float(), z[middle].float(), z[0].float())
    model = statistics(*(d.float() for d in drawn))
    singly = pixels if right else len(drawn[0].unique())  # numbers that are drawn by themselves
    for name in (n for n in pair if n.startswith("distance") or n in CORRELATIONS):
        aim = 0.0 if right else model[name]
        aim = 1.0 if name == "correlation of calls" and oracle.loop.reseeds else aim
        bound = factor * (3.3 if "distance" in name else SIX) * singly**-0.5
        bound = ALIKE if aim > 1 - ALIKE else bound
        gap = abs(pair[name] - aim)
        ledger.add(f"loop/{name.replace(' ', '-')}", "close" if gap <= bound else "differs",
                   f"{name} of the steps' z is {pair[name]:.3f}", measured=gap, allowed=bound,
                   reason=TOLERANCES["law"].reason, catches="mistakes 61-63")  # fmt: skip


def _apart_from_x(ledger: Ledger, z: Tensor, x: Tensor, share: Tensor) -> None:
    """(calls, b, c, h, w): z does not depend on x_t less its mean.

    A coefficient that is off by a little leaves some of x_t in every step, too little for its std.
    """
    x = x.to(F64).flatten(1)
    x = x - x.mean(dim=1, keepdim=True)
    seen = apart_from_x(z.flatten(1), x, share, RATE / 2, lambda i: f"step {i + 1}")
    ledger.add("loop/steps-x", "close" if seen.holds else "differs",
               "what is left after the mean does not depend on x_t" if seen.holds else
               f"some of x_t is left after the mean, {seen.message}: a coefficient of the step is "
               "off", measured=seen.measured, allowed=seen.allowed,
               reason=TOLERANCES["law"].reason, catches="mistakes 37-48")  # fmt: skip
