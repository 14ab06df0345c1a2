"""DDIM: a step along the predicted noise, with fresh noise of any size up to DDPM's."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from compare.oracle.samplers.sampler import Changes, Formulas, Term
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


class DDIM:
    """Song et al. section 4.1; see `Sampler` for what each method is."""

    name = "ddim"
    own = ("eta", "use_clipped_model_output")
    clip_shows = ("reach", "again", "shown")

    def readings(self, setting: Setting) -> list[Setting]:
        return []

    def words(self, setting: Setting) -> str:
        return f"DDIM, eta={setting.eta:g}"

    def sigma(self, f: Formulas, level: Level, setting: Setting) -> Tensor:
        """eta sqrt(beta-tilde): Song et al. eq. 16."""
        return setting.eta * f.std("fixed_small", level)

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
        x_0 = f.limit(raw, setting) if given is None else given
        limited = setting.clip_sample or setting.thresholding
        eps = f.ddim_eps(out, x_t, raw if given is None or limited else given, level, setting)
        if setting.use_clipped_model_output and f.rederived is not None:
            eps = f.rederived(x_t, x_0, level)
        return f.ddim_mean(x_0, eps, level, self.sigma(f, level, setting))

    def keep(self, f: Formulas, out: Tensor, x_t: Tensor, level: Level, setting: Setting) -> None:
        return None

    def terms(
        self, f: Formulas, out: Tensor, x_t: Tensor, x_0: Term, setting: Setting
    ) -> tuple[Term, ...]:
        zero = torch.zeros_like(x_t)

        def from_x_0(at: Level) -> Tensor:
            return f.ddim_mean(x_0(at), zero, at, self.sigma(f, at, setting))

        def from_x_t(at: Level) -> Tensor:
            eps = f.ddim_eps(out, x_t, x_0(at), at, setting)
            if setting.use_clipped_model_output and f.rederived is not None:
                eps = f.rederived(x_t, f.limit(x_0(at), setting), at)
            return f.ddim_mean(zero, eps, at, self.sigma(f, at, setting))

        return from_x_0, from_x_t

    def roughness(self, level: Level) -> Tensor | float:
        return 0.0

    def cancelling(
        self, f: Formulas, x_t: Tensor, x_0: Tensor, setting: Setting
    ) -> tuple[Term, ...]:
        """x_t - signal x_0, each by itself."""
        if not setting.use_clipped_model_output:
            return ()

        def derived(x: Tensor, x_0: Tensor, at: Level) -> Tensor:
            return 0 * x if f.rederived is None else f.rederived(x, x_0, at)

        zero = torch.zeros_like(x_t)
        return lambda at: derived(x_t, zero, at), lambda at: derived(zero, x_0, at)

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

    def louder(self, setting: Setting, share: float) -> Setting:
        return replace(setting, sampler=self.name, eta=share)
