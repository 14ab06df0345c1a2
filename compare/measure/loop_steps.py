"""The steps of a candidate's own loop, as its model saw them, and which kind of step they are."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compare.candidate.loop_calls import Run
from compare.candidate.replay import Drawn
from compare.measure.noise_law import SIX
from compare.measure.step import mean_bound
from compare.measure.tolerances import of_a_step
from compare.oracle import F64, Level, Oracle, Setting
from compare.oracle.samplers import ALL, Sampler

HUGE = 100.0  # |x| of a chain of images in [-1, 1] stays far below


@dataclass(frozen=True)
class Steps:
    """The steps of a loop from each of some calls to the next."""

    run: Run
    oracle: Oracle
    level: Level
    calls: Tensor

    def few(self) -> "Steps":
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


def clear(run: Run, following: Tensor) -> Tensor:
    """The calls from which a step goes on, and where x is not so large that rounding hides z."""
    size = run.x.abs().amax(dim=(1, 2, 3, 4)).nan_to_num(torch.inf)
    return ((following[:-1] >= 0) & (size[:-1] < HUGE) & (size[1:] < HUGE)).nonzero().flatten()


def finite(run: Run, following: Tensor) -> Tensor:
    """The calls from which a step goes on, as long as nothing overflows."""
    size = run.x.abs().amax(dim=(1, 2, 3, 4)).nan_to_num(torch.inf)
    return ((following[:-1] >= 0) & (size[:-1] < 1e30) & (size[1:] < 1e30)).nonzero().flatten()


def silent(setting: Setting) -> list[Setting]:
    """The settings of every sampler that has one without noise."""
    found = (sampler.louder(setting, 0.0) for sampler in ALL)
    return [setting for setting in found if setting is not None]


def kind_of_step(steps: Steps, setting: Setting) -> Setting:
    """The kind of step that fits best: which variance, or which share of noise, is a convention."""
    few = steps.few()
    for still in silent(setting):
        if all(_adds_nothing(some, still) for some in (few, steps)):
            return still
    small = replace(setting, sampler="ddpm", variance_type="fixed_small")
    kinds = [small, replace(small, variance_type="fixed_large")]
    if few.run.drawn is not None and len(few.calls):
        free = [_by_share(few, few.run.drawn, setting, sampler) for sampler in _free(setting)]
        off = [float(few.off(kind).nan_to_num(torch.inf).median()) for kind in (*kinds, *free)]
        best = off.index(min(off))
        # At its loudest DDIM's step is that of fixed_small, but for what a mistake does to one.
        if best >= len(kinds) and off[best] < 0.1 * min(off[: len(kinds)]):
            return free[best - len(kinds)]
        return kinds[int(off[1] < off[0])]
    drawn = steps.oracle.draw(
        (64, *steps.run.x.shape[2:]), torch.Generator().manual_seed(0), torch.float32
    )
    off = [float((few.spreads(kind) - drawn.std().log()).abs().mean()) for kind in kinds]
    best_kind = kinds[off.index(min(off))]
    if min(off) < 0.05 or steps.oracle != replace(Oracle(), loop=steps.oracle.loop):
        return best_kind
    between = (_by_spread(few, setting, sampler) for sampler in _free(setting))
    return next((kind for kind in between if _fits(few, kind)), best_kind)


def _adds_nothing(steps: Steps, still: Setting) -> bool:
    rest, _ = steps.left(still)
    return steps.is_silent(rest, torch.ones(len(rest), dtype=torch.bool))


def _free(setting: Setting) -> list[Sampler]:
    """The samplers whose noise may have any size."""
    return [sampler for sampler in ALL if sampler.louder(setting, 1.0) is not None]


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
    spread = float((z.flatten(1).std(dim=1) - 1).abs().max())
    return mixed < SIX * z.numel() ** -0.5 and spread < of_a_step(z[0].numel())
