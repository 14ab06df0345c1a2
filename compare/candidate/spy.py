"""The model that a whole loop or a loss is given, and reference loops and losses of an oracle."""

from typing import Any

import torch
from torch import Tensor, nn

from compare.oracle import F64, Inputs, Oracle, Setting

CENTRE, SPREAD = 0.1, 0.2  # of the data that the exact denoiser knows: x0-hat never leaves [-1, 1]


class Spy(nn.Module):
    """A model in training mode that remembers what it was asked.

    Args:
        answer: (x_t, t) -> output, t (b,) int64 from 0.
        table: (T,) alpha-bars.
        base: what the caller counts t from, 0 or 1.

    A caller that tells t / T in floats, 1 at most, is understood (`unit` is then T).
    """

    def __init__(self, answer: Any, table: Tensor, base: int = 0):
        super().__init__()
        self.base, self.dtype, self.unit = base, torch.float32, 1
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
        if not self.seen and t.is_floating_point() and float(t.max()) <= 1 < len(self.table):
            self.unit = len(self.table)
        if self.unit > 1:
            t = (t * self.unit).round()
        at = (t.long() - self.base).clamp(0, len(self.table) - 1)
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


def sample_of(oracle: Oracle, setting: Setting, n: int | None = None, uint8: bool = False) -> Any:
    """A sampling loop over an oracle's formulas, right or with its mistake."""
    table, T, loop = oracle.alpha_bar(setting), setting.num_train_timesteps, oracle.loop
    exact, unit = oracle.timesteps(setting, n or T)
    visited = (exact.to(F64) / unit).round().long().tolist()
    following = dict(zip(visited, [*visited[1:], -1], strict=True))
    visited = [t for t in visited if t >= loop.stops_at]
    if not loop.falls:
        visited = visited[::-1]

    def normal(shape: Any, generator: Any) -> Tensor:
        if not isinstance(generator, list):
            return oracle.draw(shape, generator, torch.float32)
        if not loop.own_streams:
            return oracle.draw(shape, generator[0], torch.float32)
        each = (1, *shape[1:])
        return torch.cat([oracle.draw(each, g, torch.float32) for g in generator])

    def sample(model: nn.Module, shape: Any, generator: Any) -> Tensor:
        training = model.training
        if loop.evaluates:
            model.eval()
        x = normal(shape, generator)
        if loop.start == "uniform":
            x = torch.rand(shape, generator=generator)
        memory = None
        for i, t in enumerate(visited):
            told = t if loop.tells == "t" else i
            out = model(x, torch.full((shape[0],), told)).to(F64)
            at = torch.full((shape[0], 1, 1, 1), t)
            prev = oracle.previous(torch.full_like(at, following[t]), at, len(following), setting)
            level = oracle.level(table, at, prev, setting)
            stream = _reseeded(generator) if loop.reseeds else generator
            z = normal(shape, stream).to(F64) if following[t] >= 0 else torch.zeros(())
            given = Inputs(out, x.to(F64), level, setting, memory=memory)
            x, memory = oracle.step(given, z).float(), oracle.keep(given)
        model.train(training)
        return _picture(x, loop.codec) if uint8 else x

    return sample


def _reseeded(generator: Any) -> Any:
    if isinstance(generator, list):
        return [torch.Generator().manual_seed(3) for _ in generator]
    return torch.Generator().manual_seed(3)


def _picture(x: Tensor, codec: str) -> Tensor:
    grey = (x + 1) * 127.5
    if codec == "wrap":
        return grey.round().long().remainder(256).to(torch.uint8)
    grey = grey.clamp(0, 255)
    return (grey.round() if codec == "round" else grey.floor()).to(torch.uint8)


def loss_of(oracle: Oracle, setting: Setting) -> Any:
    """A training loss over an oracle's formulas, right or with its mistake."""
    table, T, how = oracle.alpha_bar(setting), setting.num_train_timesteps, oracle.loss
    kind = how.target or setting.prediction_type

    def loss(model: nn.Module, x_0: Tensor, generator: torch.Generator) -> Tensor:
        b = len(x_0)
        count = b if how.per_image else 1
        t = torch.randint(how.low, T - how.high, (count,), generator=generator).expand(b)
        draw = torch.randn if how.noise == "normal" else torch.rand
        noise = draw(x_0.shape, generator=generator)
        seen = how.scale * x_0 + how.shift
        x_t = oracle.add_noise(seen, noise, table, t)
        if how.redrawn:
            noise = torch.randn(x_0.shape, generator=generator)
        error = model(x_t, t) - _target(oracle, kind, table, seen, noise, t)
        if how.crossed:  # the weight min(SNR, 5) / SNR
            weight = (5 * (1 - table[t]) / table[t]).clamp(max=1).float()
            return (weight.reshape(-1, 1) * error.square().mean(dim=(1, 2, 3))).mean()
        return _reduced(error, how.reduce)

    return loss


def _target(
    oracle: Oracle, kind: str, table: Tensor, x_0: Tensor, noise: Tensor, t: Tensor
) -> Tensor:
    """What the output of a model is compared with."""
    if kind in ("epsilon", "minus"):
        return noise if kind == "epsilon" else -noise
    if kind == "sample":
        return x_0
    if kind == "v_sum":
        return oracle.velocity(-x_0, noise, table, t)
    if kind == "v_swapped":
        return oracle.velocity(x_0, noise, 1 - table, t)
    v = oracle.velocity(x_0, noise, table, t)
    return -v if kind == "v_minus" else v


def _reduced(error: Tensor, how: str) -> Tensor:
    """One number of the errors of a batch."""
    square = error.square()
    if how == "sum":
        return square.sum()
    if how == "before":
        return error.mean().square()
    if how == "first":
        return square[0].mean()
    return square.mean() if how == "mean" else square.sum() / len(error)
