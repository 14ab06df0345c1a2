"""DDIM: a step along the predicted noise, with fresh noise of any size up to DDPM's."""

from dataclasses import replace
from types import MappingProxyType

import torch
from torch import Tensor

from compare.oracle.samplers.sampler import Changes, Formulas, Inputs, Sampler, Term
from compare.oracle.setting import Setting
from compare.oracle.step import Level, eps_from_x_0


def ddim_eps(out: Tensor, x_t: Tensor, x_0: Tensor, level: Level, setting: Setting) -> Tensor:
    """The noise that DDIM's direction uses; `x_0` is x0-hat before clipping."""
    if setting.prediction_type == "epsilon":
        return out
    if setting.prediction_type == "v_prediction":
        return level.alpha_bar.sqrt() * out + (1 - level.alpha_bar).sqrt() * x_t
    return eps_from_x_0(x_t, x_0, level)


def ddim_mean(x_0: Tensor, eps: Tensor, level: Level, sigma: Tensor) -> Tensor:
    """sqrt(ab_prev) x_0 + sqrt(1 - ab_prev - sigma^2) eps: Song et al. eq. 12."""
    prev = level.alpha_bar_prev
    return prev.sqrt() * x_0 + (1 - prev - sigma**2).clamp(min=0).sqrt() * eps


def rederived(x_t: Tensor, x_0: Tensor, level: Level) -> Tensor:
    """The noise that belongs to the clipped x0-hat (`use_clipped_model_output`)."""
    return eps_from_x_0(x_t, x_0, level)


class DDIM(Sampler):
    """Song et al. section 4.1."""

    name, backend = "ddim", "DDIMScheduler"
    own = ("eta", "use_clipped_model_output")
    source = "Song et al. eq. 16"
    clip_shows = ("reach", "again", "kink", "shown")
    right = MappingProxyType(
        {
            "mean": "sqrt(ab_prev) x0-hat + sqrt(1-ab_prev - sigma^2) eps (Song et al. eq. 12)",
            "variance": "sigma z with sigma = eta sqrt((1-ab_prev)/(1-ab) beta), z ~ N(0, 1) fresh "
            "(Song et al. eq. 16)",
        }
    )

    def words(self, setting: Setting) -> str:
        return f"DDIM, eta={setting.eta:g}"

    def sigma(self, f: Formulas, level: Level, setting: Setting) -> Tensor:
        """eta sqrt(beta-tilde): Song et al. eq. 16."""
        return setting.eta * f.std("fixed_small", level)

    def mean(self, f: Formulas, at: Inputs) -> Tensor:
        setting, level = at.setting, at.level
        raw = f.x_0(setting.prediction_type, at.out, at.x_t, level)
        x_0 = f.limit(raw, setting) if at.given is None else at.given
        limited = setting.clip_sample or setting.thresholding
        shown = raw if at.given is None or limited else at.given
        eps = f.ddim_eps(at.out, at.x_t, shown, level, setting)
        if setting.use_clipped_model_output and f.rederived is not None:
            eps = f.rederived(at.x_t, x_0, level)
        return f.ddim_mean(x_0, eps, level, self.sigma(f, level, setting))

    def terms(self, f: Formulas, at: Inputs, x_0: Term) -> tuple[Term, ...]:
        zero, setting = torch.zeros_like(at.x_t), at.setting

        def from_x_0(level: Level) -> Tensor:
            return f.ddim_mean(x_0(level), zero, level, self.sigma(f, level, setting))

        def from_x_t(level: Level) -> Tensor:
            eps = f.ddim_eps(at.out, at.x_t, x_0(level), level, setting)
            if setting.use_clipped_model_output and f.rederived is not None:
                eps = f.rederived(at.x_t, f.limit(x_0(level), setting), level)
            return f.ddim_mean(zero, eps, level, self.sigma(f, level, setting))

        return from_x_0, from_x_t

    def cancelling(self, f: Formulas, at: Inputs, x_0: Tensor) -> tuple[Term, ...]:
        """x_t - signal x_0, each by itself."""
        if not at.setting.use_clipped_model_output:
            return ()

        def derived(x: Tensor, x_0: Tensor, level: Level) -> Tensor:
            return 0 * x if f.rederived is None else f.rederived(x, x_0, level)

        zero = torch.zeros_like(at.x_t)
        return lambda level: derived(at.x_t, zero, level), lambda level: derived(zero, x_0, level)

    def moved(
        self, f: Formulas, x_0: Tensor | None, eps: Tensor, level: Level, setting: Setting
    ) -> Tensor | float:
        raw = torch.zeros_like(eps) if x_0 is None else x_0
        return f.ddim_mean(raw, eps, level, self.sigma(f, level, setting)).abs()

    def sizes(self, base: Setting) -> dict[str, Changes]:
        etas = sorted({base.eta, 0.0, 0.5, 1.0}, key=lambda eta: eta != base.eta)
        return {f"eta={eta}": {"eta": eta} for eta in etas}

    def loud(self, base: Setting) -> Changes:
        return {} if base.eta > 0 else {"eta": 1.0}

    def noise_in_mean(self, setting: Setting) -> float:
        return setting.eta

    def means(self, kinds: list[str]) -> dict[str, Changes]:
        found: dict[str, Changes] = {}
        for kind in kinds:
            for eta in (0.5, 1.0):
                found[f"eta={eta}-{kind}"] = {"eta": eta, "prediction_type": kind}
        return found | {"last-alpha-eta=1": {"set_alpha_to_one": False, "eta": 1.0}}

    def limited(self) -> dict[str, Changes]:
        return {
            f"rederived-{clip}-{eta}": {
                "use_clipped_model_output": True,
                "clip_sample": clip,
                "eta": eta,
            }
            for clip, eta in ((True, 0.0), (True, 1.0), (False, 0.5))
        }

    def walked(self) -> dict[str, Changes]:
        return {"clipped-eta=1": {"clip_sample": True, "eta": 1.0}}

    def roots(self, setting: Setting, named: bool) -> tuple[tuple[float, str], ...]:
        return ((setting.eta, "fixed_small"),)

    def louder(self, setting: Setting, share: float) -> Setting:
        return replace(setting, sampler=self.name, eta=share)
