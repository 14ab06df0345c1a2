"""A candidate's own loop from call to call: what each step leaves after its mean, over sigma.

And its end: the pictures that it returns against its last step.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from compare.candidate.loop_calls import Run
from compare.candidate.replay import Drawn
from compare.candidate.subject import Subject
from compare.measure.check import Check, within, yes_no
from compare.measure.loop_steps import HUGE, Steps, clear, finite, kind_of_step, silent
from compare.measure.noise import apart_from_x
from compare.measure.noise_law import SIX, statistics
from compare.measure.step import mean_bound, rounding
from compare.measure.tolerances import RATE, TOLERANCES, of_a_step, propagated
from compare.measure.values import apart_in_print
from compare.oracle import F64, Level, Oracle, Setting

CORRELATIONS = tuple(
    f"correlation of {what}"
    for what in ("neighbours in a row", "neighbours in a column", "channels", "images", "calls")
)
ALIKE = 1e-3  # what float32 leaves of the correlation of a draw with itself


def transitions(
    subject: Subject, run: Run, oracle: Oracle, table: Tensor, path: tuple[list[int], list[int]]
) -> Iterator[Check]:
    """From call to call; worked out once for all oracles with the same steps.

    A few of the calls are looked at first: a wrong oracle is mostly seen there, and nobody who
    tries one on reads on. A report is told what all calls show.
    """
    k, setting = len(run.t), subject.setting
    t, following = (torch.tensor(part[:k]) for part in path)
    prev = oracle.previous(following, t, k, setting)
    level = oracle.level(table, t, prev, setting).map(lambda v: v.reshape(-1, 1, 1, 1, 1))
    steps = Steps(run, oracle, level, clear(run, following))
    exact = replace(steps, calls=finite(run, following))

    def judge() -> list[Check]:
        chosen = kind_of_step(steps, setting)
        ends = int(following[-1]) < 0 and oracle.loop.falls
        last = _pictures(steps, chosen) if ends and bool(run.x[-1].abs().max() < HUGE) else []
        return [*_steps(exact, steps, chosen), *last]

    def whole() -> list[Check]:
        key = ("loop", oracle, tuple(t.tolist()), tuple(following.tolist()))
        return subject.remember(key, judge)

    few = steps.few()
    at_few = _steps(exact.few(), few, kind_of_step(few, setting))
    wrong = next((check for check in at_few if not check.passed), None)
    if wrong is None:
        yield from whole()
        return
    yield replace(wrong, whole=lambda: whole()[0])
    yield from whole()[1:]


def _steps(exact: Steps, steps: Steps, chosen: Setting) -> Iterator[Check]:
    """Exactly where the noise is known; then, as what a wrong step leaves is no noise, its law."""
    found = list(_exactly(exact, chosen))
    yield from found
    if all(check.passed for check in found):
        yield from _left(steps, chosen)


def _exactly(steps: Steps, chosen: Setting) -> Iterator[Check]:
    """Every pixel of every step, where its noise is known, and both weights if all are right."""
    oracle, run, calls = steps.oracle, steps.run, steps.calls
    if run.drawn is None or not len(calls):
        return
    if not _drawn_right(oracle):
        words = "the noise is what randn draws, fresh for each step"
        yield yes_no("sampling/loop/steps", False, "", words)
        return
    at, off, allowed = steps.level.at(calls), steps.off(chosen), _allowed(steps, chosen)
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
    yield within(
        "sampling/loop/steps",
        float(off[i]),
        float(allowed[i]),
        said,
        reason=TOLERANCES["coefficient"].reason,
    )
    if not len(wrong):
        yield from _weights(steps, run.drawn, chosen)


def _allowed(steps: Steps, chosen: Setting) -> Tensor:
    """(calls,) how far from where it should a step may end."""
    oracle, run, calls = steps.oracle, steps.run, steps.calls
    at = steps.level.at(calls)
    out, x, ends = (
        v.abs().amax(dim=(1, 2, 3, 4), keepdim=True).to(F64)
        for v in (run.out[calls], run.x[calls], run.x[calls + 1])
    )
    size = oracle.sigma(at, chosen)
    of_noise = propagated(lambda level: oracle.sigma(level, chosen), at, size)
    bound = mean_bound(oracle, -out, x, None, at, chosen) + SIX * of_noise
    return (bound + rounding(ends, SIX * size)).flatten()


def _drawn_right(oracle: Oracle) -> bool:
    """True if the noise of this oracle is fresh and normal, whatever else is wrong."""
    right = Oracle()
    same = (oracle.draw, oracle.noise_of) == (right.draw, right.noise_of)
    return same and not oracle.loop.reseeds


def _weights(steps: Steps, drawn: Drawn, chosen: Setting) -> Iterator[Check]:
    """What x_t and the output are multiplied by, each by itself."""
    oracle, at = steps.oracle, steps.level.at(drawn.some)
    one = torch.ones(len(drawn.some), 1, 1, 1, 1, dtype=F64)
    plain = replace(chosen, clip_sample=False)
    inputs = (("x_t", one, 0 * one), ("output", 0 * one, one))
    for i, (what, x, out) in enumerate(inputs):
        right = oracle.step_mean(out, x, at, plain).flatten()
        allowed = mean_bound(oracle, out, x, None, at, plain).flatten() + drawn.error[:, i]
        off = (drawn.weights[:, i] - right).abs()
        worst = int((off / allowed).argmax())
        got, wanted = apart_in_print(float(drawn.weights[worst, i]), float(right[worst]))
        yield within(
            f"sampling/loop/weight-of-{what}",
            float(off[worst]),
            float(allowed[worst]),
            f"the weight of {what} is {got} at t={int(at.t[worst])}, should be {wanted}",
            reason=TOLERANCES["coefficient"].reason,
        )


def _left(steps: Steps, chosen: Setting) -> Iterator[Check]:
    """What is left after the mean, over sigma, must be fresh N(0, 1)."""
    oracle = steps.oracle
    rest, size = steps.left(chosen)
    loud = (size > 0).flatten()
    if not bool(loud.all()):
        kind = oracle.sampler(chosen).words(chosen)
        what = f"as those of {kind} (a convention)" if chosen in silent(chosen) else "as looked for"
        yield yes_no(
            "sampling/loop/silent",
            steps.is_silent(rest, ~loud),
            f"{int((~loud).sum())} steps add no noise, {what}",
            "there is noise where none is looked for",
        )
    if not bool(loud.any()):
        return
    x, out = (v[steps.calls][loud] for v in (steps.run.x, steps.run.out))
    z = rest[loud] / size[loud]
    right = list(_fresh(z, out, Oracle()))
    yield from right if _drawn_right(oracle) else _fresh(z, out, oracle)
    if all(check.passed for check in right):  # a z of another law may depend on x_t
        yield _apart_from_x(z, x, steps.share(chosen)[loud])


def _fresh(z: Tensor, out: Tensor, oracle: Oracle) -> Iterator[Check]:
    """(calls, b, c, h, w): mean and std of every step's z, its law, and independence.

    All against a draw of the oracle's, so that a wrong law can be named too.
    """
    if oracle.noise_of is not Oracle().noise_of:
        off = float((z - oracle.noise_of(torch.zeros_like(z), out)).abs().max())
        yield yes_no(
            "sampling/loop/steps-mean",
            off < 1e-2,
            "the noise is what was looked for",
            f"the noise is {off:.3g} away from what was looked for",
        )
        return
    yield from _moments(z, oracle)
    if len(z) > 1:
        yield from _independence(z, oracle)


def _moments(z: Tensor, oracle: Oracle) -> Iterator[Check]:
    """Mean and std of every step's z."""
    wanted, factor = {"mean": 0.0, "std": 1.0}, 1.0
    if oracle.draw is not Oracle().draw:
        other = torch.Generator().manual_seed(22)
        oracle.draw(tuple(z.shape[1:]), other, torch.float32)  # taken by `_independence`
        wide = oracle.draw((64, *z.shape[2:]), other, torch.float32)
        wanted, factor = {"mean": float(wide.mean()), "std": float(wide.std())}, 2.0
    each = {"mean": z.flatten(1).mean(dim=1), "std": z.flatten(1).std(dim=1)}
    for name, values in each.items():
        gaps = (values - wanted[name]).abs()
        i = int(gaps.argmax())
        yield within(
            f"sampling/loop/steps-{name}",
            float(gaps[i]),
            factor * of_a_step(z[0].numel()),
            f"step {i + 1}: what is left after the mean, over sigma, has {name} "
            f"{float(values[i]):.3f}",
            reason=TOLERANCES["law"].reason,
        )


def _independence(z: Tensor, oracle: Oracle) -> Iterator[Check]:
    """The law of z in mid-chain, and how neighbours, images and calls go together."""
    right = oracle.draw is Oracle().draw
    stream, other = torch.Generator().manual_seed(21), torch.Generator().manual_seed(22)
    shape = tuple(z.shape[1:])
    drawn = [oracle.draw(shape, g, torch.float32) for g in (stream, stream, other)]
    middle = len(z) // 2
    pair = statistics(z[middle - 1].float(), z[middle].float(), z[0].float())
    model = statistics(*drawn)
    singly = z[0].numel() if right else len(drawn[0].unique())  # drawn by themselves
    factor = 1.0 if right else 2.0
    for name in (n for n in pair if n.startswith("distance") or n in CORRELATIONS):
        aim = 0.0 if right else model[name]
        aim = 1.0 if name == "correlation of calls" and oracle.loop.reseeds else aim
        bound = factor * (3.3 if "distance" in name else SIX) * singly**-0.5
        yield within(
            f"sampling/loop/{name.replace(' ', '-')}",
            abs(pair[name] - aim),
            ALIKE if aim > 1 - ALIKE else bound,
            f"{name} of the steps' z is {pair[name]:.3f}",
            reason=TOLERANCES["law"].reason,
        )


def _apart_from_x(z: Tensor, x: Tensor, share: Tensor) -> Check:
    """(calls, b, c, h, w): z does not depend on x_t less its mean.

    A coefficient that is off by a little leaves some of x_t in every step, too little for its std.
    """
    x = x.to(F64).flatten(1)
    x = x - x.mean(dim=1, keepdim=True)
    seen = apart_from_x(z.flatten(1), x, share, RATE / 2, lambda i: f"step {i + 1}")
    right = "what is left after the mean does not depend on x_t"
    wrong = f"some of x_t is left after the mean, {seen.message}: a coefficient of the step is off"
    return within(
        "sampling/loop/steps-x",
        seen.measured,
        seen.allowed,
        right if seen.holds else wrong,
        reason=TOLERANCES["law"].reason,
    )


def _pictures(steps: Steps, chosen: Setting) -> Iterator[Check]:
    """The result against the last step: as it is, clamped, in [0, 1], or as bytes."""
    run, oracle = steps.run, steps.oracle
    end = steps.level.at(torch.tensor([len(run.t) - 1]))
    last = oracle.step_mean(run.out[-1:], run.x[-1:], end, chosen)[0]
    sigma = float(oracle.sigma(end, chosen))
    if sigma > 0:  # noise is looked for
        yield _noisy_pictures(run.result.to(F64), last, sigma)
    elif run.result.dtype == torch.uint8:
        yield from _bytes(run, last, oracle)
    else:
        yield _floats(run.result.to(F64), last, end)


def _noisy_pictures(got: Tensor, last: Tensor, sigma: float) -> Check:
    spreads = [float((got - last).std()), float((2 * got - 1 - last).std())]
    return within(
        "sampling/loop/pictures",
        min(abs(spread / sigma - 1) for spread in spreads),
        of_a_step(last.numel()),
        f"the result is {min(spreads):.3g} away from the last step's mean, should be {sigma:.3g}",
    )


def _bytes(run: Run, last: Tensor, oracle: Oracle) -> Iterator[Check]:
    """(x + 1) * 127.5, rounded and clamped, or made as the oracle's `codec` says."""
    codec, grey = oracle.loop.codec, (last + 1) * 127.5
    clamped = grey.clamp(0, 255)
    made = {"round": clamped.round(), "floor": clamped.floor(), "wrap": grey.round() % 256}
    if run.far is not None:
        white, black = (float(v.float().mean()) for v in (run.far[..., :4], run.far[..., 4:]))
        yield yes_no(
            "sampling/loop/clamp",
            (not (white > 250 and black < 5)) == (codec == "wrap"),
            "values outside [-1, 1] become white and black",
            f"brighter than white becomes {white:.0f}, darker than black {black:.0f}",
        )
    off = float(((run.result.to(F64) - made[codec]).abs() > 0.5).double().mean())
    yield yes_no(
        "sampling/loop/pictures",
        off < 0.01,
        "the bytes are those of the last step",
        f"{off:.0%} of the bytes are not (x + 1) * 127.5, rounded and clamped",
        measured=off,
        allowed=0.01,
        reason="ties and float32 rounding",
    )


def _floats(got: Tensor, last: Tensor, end: Level) -> Check:
    unit = (last + 1) / 2
    forms = {
        "as it is": last,
        "clamped": last.clamp(-1, 1),
        "in [0, 1]": unit.clamp(0, 1),
        "in [0, 1], not clamped": unit,
    }
    away = {name: float((got - value).abs().max()) for name, value in forms.items()}
    best = min(away, key=lambda name: away[name])
    # beta and 1 - alpha-bar may be rounded each by itself
    allowed = 1e-4 + float(rounding(last.abs().max()) / (1 - end.alpha_bar).min())
    return yes_no(
        "sampling/loop/pictures",
        away[best] < allowed,
        f"the result is the last step, {best}",
        f"the result is {away[best]:.3g} away from the last step's mean: noise or a step at the "
        "end",
        measured=away[best],
        allowed=allowed,
        reason="float32 rounding of one step",
    )
