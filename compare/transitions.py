"""A candidate's own loop from call to call: what each step leaves after its mean, over sigma."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compare.affine import mean_bound, rounding
from compare.evidence import apart_from_x
from compare.ledger import Ledger
from compare.noise_law import SIX, statistics
from compare.oracle import F64, Level, Oracle, Setting
from compare.pictures import judge_pictures
from compare.replay import Drawn
from compare.report import Check
from compare.subject import Subject
from compare.tolerances import RATE, TOLERANCES, of_a_step, propagated

CORRELATIONS = tuple(
    f"correlation of {what}"
    for what in ("neighbours in a row", "neighbours in a column", "channels", "images", "calls")
)
ALIKE = 1e-3  # what float32 leaves of the correlation of a draw with itself


HUGE = 100.0  # |x| of a chain of images in [-1, 1] stays far below


@dataclass(frozen=True)
class Run:
    """A loop seen from the model: x (calls, ...), what it was told, and what came out."""

    x: Tensor
    t: Tensor
    out: Tensor
    training: bool
    left_training: bool
    result: Tensor
    again: Tensor
    apart: tuple[Tensor, Tensor] | None
    far: Tensor | None
    scaled: bool
    drawn: Drawn | None


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
    level = _shaped(oracle.level(table, t, prev, setting))
    steps = _Steps(run, oracle, level, _clear(run, following))
    whole = replace(steps, calls=_finite(run, following))

    def judge() -> list[Check]:
        ledger = Ledger("sampling")
        chosen = _kind(steps, setting)
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
        chosen = _kind(few, setting)
        if _exactly(Ledger("sampling", strict), whole.few(), chosen):
            _left(Ledger("sampling", strict), few, chosen)
    found: list[Check] = subject.remember(("loop", oracle, path), judge)
    return found


def _exactly(ledger: Ledger, steps: "_Steps", chosen: Setting) -> bool:
    """Every pixel of every step, where its noise is known; False if some end elsewhere."""
    oracle, run, calls = steps.oracle, steps.run, steps.calls
    if run.drawn is None or not len(calls):
        return True
    if (oracle.draw, oracle.noise_of, oracle.loop.reseeds) != (Oracle().draw, Oracle().noise_of,
                                                               False):  # fmt: skip
        ledger.judge("loop/steps", False, "", "the noise is what randn draws, fresh for each step")
        return False
    off, size = steps.off(chosen), oracle.sigma(steps.level.at(calls), chosen)
    at = steps.level.at(calls)
    largest = [v[calls].abs().amax(dim=(1, 2, 3, 4), keepdim=True).to(F64)
               for v in (run.out, run.x)]  # fmt: skip
    sigma_off = propagated(lambda level: oracle.sigma(level, chosen), at, size) * 6
    allowed = mean_bound(oracle, -largest[0], largest[1], None, at, chosen) + sigma_off
    allowed = (allowed + rounding(run.x[calls + 1].abs().amax(dim=(1, 2, 3, 4), keepdim=True)
                                  .to(F64), size * 6)).flatten()  # fmt: skip
    wrong, t = (~(off <= allowed)).nonzero().flatten(), steps.level.t[calls].flatten()
    i = int((off / allowed).nan_to_num(torch.inf).argmax())
    said = "every step ends where its formula and the noise that it drew put it"
    if len(wrong):
        first = int(wrong[0])
        said = (f"the step from t={int(t[first])} ends {float(off[first]):.3g} away from where it "
                f"should, as do {len(wrong)} of {len(calls)}; the worst, from t={int(t[i])}, "
                f"{float(off[i]):.3g}")  # fmt: skip
    ledger.add("loop/steps", "differs" if len(wrong) else "close", said,
               measured=float(off[i]), allowed=float(allowed[i]),
               reason=TOLERANCES["coefficient"].reason, catches="mistakes 37-59")  # fmt: skip
    return not len(wrong) and _weights(ledger, steps, run.drawn, chosen)


def _weights(ledger: Ledger, steps: "_Steps", drawn: Drawn, chosen: Setting) -> bool:
    """What x_t and the output are multiplied by, each by itself; False if one is off."""
    oracle, at = steps.oracle, steps.level.at(drawn.some)
    one, plain = (
        torch.ones(len(drawn.some), 1, 1, 1, 1, dtype=F64),
        replace(chosen, clip_sample=False),
    )
    holds = True
    for i, (what, x, out) in enumerate((("x_t", one, 0 * one), ("output", 0 * one, one))):
        right = oracle.step_mean(out, x, at, plain).flatten()
        allowed = mean_bound(oracle, out, x, None, at, plain).flatten() + drawn.error[:, i]
        off = (drawn.weights[:, i] - right).abs()
        worst = int((off / allowed).argmax())
        holds = holds and bool((off <= allowed).all())
        ledger.add(f"loop/weight-of-{what}", "close" if bool((off <= allowed).all()) else "differs",
                   f"{'x_t' if i == 0 else 'the model output'} is multiplied by "
                   f"{float(drawn.weights[worst, i]):.6g} at t={int(at.t[worst])}, should be "
                   f"{float(right[worst]):.6g}", measured=float(off[worst]),
                   allowed=float(allowed[worst]), reason=TOLERANCES["coefficient"].reason,
                   catches="mistakes 37-48")  # fmt: skip
    return holds


def _left(ledger: Ledger, steps: "_Steps", chosen: Setting) -> None:
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
    if (oracle.draw, oracle.noise_of, oracle.loop.reseeds) == (plain.draw, plain.noise_of, False):
        for check in right.checks:
            ledger.put(check)
    else:
        _fresh(ledger, z, out, oracle)
    # A z of another law may depend on x_t.
    if all(c.passed for c in right.checks):
        _apart_from_x(ledger, z, x, steps.share(chosen)[loud])


def _clear(run: Run, following: Tensor) -> Tensor:
    """The calls from which a step goes on, and where x is not so large that rounding hides z."""
    size = run.x.abs().amax(dim=(1, 2, 3, 4)).nan_to_num(torch.inf)
    return ((following[:-1] >= 0) & (size[:-1] < HUGE) & (size[1:] < HUGE)).nonzero().flatten()


def _finite(run: Run, following: Tensor) -> Tensor:
    """The calls from which a step goes on, as long as nothing overflows."""
    size = run.x.abs().amax(dim=(1, 2, 3, 4)).nan_to_num(torch.inf)
    return ((following[:-1] >= 0) & (size[:-1] < 1e30) & (size[1:] < 1e30)).nonzero().flatten()


@dataclass(frozen=True)
class _Steps:
    """The steps of a loop from each of some calls to the next."""

    run: Run
    oracle: Oracle
    level: Level
    calls: Tensor

    def few(self) -> "_Steps":
        """At some two dozen of the calls, and at the last, where the two variances differ most."""
        calls = torch.cat([self.calls[:: 1 + len(self.calls) // 24], self.calls[-4:]])
        return replace(self, calls=calls.unique())

    def left(self, chosen: Setting) -> tuple[Tensor, Tensor]:
        """What a step of this kind leaves after its mean, and the std that it should have."""
        at, run = self.level.at(self.calls), self.run
        mean = self.oracle.step_mean(run.out[self.calls], run.x[self.calls], at, chosen)
        return run.x[self.calls + 1] - mean, self.oracle.sigma(at, chosen)

    def off(self, chosen: Setting) -> Tensor:
        """(calls,) how far each step ends from where its mean and the noise that it drew put it."""
        assert self.run.drawn is not None
        rest, size = self.left(chosen)
        return (rest - size * self.run.drawn.z[self.calls]).flatten(1).abs().amax(dim=1)

    def is_silent(self, rest: Tensor, calls: Tensor) -> bool:
        """True if nothing is left at these calls, up to rounding."""
        scale = 1 + self.run.x[self.calls + 1].flatten(1).abs().amax(dim=1)
        return bool((rest.flatten(1).abs().amax(dim=1) <= 1e-4 * scale)[calls].all())

    def share(self, chosen: Setting) -> Tensor:
        """(calls,) how much of sigma float32 may add to what is left."""
        at = self.level.at(self.calls)
        largest_x, largest_out = (
            v[self.calls].abs().amax(dim=(1, 2, 3, 4), keepdim=True).to(F64)
            for v in (self.run.x, self.run.out)
        )
        bound = mean_bound(self.oracle, -largest_out, largest_x, None, at, chosen)
        return (bound / self.oracle.sigma(at, chosen)).flatten()

    def spreads(self, chosen: Setting) -> Tensor:
        """(calls,) the std of what is left over what it should be, in logarithms."""
        rest, size = self.left(chosen)
        return (rest.flatten(1).std(dim=1) / size.flatten().clamp(min=1e-12)).log()


def _kind(steps: _Steps, setting: Setting) -> Setting:
    """The kind of step that fits best: which variance, or which eta of DDIM, is a convention."""
    silent, few = replace(setting, eta=0.0), steps.few()
    for some in (few, steps):
        rest, _ = some.left(silent)
        if not some.is_silent(rest, torch.ones(len(rest), dtype=torch.bool)):
            break
    else:
        return silent
    kinds = [replace(setting, variance_type=name) for name in ("fixed_small", "fixed_large")]
    if few.run.drawn is not None and len(few.calls):
        eta = replace(setting, eta=_share_of_noise(few, few.run.drawn, setting))
        off = [float(few.off(kind).nan_to_num(torch.inf).median()) for kind in (*kinds, eta)]
        # With eta = 1 DDIM's step is that of fixed_small, but for what a mistake does to one.
        return eta if off[2] < 0.1 * min(off[:2]) else kinds[int(off[1] < off[0])]
    drawn = steps.oracle.draw(
        (64, *steps.run.x.shape[2:]), torch.Generator().manual_seed(0), torch.float32
    )
    off = [float((few.spreads(kind) - drawn.std().log()).abs().mean()) for kind in kinds]
    best = kinds[off.index(min(off))]
    if min(off) < 0.05 or steps.oracle != replace(Oracle(), loop=steps.oracle.loop):
        return best
    between = replace(setting, eta=_eta(few, setting))
    rest, size = few.left(between)
    z, output = rest / size, few.run.out[few.calls]
    # A chain that is only too quiet leaves part of its mean: some of the model's output.
    mixed = abs(float((z * output).mean() / (z.std() * output.std())))
    spread = float((z.flatten(1).std(dim=1) - 1).abs().max())
    fits = mixed < SIX * z.numel() ** -0.5 and spread < of_a_step(z[0].numel())
    return between if fits else best


def _share_of_noise(steps: _Steps, drawn: Drawn, setting: Setting) -> float:
    """The eta of DDIM by the noise that the steps add, whatever their means."""
    size = steps.oracle.sigma(steps.level.at(drawn.some), replace(setting, eta=1.0)).flatten()
    return float((drawn.weights[:, 2] / size)[size > 0].median())


def _eta(few: _Steps, setting: Setting) -> float:
    """The eta in (0, 1) of DDIM whose steps leave noise of std 1, by bisection."""
    low, high = 0.01, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        if float(few.spreads(replace(setting, eta=middle)).mean()) > 0:
            low = middle
        else:
            high = middle
    return round((low + high) / 2, 3)


def _shaped(level: Level) -> Level:
    names = ("t", "prev", "alpha_bar", "alpha_bar_prev")
    return replace(level, **{n: getattr(level, n).reshape(-1, 1, 1, 1, 1) for n in names})


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
