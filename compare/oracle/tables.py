"""The tables that programs derive from betas beforehand, each by the name that much code gives it.

A formula is told everything by `Steps`, at t = 0..T-1 at once. Sources: Ho et al. eq. 4, 7, 11, 15.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

import torch
from torch import Tensor

LEAST = 1e-20  # what a variance of 0 is replaced by before its logarithm is taken


@dataclass(frozen=True)
class Steps:
    """What a derived table is made of, each (T,) float64.

    Attributes:
        beta, alpha_bar: beta_t and alpha-bar_t for t = 0..T-1.
        tables: {name: formula}; the tables below that others are made of are computed by these,
        own: unless they are given here, {name: (T,)}.
    """

    beta: Tensor
    alpha_bar: Tensor
    tables: Mapping[str, "Formula"]
    own: Mapping[str, Tensor] = field(default_factory=dict)

    @cached_property
    def alpha(self) -> Tensor:
        """(T,) alpha_t."""
        return self.read("alphas")

    @cached_property
    def alpha_bar_prev(self) -> Tensor:
        """(T,) alpha-bar of the step before."""
        return self.read("alphas_cumprod_prev")

    @cached_property
    def variance(self) -> Tensor:
        """(T,) beta-tilde_t."""
        return self.read("posterior_variance")

    def read(self, name: str) -> Tensor:
        """(T,) a table by its name: the one that is given, else by its formula."""
        return self.own[name] if name in self.own else self.tables[name](self)


Formula = Callable[[Steps], Tensor]


def betas(at: Steps) -> Tensor:
    """beta_t = 1 - alpha_t: Ho et al. eq. 2."""
    return at.beta


def alphas(at: Steps) -> Tensor:
    """alpha_t = 1 - beta_t: Ho et al., below eq. 3."""
    return 1 - at.beta


def alphas_cumprod(at: Steps) -> Tensor:
    """alpha_bar_t, the product of alpha_s for s = 0..t: Ho et al., below eq. 3."""
    return at.alpha_bar


def alphas_cumprod_prev(at: Steps) -> Tensor:
    """alpha_bar_{t-1}: 1 and then alpha_bar without its last entry: Ho et al. eq. 7."""
    return torch.cat([torch.ones_like(at.alpha_bar[:1]), at.alpha_bar[:-1]])


def alphas_cumprod_next(at: Steps) -> Tensor:
    """alpha_bar_{t+1}: alpha_bar without its first entry and then 0: DDIM run upwards."""
    return torch.cat([at.alpha_bar[1:], torch.zeros_like(at.alpha_bar[:1])])


def one_minus_alphas_cumprod(at: Steps) -> Tensor:
    """1 - alpha_bar_t: Ho et al. eq. 4."""
    return 1 - at.alpha_bar


def sqrt_alphas(at: Steps) -> Tensor:
    """sqrt(alpha_t): Ho et al. eq. 2."""
    return at.alpha.sqrt()


def sqrt_betas(at: Steps) -> Tensor:
    """sqrt(beta_t): Ho et al. section 3.2."""
    return at.beta.sqrt()


def sqrt_alphas_cumprod(at: Steps) -> Tensor:
    """sqrt(alpha_bar_t): Ho et al. eq. 4."""
    return at.alpha_bar.sqrt()


def sqrt_one_minus_alphas_cumprod(at: Steps) -> Tensor:
    """sqrt(1 - alpha_bar_t): Ho et al. eq. 4."""
    return (1 - at.alpha_bar).sqrt()


def log_one_minus_alphas_cumprod(at: Steps) -> Tensor:
    """log(1 - alpha_bar_t): of the variance in Ho et al. eq. 4."""
    return (1 - at.alpha_bar).log()


def sqrt_recip_alphas(at: Steps) -> Tensor:
    """1 / sqrt(alpha_t): Ho et al. eq. 11."""
    return at.alpha.rsqrt()


def noise_coef(at: Steps) -> Tensor:
    """beta_t / sqrt(1 - alpha_bar_t): Ho et al. eq. 11."""
    return at.beta / (1 - at.alpha_bar).sqrt()


def sqrt_recip_alphas_cumprod(at: Steps) -> Tensor:
    """1 / sqrt(alpha_bar_t): Ho et al. eq. 15."""
    return at.alpha_bar.rsqrt()


def sqrt_recipm1_alphas_cumprod(at: Steps) -> Tensor:
    """sqrt(1 / alpha_bar_t - 1): Ho et al. eq. 15."""
    return ((1 - at.alpha_bar) / at.alpha_bar).sqrt()


def posterior_variance(at: Steps) -> Tensor:
    """beta-tilde_t = (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t) beta_t: Ho et al. eq. 7."""
    return (1 - at.alpha_bar_prev) / (1 - at.alpha_bar) * at.beta


def posterior_log_variance_clipped(at: Steps) -> Tensor:
    """log(max(beta-tilde_t, 1e-20)): beta-tilde is 0 at t = 0: Ho et al. eq. 7."""
    return at.variance.clamp(min=LEAST).log()


def posterior_mean_coef1(at: Steps) -> Tensor:
    """sqrt(alpha_bar_{t-1}) beta_t / (1 - alpha_bar_t), of x_0: Ho et al. eq. 7."""
    return at.alpha_bar_prev.sqrt() * at.beta / (1 - at.alpha_bar)


def posterior_mean_coef2(at: Steps) -> Tensor:
    """sqrt(alpha_t) (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t), of x_t: Ho et al. eq. 7."""
    return at.alpha.sqrt() * (1 - at.alpha_bar_prev) / (1 - at.alpha_bar)


# In the order in which one is made of another.
TABLES: Mapping[str, Formula] = MappingProxyType(
    {
        formula.__name__: formula
        for formula in (
            alphas_cumprod,
            betas,
            alphas,
            alphas_cumprod_prev,
            alphas_cumprod_next,
            one_minus_alphas_cumprod,
            sqrt_alphas,
            sqrt_betas,
            sqrt_alphas_cumprod,
            sqrt_one_minus_alphas_cumprod,
            log_one_minus_alphas_cumprod,
            sqrt_recip_alphas,
            noise_coef,
            sqrt_recip_alphas_cumprod,
            sqrt_recipm1_alphas_cumprod,
            posterior_variance,
            posterior_log_variance_clipped,
            posterior_mean_coef1,
            posterior_mean_coef2,
        )
    }
)
