"""DPM-Solver++(2M): DDIM's step to an x0-hat that the one of the step before corrects."""

from dataclasses import replace
from types import MappingProxyType

import torch
from torch import Tensor

from compare.oracle.samplers.sampler import Changes, Formulas, Inputs, Sampler, Term
from compare.oracle.setting import Setting
from compare.oracle.step import Level


def half_log_snr(alpha_bar: Tensor) -> Tensor:
    """lambda = log(sqrt(ab) / sqrt(1 - ab)): Lu et al. 2022, section 2; infinite without noise."""
    return (alpha_bar.log() - (-alpha_bar).log1p()) / 2


def extrapolated(x_0: Tensor, before: Tensor, h: Tensor, h_before: Tensor) -> Tensor:
    """(1 + 1/(2r)) x_0 - 1/(2r) before, r = h_before / h: Lu et al. 2022, algorithm 2."""
    return x_0 + h / (2 * h_before) * (x_0 - before)


def solver_mean(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """sigma_prev/sigma_t x_t - sqrt(ab_prev) (exp(-h) - 1) x_0: Lu et al. 2022, algorithm 2.

    sigma is sqrt(1 - ab), and sqrt(ab_prev) exp(-h) = sqrt(ab) sigma_prev/sigma_t.
    """
    ab, prev = level.alpha_bar, level.alpha_bar_prev
    shrinks = ((1 - prev) / (1 - ab)).sqrt()
    return shrinks * x_t + (prev.sqrt() - ab.sqrt() * shrinks) * x_0


class DPMSolver(Sampler):
    """Lu et al. 2022 (arXiv:2211.01095), algorithm 2: its first step and that to ab_prev = 1, where
    h is infinite, are of first order, which is DDIM."""

    name = "dpm-solver++"
    remembers = True
    right = MappingProxyType(
        {
            "mean": "sigma_prev/sigma_t x_t - sqrt(ab_prev) (exp(-h) - 1) (x0-hat + (x0-hat - that "
            "of the step before) / (2r)), h = lambda_prev - lambda_t, r = h before / h (Lu et al. "
            "2022, algorithm 2)",
        }
    )

    def words(self, setting: Setting) -> str:
        return "DPM-Solver++(2M), without noise"

    def sigma(self, f: Formulas, level: Level, setting: Setting) -> Tensor:
        return torch.zeros_like(level.alpha_bar)

    def mean(self, f: Formulas, at: Inputs) -> Tensor:
        x_0 = self._x_0(f, at) if at.given is None else at.given
        before = torch.zeros_like(x_0) if at.memory is None else self._x_0(f, at.memory)
        return f.solver_mean(self._corrected(f, x_0, before, at.level), at.x_t, at.level)

    def keep(self, f: Formulas, at: Inputs) -> Inputs:
        """What it was given."""
        return replace(at, memory=None)

    def terms(self, f: Formulas, at: Inputs, x_0: Term) -> tuple[Term, ...]:
        zero, kept = torch.zeros_like(at.x_t), at.memory

        def from_x_0(level: Level) -> Tensor:
            return f.solver_mean(self._corrected(f, x_0(level), zero, level), zero, level)

        def from_x_t(level: Level) -> Tensor:
            return f.solver_mean(zero, at.x_t, level)

        def from_before(out: Tensor, x_t: Tensor) -> Term:
            def term(level: Level) -> Tensor:
                before = f.x_0(at.setting.prediction_type, out, x_t, level.before or level)
                return f.solver_mean(self._corrected(f, zero, before, level), zero, level)

            return term

        if kept is None:
            return from_x_0, from_x_t
        parts = from_before(kept.out, 0 * kept.x_t), from_before(0 * kept.out, kept.x_t)
        return from_x_0, from_x_t, *parts

    def moved(
        self, f: Formulas, x_0: Tensor | None, eps: Tensor, level: Level, setting: Setting
    ) -> Tensor | float:
        if x_0 is None:
            return 0.0
        zero = torch.zeros_like(x_0)
        return f.solver_mean(self._corrected(f, x_0, zero, level), zero, level).abs()

    def roughness(self, level: Level) -> Tensor | float:
        """h is a difference of two lambdas, each rounded by itself, and so is h_before."""
        there = half_log_snr(level.alpha_bar)
        others = [half_log_snr(level.alpha_bar_prev)]
        if level.before is not None:
            others.append(half_log_snr(level.before.alpha_bar))
        shares = [(there.abs() + other.abs()) / (there - other).abs() for other in others]
        return sum(share.nan_to_num(0.0, 0.0) for share in shares)

    def sizes(self, base: Setting) -> dict[str, Changes]:
        return {"none": {}}

    def louder(self, setting: Setting, share: float) -> Setting | None:
        return replace(setting, sampler=self.name) if share == 0 else None

    def _x_0(self, f: Formulas, at: Inputs) -> Tensor:
        raw = f.x_0(at.setting.prediction_type, at.out, at.x_t, at.level)
        return f.limit(raw, at.setting)

    def _corrected(self, f: Formulas, x_0: Tensor, before: Tensor, level: Level) -> Tensor:
        """x0-hat of second order where a step before came from elsewhere, and h is finite."""
        if level.before is None:
            return x_0
        there = half_log_snr(level.alpha_bar)
        h = half_log_snr(level.alpha_bar_prev) - there
        h_before = there - half_log_snr(level.before.alpha_bar)
        second = (level.before.t >= 0) & (h_before != 0) & (level.alpha_bar_prev < 1)
        return torch.where(second, f.extrapolated(x_0, before, h, h_before), x_0)
