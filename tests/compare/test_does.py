"""What a module's `forward` is for is read from what it does: a loop is no loss, a loss no loop."""

import ast
from pathlib import Path

import pytest

from compare.candidate.text.adapt import adapter
from compare.candidate.text.does import asks, loops, returns_a_loss

HELD = """
import torch
class Held(torch.nn.Module):
    def __init__(self, model, T=100):
        super().__init__()
        self.model, self.T = model, T
        self.register_buffer("alpha_bar", torch.linspace(0.99, 0.01, T))
    def one(self, x, t):
        return x - self.model(x, t)
"""
FORWARDS = {
    "sample": """
    def forward(self, x_T):
        x_t = x_T
        for i in reversed(range(self.T)):
            x_t = self.one(x_t, x_t.new_full((len(x_t),), i))
        return x_t.clip(-1, 1)
""",
    "loss": """
    def forward(self, x_0):
        t = torch.randint(self.T, (len(x_0),))
        noise = torch.randn_like(x_0)
        x_t = self.alpha_bar[t, None, None, None] ** 0.5 * x_0 + noise
        error = (self.model(x_t, t) - noise).square().mean()
        return error
""",
    None: """
    def forward(self, x, t):
        return self.model(x, t)
""",
}


@pytest.mark.parametrize("role", FORWARDS)
def test_a_forward_is_a_loop_a_loss_or_neither(role: str | None) -> None:
    text = adapter(Path("mine.py"), "Held", HELD + FORWARDS[role])
    called = [line.strip() for line in text.splitlines() if "forward(" in line]
    handed = {"sample": "torch.randn(shape)", "loss": "x_0"}
    given = {"sample": "model, shape, generator", "loss": "model, x_0, generator"}
    if role is None:
        assert called == []
    else:
        call = f"made(model).forward({handed[role]})"
        assert called == [f"{role}=lambda {given[role]}: {call},"]


OTHER_NAMES = """
import torch
from typing import Tuple
class Diffusion:
    def __init__(self, unet, beta: Tuple[float, float], T: int):
        self.unet, self.T = unet, T
        self.alpha_bar = (1 - torch.linspace(*beta, T)).cumprod(0)
    def training_step(self, x0):
        loss = self.objective(x0)
        loss.backward()
        return loss
    def objective(self, x0):
        t = torch.randint(self.T, (len(x0),))
        noise = torch.randn_like(x0)
        return mse_loss(self.unet(x0 + noise, t), noise)
    def reversed_step(self, x, t):
        return x - self.unet(x, t)
    def sample_from(self, mood, n):
        for t in range(self.T):
            x = self.unet(mood[t], t)
        return x
    def fit(self, images):
        for each in images:
            self.objective(each)
    @torch.no_grad()
    def generate_samples(self, num_samples, image_size=(1, 28, 28)):
        x = torch.randn((num_samples, *image_size))
        for t in range(self.T - 1, -1, -1):
            x = self.reversed_step(x, t)
        return x
"""


def test_methods_of_other_names_are_known_by_what_they_do() -> None:
    lines = [line.strip() for line in adapter(Path("mine.py"), "", OTHER_NAMES).splitlines()]
    assert "return Diffusion(unet=model, beta=(1e-4, 0.02), T=T)" in lines
    called = "made(model).generate_samples(shape[0], image_size=shape[1:])"
    assert f"sample=lambda model, shape, generator: {called}," in lines
    assert "loss=lambda model, x_0, generator: made(model).objective(x_0)," in lines


def test_a_function_that_calls_itself_is_a_loop() -> None:
    source = "def down(net, x, t): return down(net, x - net(x, t), t - 1) if t else x"
    named = {"down": ast.parse(source).body[0]}
    assert asks("down", named)
    assert loops("down", named)
    assert not returns_a_loss("down", named)


def test_a_loop_over_something_else_asks_nothing() -> None:
    source = "def total(model, xs):\n for x in xs: print(x)\n return mse_loss(model(xs, 0), xs)"
    named = {"total": ast.parse(source).body[0]}
    assert asks("total", named)
    assert not loops("total", named)
    assert returns_a_loss("total", named)
