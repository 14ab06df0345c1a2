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


def kind_of_step(steps: Steps, setting: Setting) -> Setting:
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


def _share_of_noise(steps: Steps, drawn: Drawn, setting: Setting) -> float:
    """The eta of DDIM by the noise that the steps add, whatever their means."""
    size = steps.oracle.sigma(steps.level.at(drawn.some), replace(setting, eta=1.0)).flatten()
    return float((drawn.weights[:, 2] / size)[size > 0].median())


def _eta(few: Steps, setting: Setting) -> float:
    """The eta in (0, 1) of DDIM whose steps leave noise of std 1, by bisection."""
    low, high = 0.01, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        if float(few.spreads(replace(setting, eta=middle)).mean()) > 0:
            low = middle
        else:
            high = middle
    return round((low + high) / 2, 3)
