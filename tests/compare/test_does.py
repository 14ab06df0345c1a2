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
