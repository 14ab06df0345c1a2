"""Programs with a wrong coefficient, as people write them; what a formula in letters computes."""

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

F64 = torch.float64
TABLES = {
    "linear": lambda T: torch.linspace(1e-4, 0.02, T, dtype=F64) * (1000 / T) ** 0.5,
    "cosine": lambda T: _cosine(T),
    "own": lambda T: 0.001 + 0.09 * torch.linspace(0, 1, T, dtype=F64) ** 1.5,
}


def _cosine(T: int) -> Tensor:
    u = torch.arange(T + 1, dtype=F64) / T
    f = torch.cos((u + 0.008) / 1.008 * torch.pi / 2) ** 2
    return (1 - f[1:] / f[:-1]).clamp(max=0.999)


class Table:
    """A table that a formula in letters may index at any t; NaN outside."""

    def __init__(self, values: Tensor):
        self.values = values

    def __getitem__(self, at: Tensor) -> Tensor:
        inside = (at >= 0) & (at < len(self.values))
        found = self.values[at.clamp(0, len(self.values) - 1)]
        return torch.where(inside, found, torch.nan)


def computed(formula: str, ab: Tensor, t: Tensor, prev: Tensor) -> Tensor:
    """(k,) what a formula in letters is, from the table of alpha-bars alone."""
    before = torch.cat([torch.ones(1, dtype=F64), ab[:-1]])
    ab_prev = torch.where(prev >= 0, ab[prev.clamp(min=0)], 1.0)
    names = {
        "ab": Table(ab),
        "alphas": Table(ab / before),
        "betas": Table(1 - ab / before),
        "ab_t": ab[t],
        "ab_prev": ab_prev,
        "alpha_t": ab[t] / ab_prev,
        "beta_t": 1 - ab[t] / ab_prev,
        "T": len(ab),
        "t": t,
        "sqrt": lambda v: torch.as_tensor(v, dtype=F64).sqrt(),
    }
    return torch.as_tensor(eval(formula.replace("^", "**"), {}, names), dtype=F64).expand(len(t))


def stated(words: str) -> list[tuple[str, str, str]]:
    """(coefficient, what it is, what it should be) of each coefficient that is told."""
    return re.findall(r"(?:your|; and) ([^;:]+?) has ([^;]+?), should have ([^;]+?) \([A-Z]", words)


def program(
    T: int = 40,
    table: str = "linear",
    dtype: torch.dtype = torch.float32,
    kind: str = "epsilon",
    form: str = "x_0",
    **written: Callable[..., Any],
) -> Callable[[], Any]:
    """A scheduler class without options, with some of its coefficients written otherwise.

    Args:
        T, table, dtype: of its tables.
        kind: what its model predicts.
        form: "x_0" weighs x0-hat and x_t, "eps" is (x_t - inside eps) front.
        written: of `signal`, `noise`, `of_x_0`, `of_x_t`, `inside`, `front`, `sigma`, `x_0`:
            what stands there, of what `_parts` gives.
    """
    betas = TABLES[table](T).to(dtype)

    class Written:
        def __init__(self) -> None:
            self.betas = betas
            self.alphas = 1 - betas
            self.alphas_cumprod = self.alphas.cumprod(0)

        def _at(self, name: str, right: Callable[..., Any], t: Any) -> Any:
            return written.get(name, right)(**self._parts(t))

        def _parts(self, t: Any) -> dict[str, Any]:
            ab, one = self.alphas_cumprod, torch.ones((), dtype=dtype)
            before = ab[t - 1] if isinstance(t, Tensor) or t > 0 else one
            return {
                "b": self.betas[t], "a": self.alphas[t], "ab": ab[t], "p": before, "t": t,
                "betas": self.betas, "alphas": self.alphas, "abs": ab,
            }  # fmt: skip

        def add_noise(self, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
            signal = self._at("signal", lambda ab, **_: ab.sqrt(), t).reshape(-1, 1, 1, 1)
            size = self._at("noise", lambda ab, **_: (1 - ab).sqrt(), t).reshape(-1, 1, 1, 1)
            return (signal * x_0 + size * noise).to(x_0.dtype)

        def _x_0(self, x_t: Tensor, out: Tensor, ab: Tensor) -> Tensor:
            if kind == "epsilon":
                return (x_t - (1 - ab).sqrt() * out) / ab.sqrt()
            return out if kind == "sample" else ab.sqrt() * x_t - (1 - ab).sqrt() * out

        def step(self, model_output: Tensor, t: Any, x_t: Tensor, generator: Any = None) -> Tensor:
            t = int(t)
            if form == "eps":
                inside = self._at("inside", lambda b, ab, **_: b / (1 - ab).sqrt(), t)
                front = self._at("front", lambda a, **_: 1 / a.sqrt(), t)
                x_prev = front * (x_t - inside * model_output)
            else:
                ab = self.alphas_cumprod[t]
                shown = written.get("x_0")
                x_0 = (shown or self._x_0)(x_t, model_output, ab)
                of_x_0 = self._at("of_x_0", lambda p, b, ab, **_: p.sqrt() * b / (1 - ab), t)
                of_x_t = self._at("of_x_t", lambda a, p, ab, **_: a.sqrt() * (1 - p) / (1 - ab), t)
                x_prev = of_x_0 * x_0 + of_x_t * x_t
            if t > 0:
                small = lambda b, p, ab, **_: (b * (1 - p) / (1 - ab)).sqrt()  # noqa: E731
                x_prev = x_prev + self._at("sigma", small, t) * torch.randn(
                    x_t.shape, generator=generator
                )
            return x_prev.to(x_t.dtype)

    return Written
