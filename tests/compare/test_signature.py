"""A function alone, and the methods of a class, are judged without an adapter by their names."""

from types import FunctionType

import pytest
import torch
from torch import Tensor

from compare import run
from compare.candidate.door.roles import role_of
from tests.often import each

T = 60
BETAS = torch.linspace(1e-3, 0.2, T)
ab = (1 - BETAS).cumprod(0)


class Whole:
    """A class with its loop and its loss."""

    beta_factor = 1.0

    def __init__(self, num_train_timesteps: int = T):
        self.betas = torch.linspace(1e-4, 0.02, num_train_timesteps)
        self.alphas_cumprod = (1 - self.betas).cumprod(0)

    def add_noise(self, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        level = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)
        return level.sqrt() * x_0 + (1 - level).sqrt() * noise

    def loss(self, x_0, model, weight: float = 1.0):
        t = torch.randint(0, len(self.betas), (len(x_0),))
        noise = torch.randn_like(x_0)
        return weight * ((model(self.add_noise(x_0, noise, t), t) - self.target(noise)) ** 2).mean()

    def target(self, noise: Tensor) -> Tensor:
        return noise

    def sample(self, n, model, generator=None):
        model.eval()
        x = torch.randn(n, 1, 8, 8, generator=generator)
        for t in reversed(range(len(self.betas))):
            beta, level = self.betas[t], self.alphas_cumprod[t]
            eps = model(x, torch.full((n,), t))
            x = (x - beta / (1 - level).sqrt() * eps) / (1 - self.beta_factor * beta).sqrt()
            if t:
                x = x + beta.sqrt() * torch.randn(x.shape, generator=generator)
        return x


class WrongTarget(Whole):
    def target(self, noise: Tensor) -> Tensor:
        return -noise


class WrongLoop(Whole):
    beta_factor = 0.5


def q_sample(x_0, noise, t):
    level = ab[t].reshape(-1, 1, 1, 1)
    return level.sqrt() * x_0 + (1 - level).sqrt() * noise


def no_root(x_0, noise, t):
    level = ab[t].reshape(-1, 1, 1, 1)
    return level * x_0 + (1 - level).sqrt() * noise


def reverse(x, t, noise_pred):
    mean = (x - BETAS[t] / (1 - ab[t]).sqrt() * noise_pred) / (1 - BETAS[t]).sqrt()
    return mean + BETAS[t].sqrt() * torch.randn_like(x) * (t > 0)


def draw(net, n_samples):
    net.eval()
    x = torch.randn(n_samples, 1, 8, 8)
    for t in reversed(range(T)):
        x = reverse(x, t, net(x, torch.full((n_samples,), t)))
    return x


def simple_loss(net, x):
    t = torch.randint(0, T, (len(x),))
    noise = torch.randn_like(x)
    return ((net(q_sample(x, noise, t), t) - noise) ** 2).mean()


def test_the_loop_and_the_loss_of_a_class_are_judged() -> None:
    report = run(Whole)
    assert report.exit_status == 0, report.verdict
    assert {"sampling", "loss"} <= {check.stage for check in report.checks}


class OfMore(Whole):
    sample = None

    def loss(self, x_0, model, whatever):
        return Whole.loss(self, x_0, model)


def test_a_method_of_other_arguments_is_said_not_to_be_judged() -> None:
    report = run(OfMore)
    assert "loss" not in {check.stage for check in report.checks}
    assert report.not_judged["loss"].startswith(
        "its loss(x_0, model, whatever) does not ask by name"
    )


@pytest.mark.parametrize(
    ("wrong", "stage"), each(2, [(WrongTarget, "loss"), (WrongLoop, "sampling")])
)
def test_a_mistake_in_a_method_is_found(wrong: type, stage: str) -> None:
    report = run(wrong)
    assert report.exit_status == 1
    assert {check.stage for check in report.checks if not check.passed} == {stage}


@pytest.mark.parametrize(
    ("function", "stage"),
    each(2, [(q_sample, "forward"), (reverse, "mean"), (draw, "sampling"), (simple_loss, "loss")]),
)
def test_a_function_is_judged_in_the_role_that_its_names_say(function, stage: str) -> None:
    report = run(function)
    assert report.exit_status == 0, report.verdict
    assert stage in {check.stage for check in report.checks if check.passed}


def test_a_wrong_function_is_told() -> None:
    report = run(no_root)
    assert report.exit_status == 1
    assert "forward" in report.verdict


@pytest.mark.parametrize("function", [lambda a, b, c: a, lambda x, t, noise: x, lambda model: 0])
def test_a_function_of_no_role_is_told_in_one_line(function) -> None:
    report = run(function)
    assert report.exit_status == 2
    assert "is none of add_noise(x_0, noise, t), step(eps, t, x)" in report.verdict
    assert "\n" not in report.verdict


def test_a_table_of_the_module_is_taken_by_its_name_and_its_axis() -> None:
    code = (lambda x_0, noise, t: None).__code__
    own = FunctionType(code, {"alpha_bar": ab})
    assert [*role_of(own)] == ["add_noise", "alpha_bar"]
    assert [*role_of(torch.no_grad()(own))] == ["add_noise", "alpha_bar"]
    assert [*role_of(FunctionType(code, {"alpha_bar": abs, "alpha": ab}))] == ["add_noise"]


@pytest.mark.parametrize("name", ["betas", "BETA"])
def test_betas_of_the_module_are_its_table_where_it_has_no_alpha_bar(name: str) -> None:
    code, betas = (lambda x_0, noise, t: None).__code__, torch.linspace(0.1, 0.2, 5)
    found = role_of(FunctionType(code, {name: betas}))
    assert found["alpha_bar"]().equal((1 - betas).cumprod(0))
    assert role_of(FunctionType(code, {name: betas, "ab": ab}))["alpha_bar"]() is ab
    assert "alpha_bar" not in role_of(FunctionType(code, {name: betas, "beta_t": betas}))
