"""A wrong coefficient in strided chains, in DDIM, and two at once, are told in letters."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from compare.candidate.from_oracle import scheduler
from compare.candidate.subject import Subject
from compare.formulas.naming import name
from compare.oracle import Level, Oracle, Setting
from compare.verdict import conventions
from tests.compare.written import stated
from tests.often import each

Weight = Callable[[Level], Tensor]
SETTINGS = [
    Setting(num_train_timesteps=60, beta_end=0.2),
    Setting(num_train_timesteps=200, beta_schedule="squaredcos_cap_v2"),
    Setting(num_train_timesteps=120, beta_schedule="scaled_linear", beta_end=0.1),
]


def told(oracle: Oracle, stage: str, only: str, setting: Setting) -> dict[str, str]:
    """{coefficient: the formula that it has}."""
    subject = Subject(scheduler(oracle, only), "written", base=setting)
    conventions.read(subject)
    found = name(subject, stage, Oracle())
    return {} if found is None else {what: has for what, has, _ in stated(found.words)}


def before(level: Level) -> Tensor:
    """ab[t - 1], whatever step comes before in the chain."""
    return torch.where(level.t > 0, level.read((level.t - 1).clamp(min=0)), 1.0)


def own_beta(level: Level) -> Tensor:
    """betas[t] of the table."""
    return 1 - level.read(level.t) / before(level)


def beta(level: Level) -> Tensor:
    return 1 - level.alpha_bar / level.alpha_bar_prev


def of_x_0(level: Level) -> Tensor:
    return level.alpha_bar_prev.sqrt() * beta(level) / (1 - level.alpha_bar)


def of_x_t(level: Level) -> Tensor:
    weight = (1 - level.alpha_bar_prev) / (1 - level.alpha_bar)
    return (level.alpha_bar / level.alpha_bar_prev).sqrt() * weight


def small(level: Level) -> Tensor:
    return (beta(level) * (1 - level.alpha_bar_prev) / (1 - level.alpha_bar)).sqrt()


def mean(x_0: Weight = of_x_0, x_t: Weight = of_x_t) -> Oracle:
    return Oracle(mean=lambda image, noisy, level: x_0(level) * image + x_t(level) * noisy)


def std(weight: Weight) -> Oracle:
    return Oracle(std=lambda kind, level, out=None: weight(level))


def direction(level: Level, sigma: Tensor) -> Tensor:
    return (1 - level.alpha_bar_prev - sigma**2).clamp(min=0).sqrt()


def ddim(
    signal: Weight = lambda level: level.alpha_bar_prev.sqrt(),
    along: Callable[[Level, Tensor], Tensor] = direction,
) -> Oracle:
    return Oracle(
        ddim_mean=lambda x_0, eps, level, sigma: signal(level) * x_0 + along(level, sigma) * eps
    )


# {what is written: (the oracle, the stage, whose step it is, what is told)}
CHAINS = {
    "betas[t] beside x0-hat": (
        mean(x_0=lambda at: at.alpha_bar_prev.sqrt() * own_beta(at) / (1 - at.alpha_bar)),
        "mean",
        "",
        {"x0-hat": "sqrt(ab_prev) * betas[t] / (1 - ab_t)"},
    ),
    "ab[t - 1] beside x0-hat": (
        mean(x_0=lambda at: before(at).sqrt() * beta(at) / (1 - at.alpha_bar)),
        "mean",
        "",
        {"x0-hat": "beta_t * sqrt(ab[t - 1]) / (1 - ab_t)"},
    ),
    "alphas[t] beside x_t": (
        mean(
            x_t=lambda at: (1 - own_beta(at)).sqrt() * (1 - at.alpha_bar_prev) / (1 - at.alpha_bar)
        ),
        "mean",
        "",
        {"x_t": "(1 - ab_prev) * sqrt(alphas[t]) / (1 - ab_t)"},
    ),
    "1 - ab[t - 1] beside x_t": (
        mean(
            x_t=lambda at: (
                (at.alpha_bar / at.alpha_bar_prev).sqrt() * (1 - before(at)) / (1 - at.alpha_bar)
            )
        ),
        "mean",
        "",
        {"x_t": "sqrt(alpha_t) * (1 - ab[t - 1]) / (1 - ab_t)"},
    ),
    "betas[t] in sigma": (
        std(lambda at: (own_beta(at) * (1 - at.alpha_bar_prev) / (1 - at.alpha_bar)).sqrt()),
        "variance",
        "",
        {"z": "sqrt((1 - ab_prev) * betas[t] / (1 - ab_t))"},
    ),
    "ab[t - 1] in sigma": (
        std(lambda at: (beta(at) * (1 - before(at)) / (1 - at.alpha_bar)).sqrt()),
        "variance",
        "",
        {"z": "sqrt(beta_t * (1 - ab[t - 1]) / (1 - ab_t))"},
    ),
    "ab[t - 1] in the sigma of DDIM": (
        std(lambda at: (beta(at) * (1 - before(at)) / (1 - at.alpha_bar)).sqrt()),
        "variance",
        "ddim",
        {"z": "0.5 * sqrt(beta_t * (1 - ab[t - 1]) / (1 - ab_t))"},
    ),
    "a difference of two products": (
        mean(x_0=lambda at: at.alpha_bar_prev.sqrt() - at.alpha_bar_prev.sqrt() * of_x_t(at)),
        "mean",
        "",
        {"x0-hat": "sqrt(ab_prev) - sqrt(ab_t) * (1 - ab_prev) / (1 - ab_t)"},
    ),
    "ab[t - 1] in DDIM": (
        ddim(signal=lambda at: before(at).sqrt()),
        "mean",
        "ddim",
        {"x0-hat": "sqrt(ab[t - 1])"},
    ),
    "ab_prev in DDIM": (
        ddim(signal=lambda at: at.alpha_bar_prev),
        "mean",
        "ddim",
        {"x0-hat": "ab_prev"},
    ),
    "0.98 in DDIM": (
        ddim(signal=lambda at: 0.98 * at.alpha_bar_prev.sqrt()),
        "mean",
        "ddim",
        {"x0-hat": "0.98 * sqrt(ab_prev)"},
    ),
    "DDIM without a root": (
        ddim(along=lambda at, sigma: 1 - at.alpha_bar_prev),
        "mean",
        "ddim",
        {"eps": "1 - ab_prev"},
    ),
    "sigma's root without a square in DDIM": (
        ddim(along=lambda at, sigma: (1 - at.alpha_bar_prev).sqrt() - sigma),
        "mean",
        "ddim",
        {"eps": "sqrt(1 - ab_prev) - sigma_t"},
    ),
    "both of x0-hat and x_t": (
        mean(
            x_0=lambda at: at.alpha_bar_prev * beta(at) / (1 - at.alpha_bar),
            x_t=lambda at: 1.1 * of_x_t(at),
        ),
        "mean",
        "",
        {
            "x0-hat": "ab_prev * beta_t / (1 - ab_t)",
            "x_t": "1.1 * sqrt(alpha_t) * (1 - ab_prev) / (1 - ab_t)",
        },
    ),
    "two indices": (
        mean(
            x_0=lambda at: at.alpha_bar_prev.sqrt() * own_beta(at) / (1 - at.alpha_bar),
            x_t=lambda at: (1 - own_beta(at)).sqrt() * (1 - at.alpha_bar_prev) / (1 - at.alpha_bar),
        ),
        "mean",
        "",
        {
            "x0-hat": "sqrt(ab_prev) * betas[t] / (1 - ab_t)",
            "x_t": "(1 - ab_prev) * sqrt(alphas[t]) / (1 - ab_t)",
        },
    ),
    "a constant and a power": (
        mean(x_0=lambda at: 1.02 * of_x_0(at), x_t=lambda at: of_x_t(at) ** 2),
        "mean",
        "",
        {
            "x0-hat": "1.02 * sqrt(ab_prev) * beta_t / (1 - ab_t)",
            "x_t": "alpha_t * (1 - ab_prev)^2 / (1 - ab_t)^2",
        },
    ),
    "both of DDIM": (
        ddim(
            signal=lambda at: 0.95 * at.alpha_bar_prev.sqrt(),
            along=lambda at, sigma: (1 - at.alpha_bar_prev) ** 0.75,
        ),
        "mean",
        "ddim",
        {"x0-hat": "0.95 * sqrt(ab_prev)", "eps": "(1 - ab_prev)^(3/4)"},
    ),
}


@pytest.mark.parametrize("case", each(3, CHAINS))
def test_a_wrong_coefficient_of_a_chain_is_told(case: str) -> None:
    oracle, stage, only, letters = CHAINS[case]
    setting = SETTINGS[list(CHAINS).index(case) % len(SETTINGS)]
    assert told(oracle, stage, only, setting) == letters


@pytest.mark.parametrize("only", ["", "ddim"])
@pytest.mark.parametrize("setting", each(2, SETTINGS), ids=lambda setting: setting.beta_schedule)
def test_a_right_chain_gets_no_formula(setting: Setting, only: str) -> None:
    assert told(Oracle(), "mean", only, setting) == {}
    assert told(Oracle(), "variance", only, setting) == {}


class EndToEnd:
    """DDIM on a list from T - 1 to 0; its signal is that of t - T // n, whatever comes before."""

    def __init__(self, num_train_timesteps=60):
        self.T = num_train_timesteps
        self.alphas_cumprod = (1 - torch.linspace(1e-3, 0.2, self.T).double()).cumprod(0)
        self.set_timesteps(self.T)

    def set_timesteps(self, num_inference_steps):
        self.stride = self.T // num_inference_steps
        self.timesteps = torch.linspace(self.T - 1, 0, num_inference_steps).round().long()

    def level(self, t):
        return self.alphas_cumprod[t] if t >= 0 else torch.ones(())

    def step(self, model_output, t, x_t):
        later = [s for s in self.timesteps.tolist() if s < int(t)]
        ab, prev = self.level(int(t)), self.level(max(later, default=-1))
        x_0 = (x_t - (1 - ab).sqrt() * model_output) / ab.sqrt()
        return self.level(int(t) - self.stride).sqrt() * x_0 + (1 - prev).sqrt() * model_output


def test_a_step_of_t_over_n_is_told() -> None:
    subject = Subject(EndToEnd, "end to end")
    conventions.read(subject)
    found = name(subject, "mean", Oracle())
    assert found is not None
    assert stated(found.words)[0][:2] == ("x0-hat", "sqrt(ab[t - T // n])"), found.words
