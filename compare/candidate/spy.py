"""The model that a whole loop or a loss is given, and reference loops and losses of an oracle."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from compare.oracle import F64

NEAR_WHOLE = 0.01  # float32 moves t / T times T by 1e-4 where T is 1000
CENTRE, SPREAD = 0.1, 0.2  # of the data that the exact denoiser knows: x0-hat never leaves [-1, 1]


@dataclass(frozen=True)
class Told:
    """How a caller tells its model t = 0..T-1: as (t + base) / unit, `words` for base 0."""

    words: str = "t"
    unit: float = 1
    base: int = 0

    def __str__(self) -> str:
        return self.words.replace("t", "(t + 1)" if " " in self.words else "t + 1", self.base)


def read_told(told: Tensor, T: int) -> Told | None:
    """The first of a closed list of ways by which all that was told, (n,), is some t of 0..T-1.

    >>> [str(read_told(torch.arange(5) / n + k, 5)) for n, k in ((1, 0), (1, 1), (4, 0), (1, 2))]
    ['t', 't + 1', 't / (T - 1)', 'None']
    """
    units = {"t": 1.0, "t / T": float(T), "t / (T - 1)": T - 1.0, "1000 t / T": T / 1000}
    for words, unit in units.items():
        for base in (0, 1):
            at = told.to(F64) * unit - base
            whole = bool(((at - at.round()).abs() < NEAR_WHOLE).all())
            if whole and round(float(at.min())) >= 0 and round(float(at.max())) < T:
                return Told(words, unit, base)
    return None


class Spy(nn.Module):
    """A model in training mode that remembers what it was asked.

    Args:
        answer: (x_t, t) -> output, t (b,) int64 from 0.
        table: (T,) alpha-bars.
        told: how the caller tells t; without it, floats of 1 at most are taken for t / T.
    """

    def __init__(self, answer: Any, table: Tensor, told: Told | None = None):
        super().__init__()
        self.dtype, self.told, self.raw = torch.float32, told, list[Tensor]()
        self.weight = nn.Parameter(torch.zeros(()))  # a loop may ask for the device of a parameter
        self.answer, self.table = answer, table
        self.seen: list[tuple[Tensor, Tensor, Tensor, bool]] = []
        self.shapes: list[torch.Size] = []

    def forward(self, x: Tensor, t: Any, *_: Any, **__: Any) -> Tensor:
        """The answer, also as its own `.sample`."""
        t = torch.as_tensor(t)
        self.shapes.append(t.shape)
        t = t.reshape(-1).expand(len(x)) if t.numel() == 1 else t.reshape(-1)
        self.dtype = x.dtype
        self.raw.append(t.detach().clone())
        if self.told is None:
            T = len(self.table)
            share = t.is_floating_point() and float(t.max()) <= 1 < T
            self.told = Told("t / T", T) if share else Told()
        if self.told.unit != 1:
            t = (t * self.told.unit).round()
        at = (t.long() - self.told.base).clamp(0, len(self.table) - 1)
        out = self.answer(x.detach().to(F64), at)
        self.seen.append((x.detach().to(F64), t.detach().clone(), out, self.training))
        result = out.to(x.dtype) + 0 * self.weight
        result.sample = result
        return result


def per_image(values: Tensor, like: Tensor) -> Tensor:
    """(b,) -> (b, 1, 1, 1)."""
    return values.reshape(-1, *[1] * (like.dim() - 1))


def exact_output(kind: str, table: Tensor, x_t: Tensor, t: Tensor, x_0: Tensor) -> Tensor:
    """What a model that knows x_0 returns."""
    signal = per_image(table[t].sqrt(), x_t)
    noise = per_image((1 - table[t]).sqrt(), x_t)
    if kind == "sample":
        return x_0
    eps = (x_t - signal * x_0) / noise
    return eps if kind == "epsilon" else signal * eps - noise * x_0


def exact_denoiser(
    kind: str,
    table: Tensor,
    centre: float | Tensor = CENTRE,
    spread: float | Tensor = SPREAD,
    apart: float | Tensor = 0.0,
) -> Any:
    """The exact answer for data of two modes: E[x_0 given x_t], in closed form.

    A picture is centre + apart or centre - apart at every pixel, both as likely, plus
    N(0, spread^2); `apart` = 0 leaves the Gaussian. The posterior mean is that of each mode,
    weighed by how likely the mode is, which makes the tanh. All in float64, alpha-bars (T,).

    Args:
        kind: what the model returns: `"epsilon"`, `"sample"` or `"v_prediction"`.
        table: (T,) alpha-bars.
        centre, spread, apart: of the data; floats, or (b, 1, 1, 1) to differ from image to image.

    Returns:
        (x_t (b, c, h, w), t (b,) or (1,)) -> output (b, c, h, w).
    """

    def answer(x_t: Tensor, t: Tensor) -> Tensor:
        alpha_bar = per_image(table[t], x_t)
        signal = alpha_bar.sqrt()
        variance = alpha_bar * spread**2 + 1 - alpha_bar
        gain = signal * spread**2 / variance
        off = x_t - signal * centre
        likely = (signal * apart / variance * off.sum(dim=(1, 2, 3), keepdim=True)).tanh()
        x_0 = centre + gain * off + (1 - gain * signal) * apart * likely
        return exact_output(kind, table, x_t, t, x_0)

    return answer
