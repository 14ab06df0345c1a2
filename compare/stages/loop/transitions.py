"""A candidate's own loop from call to call: what each step leaves after its mean, over sigma."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

import torch
from torch import Tensor

from compare.candidate.door.reading import UNMAPPED
from compare.candidate.model.learned import Learned
from compare.candidate.replay import MOST, Drawn
from compare.candidate.subject import Subject
from compare.measure import law as laws
from compare.measure.check import Check, within, yes_no
from compare.measure.check import found as left_open
from compare.measure.loop_steps import (
    OVERFLOWS,
    Steps,
    clear,
    kind_of_step,
    kind_that_ends,
    largest,
)
from compare.measure.noise import (
    apart_from_x,
    has_right,
    mates,
    moments,
    of_rows,
    reference,
    statistics,
)
from compare.measure.step import mean_bound
from compare.measure.tolerances import RATE, TOLERANCES, once_in, propagated
from compare.measure.values import apart_in_print, deviation
from compare.oracle import F64, Level, Oracle, Setting
from compare.oracle.samplers import silent
from compare.stages.loop.bent import bent
from compare.stages.loop.ending import early_pictures, pictures
from compare.stages.loop.limit import limit
from compare.stages.variance import ETA, eta_as_declared

BY_SPREAD = 0.05  # how far eta is read off by the size of the noise
AXES = {1: "images", 2: "channels", 3: "rows", 4: "columns"}  # of z (calls, b, c, h, w)
FEW = 6  # calls at which a wrong oracle is mostly seen
SHARED = 100  # times what float32 adds to z on average: more than it adds to any pixel


def transitions(subject: Subject, exact: Steps) -> Iterator[Check]:
    """From call to call; worked out once for all oracles with the same steps.

    A few of the calls and the end are looked at first: a wrong oracle is mostly seen there, and
    nobody who tries one on reads on. A report is told what all calls show.
    """
    setting, oracle, following = subject.setting, exact.oracle, exact.following
    at = exact.level.t.flatten().tolist()
    unmapped = subject.door.pictures.value == UNMAPPED
    key = (oracle, setting, tuple(at), tuple(following.tolist()), unmapped)
    steps = clear(exact)

    def last(chosen: Setting) -> Iterator[Check]:
        if oracle.loop.falls and bool(exact.run.x[-1].abs().max() < OVERFLOWS):
            look = pictures if int(following[-1]) < 0 else early_pictures
            yield from look(steps, chosen, unmapped)

    def outside(steps: Steps, chosen: Setting) -> Iterator[Check]:
        return iter(()) if unmapped else limit(steps, chosen)

    def judge() -> list[Check]:
        chosen = kind_of_step(steps, setting)
        found = list(_steps(exact, steps, chosen))
        passed = all(check.passed for check in found)
        # The law alone misses what is made of a few pixels.
        made = bent(steps, setting) if not passed or exact.run.noise is not None else None
        if made is not None:
            return [made, *last(chosen)]
        if passed and len(exact.calls) and not len(steps.calls):
            size = float(exact.run.size.nan_to_num(torch.inf).max())
            words = f"x_t grows to size {size:.3g}, whose rounding hides every step"
            return [left_open("sampling/loop/steps", "error", words), *last(chosen)]
        if passed:
            by = ETA if steps.run.drawn is not None else BY_SPREAD
            eta = eta_as_declared("sampling/loop/eta", subject, "sample", chosen, by)
            found += [*outside(steps, chosen), *eta]
        return [*found, *last(chosen)]

    def whole() -> list[Check]:
        return subject.remember(("loop", *key), judge)

    def first() -> Check | None:
        few = steps.few(FEW)
        some = kind_of_step(few, setting)
        seen = chain(_steps(exact.few(FEW), few, some), outside(steps, some), last(some))
        return next((check for check in seen if not check.passed), None)

    wrong = subject.remember(("some of loop", *key), first)
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
    known = run.drawn is not None or kind_that_ends(steps, chosen) is not None
    if run.z is None or not len(calls) or not known:
        return
    if not _drawn_right(oracle):
        words = "the noise is what randn draws, fresh for each step"
        yield yes_no("sampling/loop/steps", False, "", words)
        return
    at, off, allowed = (
        steps.level.at(calls),
        steps.off(chosen),
        steps.bound(chosen, largest, run.z[calls]),
    )
    wrong, t = (~(off <= allowed)).nonzero().flatten(), at.t.flatten()
    i = int((off / allowed).nan_to_num(torch.inf).argmax())
    said = "every step ends where its formula and the noise that it drew put it"
    if len(wrong):
        first = int(wrong[0])
        said = (
            f"the step from t={int(t[first])} ends {float(off[first]):.3g} away from where it "
            f"should, as do {len(wrong)} of {len(calls)}; the worst, from t={int(t[i])}, "
            f"{float(off[i]):.3g}{_cut_off(steps, chosen, allowed, i)}"
        )
    yield within(
        "sampling/loop/steps",
        float(off[i]),
        float(allowed[i]),
        said,
        reason=TOLERANCES["coefficient"].reason,
        compared=lambda: (*steps.ends(chosen), allowed.reshape(-1, 1, 1, 1, 1)),
    )
    if not len(wrong) and run.drawn is not None:
        yield from _weights(steps, run.drawn, chosen)
        if run.learned is not None and run.learned.used:
            yield _learned(steps, run.learned)


def _cut_off(steps: Steps, chosen: Setting, allowed: Tensor, i: int) -> str:
    """Of a step that is wrong at a few pixels alone how many they are; "" of another."""
    end, right = steps.ends(chosen)
    wrong = ((end - right).abs() > allowed.reshape(-1, 1, 1, 1, 1))[i].flatten()
    few = 0 < float(wrong.double().mean()) <= 1 - MOST
    return f", at {int(wrong.sum())} of {len(wrong)} pixels alone" if few else ""


def _drawn_right(oracle: Oracle) -> bool:
    """True if the noise of this oracle is fresh and normal, whatever else is wrong."""
    return has_right(oracle, "draw", "noise_of") and not oracle.loop.reseeds


def _weights(steps: Steps, drawn: Drawn, chosen: Setting) -> Iterator[Check]:
    """What x_t and the output are multiplied by, each by itself."""
    oracle, at = steps.oracle, steps.level.at(drawn.some)
    one = torch.ones(len(drawn.some), 1, 1, 1, 1, dtype=F64)
    plain = chosen.unlimited
    inputs = (("x_t", one, 0 * one), ("output", 0 * one, one))
    errors = laws.normal_bound(RATE / len(drawn.some)) * drawn.error
    for i, (what, x, out) in enumerate(inputs):
        right = oracle.step_mean(out, x, at, plain).flatten()
        allowed = mean_bound(oracle, out, x, None, at, plain).flatten() + errors[:, i]
        off = (drawn.weights[:, i] - right).abs()
        worst = int((off / allowed).argmax())
        got, wanted = apart_in_print(float(drawn.weights[worst, i]), float(right[worst]))
        yield within(
            f"sampling/loop/weight-of-{what}",
            float(off[worst]),
            float(allowed[worst]),
            f"the weight of {what} is {got} at t={int(at.t[worst])}, should be {wanted}",
            reason=f"{TOLERANCES['coefficient'].reason}; its standard error: "
            f"false alarm {once_in(RATE)}",
            compared=lambda seen=(drawn.weights[:, i], right, allowed): seen,
        )


def _learned(steps: Steps, learned: Learned) -> Check:
    """The size of the noise for a v of the model's from one end to the other."""
    oracle, n, k = steps.oracle, *learned.sizes.shape
    level = steps.level.at(learned.some).map(lambda values: values.reshape(1, k).expand(n, k))
    v = learned.of_range.reshape(n, 1)

    def sigma(at: Level) -> Tensor:
        return oracle.std("learned_range", at, v) * oracle.noisy(at)

    right = sigma(level)
    errors = laws.normal_bound(RATE / right.numel()) * learned.error
    allowed, off = propagated(sigma, level, right) + errors, (learned.sizes - right).abs()
    i, worst = divmod(int((off / allowed).argmax()), k)
    got, wanted = apart_in_print(float(learned.sizes[i, worst]), float(right[i, worst]))
    return within(
        "sampling/loop/learned",
        float(off[i, worst]),
        float(allowed[i, worst]),
        f"the noise at t={int(level.t[i, worst])} for v={float(learned.v[i]):g} is {got}, should "
        f"be {wanted}",
        reason=f"{TOLERANCES['coefficient'].reason}; its standard error: false alarm "
        f"{once_in(RATE)}",
        compared=lambda: (learned.sizes, right, allowed),
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
            steps.is_silent(rest, ~loud, chosen),
            f"{int((~loud).sum())} steps add no noise, {what}",
            "there is noise where none is looked for",
        )
    if not bool(loud.any()):
        return
    noisy = replace(steps, calls=steps.calls[loud])
    x, out = (v[noisy.calls] for v in (steps.run.x, steps.run.out))
    z, share = rest[loud] / size[loud], noisy.share(chosen)
    right = list(_fresh(z, share, Oracle()))
    if not has_right(oracle, "noise_of"):
        yield _as_looked_for(z, oracle.noise_of(torch.zeros_like(z), out), noisy, chosen)
    else:
        yield from right if _drawn_right(oracle) else _of_another_law(z, share, oracle)
    if all(check.passed for check in right):  # a z of another law may depend on x_t
        yield _apart_from_x(z, x, share)


def _of_another_law(z: Tensor, share: Tensor, oracle: Oracle) -> Iterator[Check]:
    """As far as it is drawn otherwise: along which axes numbers are shared, and the law of those
    that are drawn by themselves, of all steps together."""
    stream = torch.Generator().manual_seed(0)
    drawn = torch.stack([oracle.draw(tuple(z.shape[1:]), stream, torch.float32) for _ in z])
    wanted, found = _shared(drawn, 0 * share), _shared(z, SHARED * (1e-6 + share))
    axes = " and ".join(AXES[dim] for dim in found) or "no axis"
    words = f"the z of a step are the same along {axes}"
    reason = f"{SHARED} times what float32 adds to z on average"
    yield yes_no("sampling/loop/steps-shared", found == wanted, words, words, reason=reason)
    if found == wanted and found:
        once, like = (moments(_once(each, found)) for each in (z, drawn))
        for name, seen in once.items():
            off, by_float = abs(seen.value - like[name].value), float(share.square().mean().sqrt())
            allowed = seen.allowed(RATE / 2, by_float, like[name])
            words = f"{name} of the numbers drawn by themselves is {seen.value:.3f}"
            reason = seen.reason(RATE / 2)
            yield within(f"sampling/loop/steps-once-{name}", off, allowed, words, reason=reason)
    yield from _fresh(z, share, oracle)


def _shared(z: Tensor, allowed: Tensor) -> list[int]:
    """The axes of z (calls, b, c, h, w) along which its numbers are the same, in every call."""
    off = {dim: (z - z.narrow(dim, 0, 1)).flatten(1).abs().amax(dim=1) for dim in AXES}
    return [d for d, each in off.items() if z.shape[d] > 1 and bool((each <= allowed).all())]


def _once(z: Tensor, shared: list[int]) -> Tensor:
    for dim in shared:
        z = z.narrow(dim, 0, 1)
    return z


def _as_looked_for(z: Tensor, wanted: Tensor, steps: Steps, chosen: Setting) -> Check:
    """z where a mistake says what it is, pixel by pixel."""
    bound = steps.bound(chosen, largest, wanted)
    allowed = bound.reshape(-1, 1, 1, 1, 1) / steps.left(chosen)[1]
    status, _, _, off, may = deviation(z, wanted, allowed)
    return yes_no(
        "sampling/loop/steps-mean",
        status != "differs",
        "the noise is what was looked for",
        f"the noise is {off:.3g} away from what was looked for",
        measured=off,
        allowed=may,
        reason=TOLERANCES["coefficient"].reason,
    )


def _fresh(z: Tensor, share: Tensor, oracle: Oracle) -> Iterator[Check]:
    """(calls, b, c, h, w): mean and std of every step's z, its law in mid-chain, independence.

    Against a draw of the oracle's where that is of another law, so that this can be named too.
    """
    aims = {} if has_right(oracle, "draw") else reference(oracle, tuple(z.shape[1:]))
    rows = of_rows(z.flatten(1), share, RATE, lambda i: f"step {i + 1}", aims or None)
    for name, seen in rows.items():
        yield within(
            f"sampling/loop/steps-{name}",
            seen.measured,
            seen.allowed,
            f"{seen.message}, z being what is left after the mean, over sigma",
            reason=_law(f"its law in {z[0].numel()} draws, shared among {len(z)} steps"),
        )
    if len(z) < 2:
        return
    i = len(z) // 2 - 1
    if not aims and z.shape[1] > 1:
        seen = mates(z[i], float(share[i]))
        words = f"of step {i + 1}: {seen.message}"
        reason = _law("a noise along that of another image is N(0, 1), shared among all pairs")
        yield within("sampling/loop/batch-mates", seen.measured, seen.allowed, words, reason=reason)
    for name, statistic in statistics(z[i], z[i + 1]).items():
        if name in rows:
            continue
        aim = aims.get(name)
        if name == "correlation of calls" and oracle.loop.reseeds:
            aim = replace(statistic, value=1.0)
        yield within(
            f"sampling/loop/{name.replace(' ', '-')}",
            abs(statistic.value - (statistic.right if aim is None else aim.value)),
            statistic.allowed(share=float(share[i : i + 2].max()), reference=aim),
            f"{name} of the steps' z is {statistic.value:.3f}",
            reason=statistic.reason(),
        )


def _law(words: str) -> str:
    return f"{words}: false alarm {once_in(RATE)}"


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
        reason=_law(f"z along x_t is N(0, 1), shared among {len(z)} steps and their sum"),
    )
