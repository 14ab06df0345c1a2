"""DDPM: a step to the posterior mean, and noise of a fixed variance."""

from dataclasses import replace
from typing import Any

from torch import Tensor

from compare.oracle.samplers.sampler import Changes, Formulas, Term
from compare.oracle.setting import Setting
from compare.oracle.step import Level

FIXED = ("fixed_small", "fixed_large")
VARIANCES = ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log")


def mean(x_0: Tensor, x_t: Tensor, level: Level) -> Tensor:
    """The posterior mean: Ho et al. eq. 7, for any pair of steps."""
    ab, prev = level.alpha_bar, level.alpha_bar_prev
    alpha = ab / prev
    return prev.sqrt() * (1 - alpha) / (1 - ab) * x_0 + alpha.sqrt() * (1 - prev) / (1 - ab) * x_t


class DDPM:
    """Ho et al. algorithm 2; see `Sampler` for what each method is."""

    name = "ddpm"
    own: tuple[str, ...] = ()
    clip_shows = ("shown", "reach", "kink", "flat")

    def readings(self, setting: Setting) -> list[Setting]:
        kinds = [kind for kind in FIXED if kind != setting.variance_type]
        return [replace(setting, variance_type=kind) for kind in kinds]

    def words(self, setting: Setting) -> str:
        return setting.variance_type

    def sigma(self, f: Formulas, level: Level, setting: Setting) -> Tensor:
        return f.std(setting.variance_type, level)

    def mean(
        self,
        f: Formulas,
        out: Tensor,
        x_t: Tensor,
        level: Level,
        setting: Setting,
        given: Tensor | None = None,
        memory: Any = None,
    ) -> Tensor:
        raw = f.x_0(setting.prediction_type, out, x_t, level)
        return f.mean(f.limit(raw, setting) if given is None else given, x_t, level)

    def keep(self, f: Formulas, out: Tensor, x_t: Tensor, level: Level, setting: Setting) -> None:
        return None

    def terms(
        self, f: Formulas, out: Tensor, x_t: Tensor, x_0: Term, setting: Setting
    ) -> tuple[Term, ...]:
        zero = 0 * x_t
        return lambda at: f.mean(x_0(at), zero, at), lambda at: f.mean(zero, x_t, at)

    def roughness(self, level: Level) -> Tensor | float:
        """beta and 1 - alpha-bar may be rounded each by itself."""
        return 1 / (1 - level.alpha_bar)

    def cancelling(
        self, f: Formulas, x_t: Tensor, x_0: Tensor, setting: Setting
    ) -> tuple[Term, ...]:
        return ()

    def moved(
        self, f: Formulas, x_0: Tensor | None, eps: Tensor, level: Level, setting: Setting
    ) -> Tensor | float:
        return 0.0 if x_0 is None else f.mean(x_0, 0 * x_0, level).abs()

    def sizes(self, base: Setting) -> dict[str, Changes]:
        kinds = sorted(VARIANCES, key=lambda kind: kind != base.variance_type)
        return {kind: {"variance_type": kind} for kind in kinds}

    def loud(self, base: Setting) -> Changes:
        return {}

    def means(self, kinds: list[str]) -> dict[str, Changes]:
        return {}

    def limited(self) -> dict[str, Changes]:
        return {}

    def walked(self) -> dict[str, Changes]:
        return {}

    def louder(self, setting: Setting, share: float) -> None:
        return None
