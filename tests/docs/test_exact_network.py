"""The exact network of the pages: its formulas, and that it copies."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from scratch import DDPMScheduler

FILE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "exact_network.py"
POINTS = torch.tensor([[-1.0, -0.6], [1.0, -0.6], [0.0, 1.0]], dtype=torch.float64)


@pytest.fixture(scope="module")
def exact() -> ModuleType:
    spec = importlib.util.spec_from_file_location("exact_network", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_weights_are_those_of_bayes_rule(exact: ModuleType):
    x_t, alpha_bar = torch.tensor([[0.3, 0.2], [-2.0, 1.0]], dtype=torch.float64), 0.3
    near = torch.stack(
        [
            torch.exp(-((x_t - alpha_bar**0.5 * point) ** 2).sum(1) / (2 * (1 - alpha_bar)))
            for point in POINTS
        ],
        dim=1,
    )
    weights = exact.weights(POINTS, x_t, alpha_bar)
    torch.testing.assert_close(weights, near / near.sum(1, keepdim=True))


@pytest.mark.parametrize("alpha_bar", [0.05, 0.5, 0.95])
def test_of_two_points_it_is_the_hyperbolic_tangent(exact: ModuleType, alpha_bar: float):
    two = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    x_t = torch.linspace(-3, 3, 61, dtype=torch.float64)[:, None]
    tanh = torch.tanh(alpha_bar**0.5 * x_t / (1 - alpha_bar))
    torch.testing.assert_close(exact.best_x_0(two, x_t, alpha_bar), tanh)


def test_its_noise_is_the_score(exact: ModuleType):
    x_t = torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x_t.requires_grad_()
    apart = ((x_t[:, None] - 0.4**0.5 * POINTS) ** 2).sum(2)
    (slope,) = torch.autograd.grad((-apart / (2 * 0.6)).logsumexp(1).sum(), x_t)
    torch.testing.assert_close(-exact.best_eps(POINTS, x_t.detach(), 0.4) / 0.6**0.5, slope)


def test_no_other_answer_has_a_smaller_error(exact: ModuleType):
    generator = torch.Generator().manual_seed(0)
    which = torch.randint(3, (20_000,), generator=generator)
    eps = torch.randn(20_000, 2, generator=generator, dtype=torch.float64)
    x_t = 0.5**0.5 * POINTS[which] + 0.5**0.5 * eps
    best = exact.best_eps(POINTS, x_t, 0.5)
    error = ((best - eps) ** 2).mean()
    for other in (best + 0.05, 0.95 * best, x_t * 0.5**0.5):
        assert error < ((other - eps) ** 2).mean()


def test_a_chain_ends_at_the_points(exact: ModuleType):
    scheduler = DDPMScheduler(num_train_timesteps=100, beta_end=0.2, clip_sample=False)
    start = torch.randn(64, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    states = exact.chain(POINTS, scheduler, start)
    assert len(states) == 101
    assert torch.equal(states[0], start)
    apart, which = torch.cdist(states[-1], POINTS).min(dim=1)
    assert float(apart.max()) < 1e-3
    assert set(which.tolist()) == {0, 1, 2}
