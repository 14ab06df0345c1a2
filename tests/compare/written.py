"""Programs with a wrong coefficient, as people write them; what a formula in letters computes."""

import re
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from compare import Adapter, Report, run

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


def loop(
    T: int = 60,
    table: str = "own",
    dtype: torch.dtype = torch.float32,
    kind: str = "epsilon",
    form: str = "x_0",
    visited: list[int] | None = None,
    eta: float = 0.0,
    **written: Callable[..., Any],
) -> Adapter:
    """A sampling loop with some of its coefficients written otherwise.

    Args:
        T, table, dtype: of its tables.
        kind: what its model predicts.
        form: "x_0" weighs x0-hat and x_t, "eps" is (x_t - inside eps) front, "ddim" goes along eps.
        visited: its list; all of T-1..0 if it has none.
        eta: of DDIM.
        written: of `of_x_0`, `of_x_t`, `inside`, `front`, `along`, `sigma`, `x_0`: what stands
            there, of the parts of a step.
    """
    betas = TABLES[table](T).to(dtype)
    abs = (1 - betas).cumprod(0)
    listed = [*range(T)][::-1] if visited is None else visited

    def parts(t: int, before: int) -> dict[str, Any]:
        ab, one = abs[t], torch.ones((), dtype=dtype)
        p = abs[before] if before >= 0 else one
        b = 1 - ab / p if visited else betas[t]
        tilde = (b * (1 - p) / (1 - ab)).sqrt()
        size = eta * tilde if form == "ddim" else tilde
        return {
            "b": b, "a": 1 - b, "ab": ab, "p": p, "t": t, "betas": betas, "abs": abs, "s": size,
        }  # fmt: skip

    def mean(of: Callable[..., Any], x: Tensor, out: Tensor, ab: Tensor) -> Tensor:
        if form == "eps":
            inside = of("inside", lambda b, ab, **_: b / (1 - ab).sqrt())
            return of("front", lambda a, **_: 1 / a.sqrt()) * (x - inside * out)
        signal, noise = ab.sqrt(), (1 - ab).sqrt()
        x_0 = {"epsilon": (x - noise * out) / signal, "sample": out}.get(kind)
        x_0 = signal * x - noise * out if x_0 is None else x_0
        x_0 = written["x_0"](x, out, ab) if "x_0" in written else x_0
        if form == "ddim":
            along = of("along", lambda p, s, **_: (1 - p - s**2).clamp(min=0).sqrt())
            eps = out if kind == "epsilon" else (x - signal * x_0) / noise
            return of("of_x_0", lambda p, **_: p.sqrt()) * x_0 + along * eps
        of_x_0 = of("of_x_0", lambda p, b, ab, **_: p.sqrt() * b / (1 - ab))
        return of_x_0 * x_0 + of("of_x_t", lambda a, p, ab, **_: a.sqrt() * (1 - p) / (1 - ab)) * x

    def sample(model: Any, shape: Any, generator: Any) -> Tensor:
        model.eval()
        x = torch.randn(shape, generator=generator, dtype=dtype)
        for t, before in zip(listed, [*listed[1:], -1], strict=True):
            part = parts(t, before)

            def of(name: str, right: Callable[..., Any], part: Any = part) -> Any:
                return written.get(name, right)(**part)

            x = mean(of, x, model(x, torch.full(shape[:1], t)), part["ab"])
            if before >= 0:
                z = torch.randn(shape, generator=generator, dtype=dtype)
                x = x + of("sigma", lambda s, **_: s) * z
        return x

    return Adapter(lambda: abs, sample=sample, prediction_type=kind, name="written")


FILES = count()


def judged_file(folder: Path, name: str, text: str) -> Report:
    """The report on a class or function of a file with this text, under a name of its own."""
    file = folder / f"program_{next(FILES)}.py"
    file.write_text(text)
    return run(f"{file}:{name}")


class Slip(NamedTuple):
    """A right program, and a slip in it.

    Attributes:
        text, name: the file, and what is judged in it.
        right, wrong: what stands in it once, and what stands there in place of that.
        said: what the report says of the slip.
    """

    text: str
    name: str
    right: str
    wrong: str
    said: str

    def judged(self, folder: Path) -> None:
        """Fails where the program is not right, or the slip is not told."""
        report = judged_file(folder, self.name, self.text)
        assert report.exit_status == 0, str(report)
        assert self.text.count(self.right) == 1
        report = judged_file(folder, self.name, self.text.replace(self.right, self.wrong))
        assert report.exit_status == 1, str(report)
        assert self.said in str(report)
