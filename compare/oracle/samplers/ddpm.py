"""DDPM: a step to the posterior mean, and noise of a fixed variance."""

from dataclasses import replace

from torch import Tensor

from compare.oracle.samplers.sampler import Changes, Formulas, Inputs, Sampler, Term
from compare.oracle.setting import Setting
from compare.oracle.step import Level

FIXED = ("fixed_small", "fixed_large")
VARIANCES = ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log")


def mean(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """The posterior mean: Ho et al. eq. 7, for any pair of steps."""
    ab, prev = level.alpha_bar, level.alpha_bar_prev
    alpha, noise = ab / prev, 1 - ab
    return prev.sqrt() * (1 - alpha) / noise * x_0 + alpha.sqrt() * (1 - prev) / noise * x_t


class DDPM(Sampler):
    """Ho et al. algorithm 2."""

    name, backend = "ddpm", "DDPMScheduler"
    clip_shows = ("shown", "reach", "kink", "flat")

    def words(self, setting: Setting) -> str:
        return setting.variance_type

    def sigma(self, f: Formulas, level: Level, setting: Setting) -> Tensor:
        return f.std(setting.variance_type, level)

    def mean(self, f: Formulas, at: Inputs) -> Tensor:
        x_0 = at.given
        if x_0 is None:
            raw = f.x_0(at.setting.prediction_type, at.out, at.x_t, at.level)
            x_0 = f.limit(raw, at.setting)
        return f.mean(x_0, at.x_t, at.level)

    def terms(self, f: Formulas, at: Inputs, x_0: Term) -> tuple[Term, ...]:
        zero = 0 * at.x_t
        return lambda lv: f.mean(x_0(lv), zero, lv), lambda lv: f.mean(zero, at.x_t, lv)

    def roughness(self, level: Level) -> Tensor | float:
        """beta and 1 - alpha-bar may be rounded each by itself."""
        return 1 / (1 - level.alpha_bar)

    def moved(
        self, f: Formulas, x_0: Tensor | None, eps: Tensor, level: Level, setting: Setting
    ) -> Tensor | float:
        return 0.0 if x_0 is None else f.mean(x_0, 0 * x_0, level).abs()

    def sizes(self, base: Setting) -> dict[str, Changes]:
        kinds = sorted(VARIANCES, key=lambda kind: kind != base.variance_type)
        return {kind: {"variance_type": kind} for kind in kinds}

    def readings(self, setting: Setting) -> list[Setting]:
        kinds = [kind for kind in FIXED if kind != setting.variance_type]
        return [replace(setting, variance_type=kind) for kind in kinds]
