"""The role `sample`: a candidate's own loop, judged call by call as its model sees it."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from compare.affine import mean_bound, rounding
from compare.candidate import raised
from compare.laws import normal_bound
from compare.ledger import Ledger
from compare.oracle import F64, Level, Loop, Oracle, Setting
from compare.probe import alpha_bars
from compare.report import Check
from compare.roles import Spy, exact_denoiser, exact_output
from compare.subject import Broken, Subject
from compare.tolerances import RATE, TOLERANCES
from compare.variance import SIX, statistics

SHAPE = (32, 2, 8, 8)


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


def _ask(subject: Subject, table: Tensor) -> Run:
    assert subject.adapter is not None
    role: Any = subject.adapter.sample
    answer = exact_denoiser(subject.setting.prediction_type, table)

    def call(model: Spy, shape: tuple[int, ...], generator: Any) -> Tensor:
        torch.default_generator.manual_seed(11)
        try:
            result = torch.as_tensor(role(model, shape, generator))
        except (Exception, SystemExit) as error:
            raise Broken(f"sample raises {raised(error)}") from None
        if tuple(result.shape) != shape:
            text = f"sample returned shape {tuple(result.shape)}, asked for {shape}"
            raise Broken(text, raised=False)
        if not model.seen:
            raise Broken("sample never calls the model", raised=False)
        return result.detach()

    model = Spy(answer, table)
    result = call(model, SHAPE, torch.Generator().manual_seed(11))
    again = call(Spy(answer, table), SHAPE, torch.Generator().manual_seed(11))
    few = (3, 1, 2, 2)
    try:
        streams = [torch.Generator().manual_seed(s) for s in (1, 2, 3)]
        many = call(Spy(answer, table), few, streams)
        alone = [
            call(Spy(answer, table), (1, 1, 2, 2), [torch.Generator().manual_seed(s)])
            for s in (1, 2, 3)
        ]
        apart = (many, torch.cat(alone))
    except Broken:
        apart = None
    far = None
    if result.dtype == torch.uint8:
        far = call(
            Spy(_far_outside(subject, table), table), SHAPE, torch.Generator().manual_seed(1)
        )
    return Run(
        torch.stack([x for x, *_ in model.seen]),
        torch.stack([t[0] for _, t, *_ in model.seen]),
        torch.stack([out for _, _, out, _ in model.seen]),
        any(training for *_, training in model.seen),
        model.training,
        result,
        again,
        apart,
        far,
    )


def _far_outside(subject: Subject, table: Tensor) -> Any:
    """A denoiser sure of a picture half brighter than white and half darker than black."""

    def answer(x: Tensor, t: Tensor) -> Tensor:
        x_0 = torch.full_like(x, 1.3)
        x_0[..., x.shape[-1] // 2 :] = -1.3
        return exact_output(subject.setting.prediction_type, table, x, t, x_0)

    return answer


def judge_loop(ledger: Ledger, subject: Subject, oracle: Oracle) -> None:
    """What the model was asked, from call to call, and the pictures at the end."""
    setting, loop = subject.setting, oracle.loop
    table = alpha_bars(subject, Oracle(), setting)
    run = subject.remember(("sample",), lambda: _ask(subject, table))
    n = len(run.t)
    told, visited, after = _visited(ledger, run, oracle, setting, table)
    ledger.judge("loop/eval", run.training != loop.evaluates,
                 "the model is in the mode looked for", "the model samples in training mode",
                 catches="mistake 95")  # fmt: skip
    if not run.left_training and loop.evaluates:
        ledger.add("loop/mode", "note", "the model is left in eval mode")
    _start(ledger, run, oracle)
    if told and n > 1:
        stepping = replace(oracle.stepping(), loop=loop)
        path = tuple(zip(visited, after, strict=True))
        for check in _transitions(subject, ledger.strict, run, stepping, table, path):
            ledger.put(check)
    ledger.judge(
        "loop/replay",
        bool((run.result == run.again).all()),
        "the same seed gives the same pictures",
        "the same seed gives other pictures",
    )
    if run.apart is not None:
        own = bool((run.apart[0] == run.apart[1]).all())
        ledger.judge("loop/generators", own == loop.own_streams,
                     "one generator for each image: as looked for",
                     "with one generator for each image, an image depends on its batch-mates",
                     catches="mistake 106")  # fmt: skip


def _visited(
    ledger: Ledger, run: Run, oracle: Oracle, setting: Setting, table: Tensor
) -> tuple[bool, list[int], list[int]]:
    """Whether the model was told right, the steps that it stands at, and the step after each."""
    n, T = len(run.t), setting.num_train_timesteps
    told = [int(t) for t in run.t]
    full = n >= T - 1
    spacings = ("leading",) if full else ("leading", "trailing", "linspace")
    lists = {}
    for spacing in spacings:
        exact, unit = oracle.timesteps(replace(setting, timestep_spacing=spacing), T if full else n)
        lists[spacing] = (exact.to(F64) / unit).round().long().tolist()
    expected = {}
    for spacing, listed in lists.items():
        chosen = [t for t in listed if t >= oracle.loop.stops_at]
        chosen = chosen if oracle.loop.falls else chosen[::-1]
        expected[spacing] = list(range(n)) if oracle.loop.tells == "index" else chosen
    base = int(min(told) == 1 and max(told) == T)
    counted = [t - base for t in told]
    found = next((s for s, e in expected.items() if counted == e), None)
    right = next(iter(lists.values()))
    if found is None and not full and oracle.loop == Loop() and _may_visit(counted, table):
        ledger.add("loop/visits", "close", f"the model is asked at {_ends(told)}, a list of its "
                   "own (a convention)", measured=float(n))  # fmt: skip
        return True, counted, [*counted[1:], -1]
    ledger.judge("loop/visits", found is not None, f"the model is asked at {_ends(told)}",
                 f"the model is asked at {_ends(told)}, should be {_ends(right)}",
                 measured=float(n), catches="mistakes 78-80")  # fmt: skip
    if base:
        ledger.add("loop/t-base", "note", "the model is told t from 1")
    whole = lists[found or spacings[0]]
    following = dict(zip(whole, [*whole[1:], -1], strict=True))
    chosen = [t for t in whole if t >= oracle.loop.stops_at]
    chosen = chosen if oracle.loop.falls else chosen[::-1]
    return found is not None, chosen, [following[t] for t in chosen]


def _may_visit(listed: list[int], table: Tensor) -> bool:
    """True if a list falls from where nothing is left of the image to near t = 0."""
    stride = -(-len(table) // len(listed))
    starts = listed[0] >= len(table) - stride or float(table[listed[0]].sqrt()) < 0.05
    falls = all(a > b for a, b in pairwise(listed))
    return starts and falls and 0 <= listed[-1] <= stride


def _ends(listed: list[int]) -> str:
    return str(listed) if len(listed) < 6 else f"{listed[0]}, {listed[1]}, ..., {listed[-1]}"


def _start(ledger: Ledger, run: Run, oracle: Oracle) -> None:
    x = run.x[0]
    uniform = oracle.loop.start == "uniform"
    centre, spread = (0.5, 12**-0.5) if uniform else (0.0, 1.0)
    allowed = SIX * x.numel() ** -0.5
    off = max(abs(float(x.mean()) - centre), abs(float(x.std()) - spread))
    ledger.judge("loop/start", off <= allowed, "x_T has the law looked for",
                 f"x_T has mean {float(x.mean()):.3f}, std {float(x.std()):.3f}, should be 0, 1",
                 measured=off, allowed=allowed, reason=TOLERANCES["law"].reason,
                 catches="mistake 63")  # fmt: skip


def _transitions(
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

    def judge() -> list[Check]:
        ledger = Ledger("sampling")
        chosen = _kind(steps, setting)
        _left(ledger, steps, chosen)
        end = level.at(torch.tensor([k - 1]))
        last = oracle.step_mean(run.out[-1:], run.x[-1:], end, chosen)[0]
        if int(following[-1]) < 0 and oracle.loop.falls:
            _pictures(ledger, run, last, float(oracle.sigma(end, chosen)), end, oracle)
        return ledger.checks

    if strict is not None:
        few = steps.few()
        _left(Ledger("sampling", strict), few, _kind(few, setting))
    found: list[Check] = subject.remember(("loop", oracle, path), judge)
    return found


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
    _fresh(ledger, z, out, oracle)
    # Where another law of z is looked for, z may depend on x_t; unless z is as it should be.
    right = Ledger("sampling")
    _fresh(right, z, out, Oracle())
    if all(c.passed for c in right.checks):
        _apart_from_x(ledger, z, x, steps.share(chosen)[loud])


def _clear(run: Run, following: Tensor) -> Tensor:
    """The calls from which a step goes on, and where x is not so large that rounding hides z."""
    size = run.x.abs().amax(dim=(1, 2, 3, 4)).nan_to_num(torch.inf)
    return ((following[:-1] >= 0) & (size[:-1] < 100) & (size[1:] < 100)).nonzero().flatten()


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
    silent = replace(setting, eta=0.0)
    rest, _ = steps.left(silent)
    if steps.is_silent(rest, torch.ones(len(rest), dtype=torch.bool)):
        return silent
    kinds = [replace(setting, variance_type=name) for name in ("fixed_small", "fixed_large")]
    drawn = steps.oracle.draw((64, *SHAPE[1:]), torch.Generator().manual_seed(0), torch.float32)
    few = steps.few()
    off = [float((few.spreads(kind) - drawn.std().log()).abs().mean()) for kind in kinds]
    best = kinds[off.index(min(off))]
    if min(off) < 0.05 or steps.oracle != replace(Oracle(), loop=steps.oracle.loop):
        return best
    between = replace(setting, eta=_eta(steps, setting))
    rest, size = steps.left(between)
    z, output = rest / size, steps.run.out[steps.calls]
    # A chain that is only too quiet leaves part of its mean: some of the model's output.
    mixed = abs(float((z * output).mean() / (z.std() * output.std())))
    spread = float((z.flatten(1).std(dim=1) - 1).abs().max())
    fits = mixed < SIX * z.numel() ** -0.5 and spread < of_a_step(z[0].numel())
    return between if fits else best


def _eta(steps: _Steps, setting: Setting) -> float:
    """The eta in (0, 1) of DDIM whose steps leave noise of std 1, by bisection."""
    low, high = 0.01, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        if float(steps.few().spreads(replace(setting, eta=middle)).mean()) > 0:
            low = middle
        else:
            high = middle
    return round((low + high) / 2, 3)


def of_a_step(pixels: int) -> float:
    """What is allowed of a mean or a std of so many z: 1,000 steps are looked at together."""
    return normal_bound(RATE / 1000) * pixels**-0.5


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
    for name in ("distance to N(0, 1)", "correlation of images", "correlation of calls"):
        bound = factor * (3.3 if "distance" in name else SIX) * pixels**-0.5
        aim = 0.0 if right else model[name]
        aim = 1.0 if name == "correlation of calls" and oracle.loop.reseeds else aim
        gap = abs(pair[name] - aim)
        ledger.add(f"loop/{name.replace(' ', '-')}", "close" if gap <= bound else "differs",
                   f"{name} of the steps' z is {pair[name]:.3f}", measured=gap, allowed=bound,
                   reason=TOLERANCES["law"].reason, catches="mistakes 61-63")  # fmt: skip


def _apart_from_x(ledger: Ledger, z: Tensor, x: Tensor, share: Tensor) -> None:
    """(calls, b, c, h, w): z along x_t less its mean is N(0, 1), and so is the sum over its root.

    A coefficient that is off by a little leaves some of x_t in every step, too little for its std.
    """
    x = x.to(F64).flatten(1)
    x = x - x.mean(dim=1, keepdim=True)
    k, pixels = x.shape
    along = (z.flatten(1) * x).sum(1) / x.norm(dim=1)
    bounds = normal_bound(RATE / (2 * k)) + share * pixels**0.5
    i = int((along.abs() / bounds).argmax())
    summed = float(along.sum().abs()) * k**-0.5
    allowed = normal_bound(RATE / 2) + float(share.sum()) * (pixels / k) ** 0.5
    apart = summed <= allowed and bool((along.abs() <= bounds).all())
    ledger.add("loop/steps-x", "close" if apart else "differs",
               "what is left after the mean does not depend on x_t" if apart else
               f"some of x_t is left after the mean, most of all in step {i + 1}: a coefficient of "
               "the step is off", measured=summed, allowed=allowed,
               reason=TOLERANCES["law"].reason, catches="mistakes 37-48")  # fmt: skip


def _pictures(
    ledger: Ledger, run: Run, last: Tensor, sigma: float, end: Level, oracle: Oracle
) -> None:
    """The result against the last step: as it is, clamped, in [0, 1], or as bytes."""
    got = run.result.to(F64)
    if sigma > 0:  # noise is looked for
        spreads = [float((got - last).std()), float((2 * got - 1 - last).std())]
        off = min(abs(spread / sigma - 1) for spread in spreads)
        ledger.add("loop/pictures", "close" if off <= of_a_step(last.numel()) else "differs",
                   f"the result is {min(spreads):.3g} away from the last step's mean, should be "
                   f"{sigma:.3g}", measured=off, allowed=of_a_step(last.numel()))  # fmt: skip
        return
    grey = (last + 1) * 127.5
    if run.result.dtype == torch.uint8:
        clamped = grey.clamp(0, 255)
        made = {"round": clamped.round(), "floor": clamped.floor(), "wrap": grey.round() % 256}
        if run.far is not None:
            white, black = run.far[..., :4].float().mean(), run.far[..., 4:].float().mean()
            wraps = not (float(white) > 250 and float(black) < 5)
            ledger.judge("loop/clamp", wraps == (oracle.loop.codec == "wrap"),
                         "values outside [-1, 1] become white and black",
                         f"brighter than white becomes {float(white):.0f}, darker than black "
                         f"{float(black):.0f}", catches="mistake 69")  # fmt: skip
        off = float(((got - made[oracle.loop.codec]).abs() > 0.5).double().mean())
        ledger.judge("loop/pictures", off < 0.01, "the bytes are those of the last step",
                     f"{off:.0%} of the bytes are not (x + 1) * 127.5, rounded and clamped",
                     measured=off, allowed=0.01, reason="ties and float32 rounding",
                     catches="mistake 69")  # fmt: skip
        return
    unit = (last + 1) / 2
    forms = {"as it is": last, "clamped": last.clamp(-1, 1), "in [0, 1]": unit.clamp(0, 1),
             "in [0, 1], not clamped": unit}  # fmt: skip
    away = {name: float((got - value).abs().max()) for name, value in forms.items()}
    best = min(away, key=lambda name: away[name])
    # beta and 1 - alpha-bar may be rounded each by itself
    allowed = 1e-4 + float(rounding(last.abs().max()) / (1 - end.alpha_bar).min())
    ledger.judge("loop/pictures", away[best] < allowed, f"the result is the last step, {best}",
                 f"the result is {away[best]:.3g} away from the last step's mean: noise or a step "
                 "at the end", measured=away[best], allowed=allowed,
                 reason="float32 rounding of one step", catches="mistakes 56, 69, 79")  # fmt: skip
