"""The oracle against what no scheduler can fake: Bayes' rule, composition, closed forms, limits."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from compare import oracle
from compare.candidate.from_oracle import sample_of
from compare.oracle import F64, Inputs, Level, Oracle, Setting, samplers
from compare.oracle.samplers.ddpm import DDPM

EXACT = {"rtol": 1e-9, "atol": 1e-12}  # float64, some ten operations, differences of near numbers
SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid")


def level_at(alpha_bar: float, alpha_bar_prev: float) -> Level:
    a, p = (torch.tensor([v], dtype=F64) for v in (alpha_bar, alpha_bar_prev))
    return Level(a, torch.tensor([5]), torch.tensor([4]), a, p)


@given(prev=st.floats(0.01, 0.999), alpha=st.floats(0.01, 0.999), x_0=st.floats(-1, 1))
def test_the_posterior_is_bayes_rule_on_gaussians(prev: float, alpha: float, x_0: float) -> None:
    """Precisions add: of x_t given x_prev, and of x_prev given x_0."""
    x_t = torch.tensor([0.7], dtype=F64)
    level = level_at(alpha * prev, prev)
    precision = alpha / (1 - alpha) + 1 / (1 - prev)
    centre = (alpha**0.5 * x_t / (1 - alpha) + prev**0.5 * x_0 / (1 - prev)) / precision
    assert_close(oracle.mean(torch.tensor([x_0], dtype=F64), x_t, level), centre, **EXACT)
    std = torch.tensor([precision**-0.5], dtype=F64)
    assert_close(oracle.std("fixed_small", level), std, **EXACT)
    beta = torch.tensor([1 - alpha], dtype=F64)
    assert_close(oracle.std("fixed_large", level), beta.sqrt(), rtol=1e-7, atol=0)  # 1 - a/p


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_single_steps_compose_to_one_jump(schedule: str) -> None:
    setting = Setting(num_train_timesteps=200, beta_schedule=schedule)
    betas, table = oracle.betas(setting), Oracle().alpha_bar(setting)
    signal, variance = torch.ones((), dtype=F64), torch.zeros((), dtype=F64)
    for beta, alpha_bar in zip(betas, table, strict=True):
        signal, variance = (1 - beta).sqrt() * signal, (1 - beta) * variance + beta
        assert_close(signal, alpha_bar.sqrt(), **EXACT)
        assert_close(variance, 1 - alpha_bar, **EXACT)
    assert (table.diff() < 0).all()


def test_cosine_is_its_closed_form_until_the_cap() -> None:
    table = Oracle().alpha_bar(Setting(beta_schedule="squaredcos_cap_v2"))
    u = torch.arange(1, 1000, dtype=F64) / 1000
    f = ((u + 0.008) / 1.008 * math.pi / 2).cos() ** 2
    assert_close(table[:-1], f / math.cos(0.008 / 1.008 * math.pi / 2) ** 2, **EXACT)
    assert_close(table[-1], table[-2] * 0.001, **EXACT)


def test_zero_terminal_snr_ends_at_0_and_starts_where_it_did() -> None:
    plain = Oracle().alpha_bar(Setting())
    rescaled = Oracle().alpha_bar(Setting(rescale_betas_zero_snr=True))
    assert rescaled[-1] == 0
    assert_close(rescaled[0], plain[0], **EXACT)


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
@given(alpha_bar=st.floats(0.001, 0.999))
def test_what_a_perfect_model_says_gives_x_0_back(kind: str, alpha_bar: float) -> None:
    table, t = torch.tensor([alpha_bar], dtype=F64), torch.tensor([0])
    x_0, noise = torch.tensor([[0.3, -0.9]], dtype=F64), torch.tensor([[1.5, -0.2]], dtype=F64)
    x_t = oracle.add_noise(x_0, noise, table, t)
    said = {"epsilon": noise, "sample": x_0, "v_prediction": oracle.velocity(x_0, noise, table, t)}
    level = level_at(alpha_bar, 1.0)
    assert_close(oracle.x_0(kind, said[kind], x_t, level), x_0, **EXACT)
    setting = Setting(prediction_type=kind)
    assert_close(oracle.ddim_eps(said[kind], x_t, x_0, level, setting), noise, **EXACT)


def test_ddim_with_eta_1_is_ddpm_and_with_eta_0_keeps_the_noise() -> None:
    level, x_t, out = (
        level_at(0.4, 0.6),
        torch.tensor([0.7], dtype=F64),
        torch.tensor([0.2]).to(F64),
    )
    ddpm, ddim = Setting(), Setting(sampler="ddim", eta=1.0)
    right = Oracle()
    assert_close(
        right.step_mean(out, x_t, level, ddim), right.step_mean(out, x_t, level, ddpm), **EXACT
    )
    assert_close(right.sigma(level, ddim), right.sigma(level, ddpm), **EXACT)
    quiet = replace(ddim, eta=0.0)
    x_0 = oracle.x_0("epsilon", out, x_t, level)
    expected = oracle.add_noise(x_0, out, level.alpha_bar_prev, torch.tensor([0]))
    assert_close(right.step_mean(out, x_t, level, quiet), expected, **EXACT)
    assert right.sigma(level, quiet) == 0


def test_a_learned_variance_reaches_from_one_fixed_one_to_the_other() -> None:
    level = level_at(0.4, 0.6)
    for out, kind in ((-1.0, "fixed_small"), (1.0, "fixed_large")):
        learned = oracle.std("learned_range", level, torch.tensor([out], dtype=F64))
        assert_close(learned, oracle.std(kind, level), **EXACT)


def test_noise_ends_where_no_step_is_left() -> None:
    last = replace(level_at(0.4, 1.0), prev=torch.tensor([-1]))
    for kind in ("fixed_small", "fixed_large"):
        assert Oracle().sigma(last, Setting(variance_type=kind)) == 0
    assert Oracle().sigma(level_at(0.4, 0.6), Setting(variance_type="fixed_large")) > 0


class TwoStep(DDPM):
    """x0-hat extrapolated from this step and the one before: a sampler with a memory."""

    name = "two-step"

    def mean(self, f, at: Inputs) -> torch.Tensor:
        x_0 = f.x_0(at.setting.prediction_type, at.out, at.x_t, at.level)
        if at.memory is not None:
            x_0 = 1.5 * x_0 - 0.5 * at.memory
        return f.mean(x_0, at.x_t, at.level)

    def sigma(self, f, level: Level, setting: Setting) -> torch.Tensor:
        return torch.zeros_like(level.alpha_bar)

    def keep(self, f, at: Inputs) -> torch.Tensor:
        return f.x_0(at.setting.prediction_type, at.out, at.x_t, at.level)


def test_a_third_sampler_is_one_class_and_its_steps_carry_a_memory(monkeypatch) -> None:
    """The reference loop over it makes what the formula makes, written out."""
    monkeypatch.setitem(samplers.BY_NAME, TwoStep.name, TwoStep())
    setting = Setting(num_train_timesteps=5, beta_end=0.5, sampler=TwoStep.name)
    right = Oracle()
    table, model = right.alpha_bar(setting), torch.nn.Identity()
    model.forward = lambda x, t: 0.3 * x  # type: ignore[method-assign]
    loop = sample_of(right, setting)
    got = loop(model, (1, 1, 2, 2), torch.Generator().manual_seed(0))

    x, before = torch.randn(1, 1, 2, 2, generator=torch.Generator().manual_seed(0)).to(F64), None
    for t in reversed(range(5)):
        level = oracle.level(table, torch.tensor([t]), torch.tensor([t - 1]), setting)
        x_0 = oracle.x_0("epsilon", 0.3 * x, x, level)
        guess = x_0 if before is None else 1.5 * x_0 - 0.5 * before
        x, before = oracle.mean(guess, x, level), x_0
    assert_close(got.to(F64), x, rtol=1e-5, atol=1e-6)
