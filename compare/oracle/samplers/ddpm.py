"""DDPM: a step to the posterior mean, and noise of a fixed or a learned variance."""

from dataclasses import replace

from torch import Tensor

from compare.oracle.samplers.sampler import Changes, Formulas, Inputs, Sampler, Term
from compare.oracle.setting import Setting
from compare.oracle.step import LEARNED, Level

FIXED = ("fixed_small", "fixed_large")
NAMED = ("learned_range", "learned")  # by Diffusers, of those that a model says
WORDS = {
    "learned_range": "learned, a v of -1 to 1 from beta-tilde to beta",
    "learned_unit": "learned, a v of 0 to 1 from beta-tilde to beta",
    "learned": "learned, the logarithm of the variance",
}
SMALLEST_ALPHA = 1e-4  # of a cosine whose betas are cut at 0.9999; the usual cut is 0.999
VARIANCES = ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log")


def mean(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """The posterior mean: Ho et al. eq. 7, for any pair of steps."""
    ab, prev = level.alpha_bar, level.alpha_bar_prev
    alpha, noise = ab / prev, 1 - ab
    return prev.sqrt() * (1 - alpha) / noise * x_0 + alpha.sqrt() * (1 - prev) / noise * x_t


class DDPM(Sampler):
    """Ho et al. algorithm 2."""

    name, backend = "ddpm", "DDPMScheduler"
    source, learns = "Ho et al. section 3.2", True
    clip_shows = ("shown", "reach", "kink", "flat")

    def words(self, setting: Setting) -> str:
        return WORDS.get(setting.variance_type, setting.variance_type)

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
        """beta and 1 - alpha-bar may be rounded each by itself; and of sqrt(1 - beta), by which all
        may be divided, a rounding of beta is a large part where nearly nothing is left of it."""
        left = (level.alpha_bar / level.alpha_bar_prev).clamp(min=SMALLEST_ALPHA)
        return 1 / (1 - level.alpha_bar) + (1 / left - 1) / 2

    def moved(
        self, f: Formulas, x_0: Tensor | None, eps: Tensor, level: Level, setting: Setting
    ) -> Tensor | float:
        return 0.0 if x_0 is None else f.mean(x_0, 0 * x_0, level).abs()

    def sizes(self, base: Setting) -> dict[str, Changes]:
        kinds = dict.fromkeys((base.variance_type, *VARIANCES, *NAMED))
        return {kind: {"variance_type": kind} for kind in kinds}

    def noisy(self, setting: Setting) -> list[Setting]:
        return [replace(setting, sampler=self.name, variance_type=kind) for kind in FIXED]

    def roots(self, setting: Setting, named: bool) -> tuple[tuple[float, str], ...]:
        kinds = sorted(FIXED, key=lambda kind: not setting.variance_type.startswith(kind))
        return tuple((1.0, kind) for kind in kinds[: 1 if named else None])

    def readings(self, setting: Setting) -> list[Setting]:
        if setting.variance_type in LEARNED:
            return []
        kinds = [kind for kind in FIXED if kind != setting.variance_type]
        return [replace(setting, variance_type=kind) for kind in kinds]
