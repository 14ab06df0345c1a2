"""The steps of a candidate's own loop, as its model saw them, and which kind of step they are."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from compare.candidate.load import Broken
from compare.candidate.loop.look import Run
from compare.candidate.replay import Drawn
from compare.measure import law as laws
from compare.measure.step import mean_bound, rounding
from compare.measure.tolerances import HALF_UNIT, NOTHING_LEFT, RATE, propagated
from compare.oracle import F64, STEP, Level, Loop, Oracle, Setting
from compare.oracle.samplers import Sampler, free, noisy, silent

HUGE = 100.0  # of x, which float32 rounds by 6e-6 there: 1/1000 of the sigma of beta = 4e-5
SAME_WHOLE = 1e-6  # of a number that rounding puts on the other side of a whole one
OVERFLOWS = 1e30  # a step from here may pass the largest float32, 3e38
AS_LOUD = 0.05  # as noise, in logarithms of std: far above the law of a few thousand draws
CLEARLY = 0.1  # of what another kind of step leaves: a fit to rounding alone is not so much better
Size = Callable[[Tensor], Tensor]
Path = tuple[list[int], list[int]]  # the steps at which a loop stands, and the step after each


@dataclass(frozen=True)
class Visited:
    """Where a loop stands when it asks its model.

    Attributes:
        at, after: (calls,) the steps, and the step after each, -1 after the last.
        fits: the model was told these.
        own: they are a list of the loop's own.
        should: what the model should have been told.
    """

    at: list[int]
    after: list[int]
    fits: bool
    own: bool
    should: list[int]


def visits(run: Run, oracle: Oracle, setting: Setting, table: Tensor) -> Visited:
    """The steps of a loop, by what it told its model, as far as this oracle knows of such a list.

    `table` (T,) are its alpha-bars.

    Raises:
        Broken: it tells its model what is no number.
    """
    n, T, loop = len(run.t), setting.num_train_timesteps, oracle.loop
    strange = run.t[~run.t.isfinite()]
    if len(strange):
        raise Broken(f"sample tells its model t = {float(strange[0])}", raised=False)
    said = [int(t) for t in run.t.tolist()]
    base = 0 if run.told.listed else run.loop.subject.t_base or int(max(said) == T)
    counted = [t - base for t in said]
    full = n >= T - 1
    paths = _paths(setting, oracle, n, full)
    fitting = next((s for s, (at, _) in paths.items() if counted == at), None)
    if loop.tells == "index":
        places = [*range(n)]
        told = counted == places or (counted == places[::-1] and not full)
        # A full chain that runs up tells the same: its steps are others, where they are seen.
        fitting = "leading" if told and (not full or run.drawn is not None) else None
    should = next(iter(paths.values()))[0]
    if fitting is None and not full and loop == Loop() and _may_visit(counted, table):
        return Visited(counted, [*counted[1:], -1], True, True, should)
    return Visited(*paths[fitting or "leading"], fitting is not None, False, should)


def _paths(setting: Setting, oracle: Oracle, n: int, full: bool) -> dict[str, Path]:
    """The chains of n steps that an oracle's loop may take, by spacing."""
    loop = oracle.loop
    count = setting.num_train_timesteps if full else n + (loop.stops_at > 0)
    paths: dict[str, Path] = {}
    for spacing in ("leading",) if full else ("leading", "trailing", "linspace"):
        exact, unit = oracle.timesteps(replace(setting, timestep_spacing=spacing), count)
        listed = (exact.to(F64) / unit).round().long().tolist()
        visited, after = listed, [*listed[1:], -1]
        if loop.stops_at:
            visited, after = visited[:-1], after[:-1]
        paths[spacing] = (visited, after) if loop.falls else (visited[::-1], after[::-1])
    return paths


def _may_visit(listed: list[int], table: Tensor) -> bool:
    """True if a list falls from where nothing is left of the image to near t = 0, or is the
    quadratic one of DDIM's code, which begins at 0.8 T.

    Neighbours alone that end above 0 are no list: it is a chain that ends early. One that is dense
    at its end, such as a quadratic one, may be rounded to one number more than once there, where no
    step is longer than 1: from it to itself a step is to stay where it is.
    """
    stride = -(-len(table) // len(listed))
    starts = listed[0] >= len(table) - stride or float(table[listed[0]].sqrt()) < NOTHING_LEFT
    steps = [a - b for a, b in pairwise(listed)]
    if {*steps} == {1} and listed[-1] > 0:
        return False
    dense = steps[steps.index(0) :] if 0 in steps else []
    falls = min(steps, default=1) >= 0 and max(dense, default=0) <= 1
    starts = starts or _is_quadratic(listed, len(table))
    return starts and falls and 0 <= listed[-1] <= stride


def _is_quadratic(listed: list[int], T: int) -> bool:
    """True for the whole parts of squares of evenly spaced numbers from 0 to sqrt(0.8 T), in turn:
    Song et al. (DDIM) appendix D.2, with the share of their code."""
    squares = torch.linspace(0, (0.8 * T) ** 0.5, len(listed), dtype=F64).flip(0).square()
    cut = squares - torch.tensor(listed, dtype=F64)
    return len(listed) > 2 and bool(((cut > -SAME_WHOLE) & (cut < 1 + SAME_WHOLE)).all())


def of_mix(run: Run, oracle: Oracle, out: Tensor, at: Level, chosen: Setting) -> Tensor:
    """How far a step may be off as its output is mixed of several, each rounded by itself."""
    plain = chosen.unlimited
    return (run.rough - 1) * rounding(oracle.step_mean(out, torch.zeros_like(out), at, plain))


def grain(x: Tensor) -> float:
    """How far, of its size, what was rounded to x may be from it: half the spacing of the coarsest
    half precision that has every number of x; 0 where none has."""
    parts = (x.flatten()[-64:], x)  # all of float32 end at the first
    having = (
        unit
        for to, unit in HALF_UNIT.items()
        if all(torch.equal(part, part.to(to).to(part)) for part in parts)
    )
    return max(having, default=0.0)


def largest(values: Tensor) -> Tensor:
    """(calls, b, c, h, w) -> (calls, 1, 1, 1, 1) the largest size of a call's values."""
    return values.abs().amax(dim=(1, 2, 3, 4), keepdim=True).to(F64)


def root_mean_square(values: Tensor) -> Tensor:
    """(calls, b, c, h, w) -> (calls, 1, 1, 1, 1) how large a call's values are on average."""
    return values.to(F64).square().mean(dim=(1, 2, 3, 4), keepdim=True).sqrt()


def _std(values: Tensor) -> Tensor:
    """(calls, ...) -> (calls,) that of a call's values; `Tensor.std` takes far longer."""
    flat = values.flatten(1)
    n, mean = flat.shape[1], flat.mean(dim=1)
    return ((flat.square().mean(dim=1) - mean.square()).clamp(min=0) * n / (n - 1)).sqrt()


@dataclass(frozen=True)
class Steps:
    """The steps of a loop from each of some calls to the next.

    Attributes:
        level: (calls, 1, 1, 1, 1) of every call.
        following: (calls,) the step after each, -1 after the last.
        calls: (k,) from which a step is looked at.
    """

    run: Run
    oracle: Oracle
    level: Level
    following: Tensor
    calls: Tensor

    def few(self, most: int = 24) -> "Steps":
        """At `most` of the calls, and at the last, where the two variances differ most."""
        calls = torch.cat([self.calls[:: 1 + len(self.calls) // most], self.calls[-4:]])
        return replace(self, calls=calls.unique())

    def at(self, chosen: Setting) -> Level:
        """(k, 1, 1, 1, 1) of the calls that are looked at, for a step of this kind."""
        at, earlier = self.level.at(self.calls), (self.calls - 1).clamp(min=0)
        before = torch.where(self.calls > 0, self.level.t.flatten()[earlier], -1)
        before = before.reshape(at.t.shape)
        return self.oracle.place(at.table, at.t, at.prev, before, chosen)

    def kept(self, chosen: Setting, of: Size = lambda values: values) -> Any:
        """What a step of this kind was told of the one before; `of` what that was given."""
        earlier, run = (self.calls - 1).clamp(min=0), self.run
        return self.oracle.kept(-of(-run.out[earlier]), of(run.x[earlier]), self.at(chosen), chosen)

    def left(self, chosen: Setting) -> tuple[Tensor, Tensor]:
        """What a step of this kind leaves after its mean, and the std that it should have."""
        at, run, kept = self.at(chosen), self.run, self.kept(chosen)
        mean = self.oracle.step_mean(
            run.out[self.calls], run.x[self.calls], at, chosen, memory=kept
        )
        return run.x[self.calls + 1] - mean, self.oracle.sigma(at, chosen)

    def ends(self, chosen: Setting) -> tuple[Tensor, Tensor]:
        """(calls, b, c, h, w) where each step ends, and where its mean and the noise put it."""
        assert self.run.z is not None
        rest, size = self.left(chosen)
        end = self.run.x[self.calls + 1]
        return end, end - rest + size * self.run.z[self.calls]

    def off(self, chosen: Setting) -> Tensor:
        """(calls,) how far each step ends from where its mean and the noise that it drew put it."""
        end, right = self.ends(chosen)
        return (end - right).flatten(1).abs().amax(dim=1)

    def bound(self, chosen: Setting, of: Size, z: Tensor) -> Tensor:
        """(calls,) how far float32 may move a step's pixels, by the size `of` all that it reads.

        `z` (calls, ...) is the noise that it adds, in units of sigma.
        """
        oracle, run, calls = self.oracle, self.run, self.calls
        at, kept = self.at(chosen), self.kept(chosen, of)
        x, out, ends, noise = (of(v) for v in (run.x[calls], run.out[calls], run.x[calls + 1], z))
        size = oracle.sigma(at, chosen)
        bound = mean_bound(oracle, -out, x, None, at, chosen, kept) + rounding(ends, noise * size)
        bound = bound + of_mix(run, oracle, out, at, chosen)
        return (bound + noise * propagated(lambda v: oracle.sigma(v, chosen), at, size)).flatten()

    def is_silent(self, rest: Tensor, calls: Tensor, chosen: Setting) -> bool:
        """True if nothing is left at these calls, up to rounding."""
        nothing = torch.zeros_like(rest)
        off = rest.flatten(1).abs().amax(dim=1)
        allowed = self.bound(chosen, largest, nothing) + self._unseen(chosen)
        return bool((off <= allowed)[calls].all())

    def _unseen(self, chosen: Setting) -> Tensor:
        """(calls,) how far a step may end from where it is seen to, as the model is given less."""
        x, at = self.run.x, self.level.at(self.calls)
        before, after = (largest(x[self.calls + i]) for i in (0, 1))
        mean = self.oracle.step_mean(torch.zeros_like(before), before, at, chosen.unlimited)
        return (grain(x) * (mean.abs() + after)).flatten()

    def share(self, chosen: Setting) -> Tensor:
        """(calls,) how much of sigma float32 may add to what is left, on average."""
        one = torch.ones_like(self.run.x[self.calls])
        sigma = self.oracle.sigma(self.level.at(self.calls), chosen).flatten()
        return self.bound(chosen, root_mean_square, one) / sigma

    def spreads(self, chosen: Setting) -> Tensor:
        """(calls,) the std of what is left over what it should be, in logarithms."""
        rest, size = self.left(chosen)
        return (_std(rest) / size.flatten().clamp(min=1e-12)).log()


def steps_of(
    run: Run, oracle: Oracle, setting: Setting, table: Tensor, visited: Visited
) -> Steps | None:
    """The steps of a loop that go on, as long as nothing overflows; None if none can be judged.

    A model that is told another t answers for it, and a clip may act: none does in a full chain
    whose steps are sums.
    """
    k, loop = len(run.t), oracle.loop
    known = run.mix is None or (run.mix.readable and not run.mix.varies)
    plain = loop.tells == "t" or (run.drawn is not None and k >= len(table) - 1)
    if not (visited.fits and plain and k > 1 and known):
        return None
    stepping = oracle.only(*STEP, "loop").of_steps()
    t, following = (torch.tensor(part[:k]) for part in (visited.at, visited.after))
    prev = stepping.previous(following, t, k, setting)
    level = stepping.level(table, t, prev, setting).map(lambda v: v.reshape(-1, 1, 1, 1, 1))
    return Steps(run, stepping, level, following, _below(OVERFLOWS, run, following))


def clear(steps: Steps) -> Steps:
    """Those where x is not so large that rounding hides z."""
    return replace(steps, calls=_below(HUGE, steps.run, steps.following))


def _below(most: float, run: Run, following: Tensor) -> Tensor:
    """The calls from which a step goes on, and where x is smaller than `most` before and after."""
    small = run.size < most
    return ((following[:-1] >= 0) & small[:-1] & small[1:]).nonzero().flatten()


def kind_of_step(steps: Steps, setting: Setting) -> Setting:
    """The kind of step that fits best: which variance, or which share of noise, is a convention."""
    few = steps.few()
    nearest = kind_that_ends(few, setting)
    if nearest is not None:
        return nearest
    for still in silent(setting):
        if all(_adds_nothing(some, still) for some in (few, steps)):
            return still
    kinds = noisy(setting)
    if few.run.drawn is not None and len(few.calls):
        shares = [_by_share(few, few.run.drawn, setting, sampler) for sampler in free(setting)]
        off = [float(few.off(kind).nan_to_num(torch.inf).median()) for kind in (*kinds, *shares)]
        best = off.index(min(off))
        # At its loudest DDIM's step is that of fixed_small, but for what a mistake does to one.
        if best >= len(kinds) and off[best] < CLEARLY * min(off[: len(kinds)]):
            return shares[best - len(kinds)]
        return kinds[int(off[1] < off[0])]
    drawn = steps.oracle.draw(
        (64, *steps.run.x.shape[2:]), torch.Generator().manual_seed(0), torch.float32
    )
    off = [float((few.spreads(kind) - drawn.std().log()).abs().mean()) for kind in kinds]
    best_kind = kinds[off.index(min(off))]
    if min(off) < _spread_allowed(few, best_kind) or steps.oracle != replace(
        Oracle(), loop=steps.oracle.loop
    ):
        return best_kind
    between = (_by_spread(few, setting, sampler) for sampler in free(setting))
    return next((kind for kind in between if _fits(few, kind)), best_kind)


def kind_that_ends(steps: Steps, setting: Setting) -> Setting | None:
    """Of steps that are no sums, but whose noise is known, the kind that ends nearest to where they
    do, x0-hat limited or not: a limit that never acts where x0-hat is right hides by how much it is
    wrong. None where steps are sums but for a few pixels, what the model was given is rounded to
    few digits, or a loop of which no noise was seen leaves as much as noise would be."""
    few = steps.few()
    if few.run.noise is None or few.run.drawn is not None or not len(few.calls):
        return None
    if grain(few.run.x):
        return None
    loud = noisy(setting)
    off_loud = (float(few.spreads(kind).abs().mean()) for kind in loud)
    if not bool(few.run.noise.any()) and min(off_loud) < AS_LOUD:
        return None
    kinds = [*loud, *silent(setting)]
    every = [replace(kind, clip_sample=clips) for kind in kinds for clips in (True, False)]
    off = [float(few.off(kind).nan_to_num(torch.inf).median()) for kind in every]
    return every[off.index(min(off))]


def end_right(steps: Steps, setting: Setting) -> bool:
    """True if some of the steps end, up to rounding, where their mean and the noise that they drew
    put them; False where that noise is not known."""
    few = steps.few()
    if few.run.drawn is None:
        return False
    chosen = kind_of_step(few, setting)
    allowed = few.bound(chosen, largest, few.run.drawn.z[few.calls])
    return bool((few.off(chosen) <= allowed).all())


def _adds_nothing(steps: Steps, still: Setting) -> bool:
    rest, _ = steps.left(still)
    return steps.is_silent(rest, torch.ones(len(rest), dtype=torch.bool), still)


def _spread_allowed(few: Steps, kind: Setting) -> float:
    """Allowed of the mean |log std| of k steps, each of variance 1 / 2n (Fisher 1925).

    Bounded is their root mean square, which is no less, by chi-square; float32's share is added.
    """
    k, n = len(few.calls), few.run.x[0].numel()
    share = float(few.share(kind).square().mean().sqrt())
    return (laws.chi_square_bounds(k, RATE)[1] / (2 * n)) ** 0.5 + share


def _louder(sampler: Sampler, setting: Setting, share: float) -> Setting:
    chosen = sampler.louder(setting, share)
    assert chosen is not None
    return chosen


def _by_share(steps: Steps, drawn: Drawn, setting: Setting, sampler: Sampler) -> Setting:
    """Of a free sampler the setting with the noise that the steps add, whatever their means."""
    loudest = _louder(sampler, setting, 1.0)
    size = steps.oracle.sigma(steps.level.at(drawn.some), loudest).flatten()
    share = float((drawn.weights[:, 2] / size)[size > 0].median())
    return _louder(sampler, setting, share)


def _by_spread(few: Steps, setting: Setting, sampler: Sampler) -> Setting:
    """Of a free sampler the setting whose steps leave noise of std 1, by bisection."""
    low, high = 0.01, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        if float(few.spreads(_louder(sampler, setting, middle)).mean()) > 0:
            low = middle
        else:
            high = middle
    return _louder(sampler, setting, round((low + high) / 2, 3))


def _fits(few: Steps, kind: Setting) -> bool:
    """True if what is left is of std 1 and none of it is the model's output.

    A chain that is only too quiet leaves part of its mean: some of the model's output.
    """
    rest, size = few.left(kind)
    z, output = rest / size, few.run.out[few.calls]
    mixed = abs(float((z * output).mean() / (z.std() * output.std())))
    spread = float((_std(z) - 1).abs().max())
    alike = mixed < laws.of_cosine(z.numel(), RATE)
    return alike and spread < laws.of_std(z[0].numel(), RATE / len(z))
