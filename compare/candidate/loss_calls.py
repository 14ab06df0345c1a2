"""What calls of a loss show: what the model is given, and what comes out."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compare.candidate.load import Broken, raised
from compare.candidate.scheduler import seed_everything
from compare.candidate.spy import Spy, exact_output
from compare.candidate.subject import Subject
from compare.oracle import F64, Oracle

HEIGHT = 0.6  # pixels of the images are +-HEIGHT


@dataclass(frozen=True)
class Seen:
    """What calls of a loss showed."""

    perfect: float
    perfect_t: Tensor  # (images,) the t at which it was asked
    zero: float
    absolute: bool
    base: int  # what the caller counts t from, 0 or 1
    t: Tensor  # (calls, b)
    x: Tensor  # (images, pixels) what the model was given, for images of +-HEIGHT
    x_t: Tensor  # (images,) and at which t
    signs: Tensor  # (images, pixels) of those images
    dtype: torch.dtype  # of what the model was given
    gain: Tensor | None  # (images,) what one unit of x_0 adds to x_t, from two calls of one seed
    spoiled: Tensor  # (calls, 2) loss of one spoiled image, over what it should be
    flat: float  # loss of a model that is wrong by the same amount everywhere
    chequered: float  # and of one that is wrong by it up and down


def _call(subject: Subject, model: Spy, x_0: Tensor, seed: int) -> float:
    assert subject.adapter is not None
    assert subject.adapter.loss is not None
    seed += 10_000 * subject.seed
    seed_everything(seed)
    stream = torch.Generator().manual_seed(seed)
    try:
        value = torch.as_tensor(subject.adapter.loss(model, x_0.clone(), stream)).float()
    except Exception as error:
        raise Broken(f"loss raises {raised(error)}") from None
    if not model.seen:
        raise Broken("loss never calls the model", raised=False)
    if value.numel() not in (1, len(x_0)):
        raise Broken(f"loss returned shape {tuple(value.shape)}, not a scalar", raised=False)
    return float(value.mean())


def look(subject: Subject, table: Tensor) -> Seen:
    """Calls the loss with models of known answers; `table` (T,) is the candidate's alpha-bar."""
    kind, T = subject.setting.prediction_type, len(table)
    signs = torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(0)).sign()
    x_0 = HEIGHT * signs

    def perfect(x: Tensor, t: Tensor) -> Tensor:
        return exact_output(kind, table, x, t, x_0.double())

    def nothing(x: Tensor, t: Tensor) -> Tensor:
        return 0 * x

    small = torch.zeros(512, 1, 2, 2)
    times = []
    for seed in range(max(2, 21 * T // 512 + 1)):
        model = Spy(nothing, table)
        _call(subject, model, small, 300 + seed)
        times.append(model.seen[0][1])
    base = _base(subject, torch.stack(times), table, x_0)
    zeros, xs, ts, spoils = [], [], [], []
    perfects, perfect_t = [], []
    for seed in range(4):
        model = Spy(perfect, table, base)
        perfects.append(_call(subject, model, x_0, seed))
        perfect_t.append((model.seen[0][1].long() - base).clamp(0, T - 1))
    for seed in range(24):
        model = Spy(nothing, table)
        zeros.append(_call(subject, model, x_0, 100 + seed))
        x, t, _, _ = model.seen[0]
        xs.append(x.flatten(1))
        ts.append((t.long() - base).clamp(0, T - 1))
    gains = []
    for seed in range(24):
        model = Spy(nothing, table)
        _call(subject, model, -x_0, 100 + seed)
        other, t, _, _ = model.seen[0]
        if bool(((t.long() - base).clamp(0, T - 1) == ts[seed]).all()):  # else it does not replay
            gains.append(((xs[seed] - other.flatten(1)) / (2 * x_0.flatten(1))).mean(dim=1))
    for seed in range(4):
        spoils.append([_spoiled(subject, table, base, x_0, i, 200 + seed) for i in (0, 1)])
    chequers = torch.tensor([1.0, -1.0]).repeat(4)

    def off(pattern: Tensor) -> float:
        model = Spy(lambda x, t: perfect(x, t) + 4 * pattern, table, base)
        return _call(subject, model, x_0, 0)

    target = torch.randn(100_000, generator=torch.Generator().manual_seed(1))
    zero = sum(zeros) / len(zeros)
    return Seen(
        perfect=sum(perfects) / len(perfects),
        perfect_t=torch.cat(perfect_t),
        zero=zero,
        absolute=abs(zero - float(target.abs().mean())) < 0.01,
        base=base,
        t=torch.stack(times),
        x=torch.cat(xs),
        x_t=torch.cat(ts),
        signs=signs.flatten(1).repeat(24, 1),
        dtype=model.dtype,
        gain=torch.cat(gains) if len(gains) == 24 else None,
        spoiled=torch.tensor(spoils),
        flat=off(torch.ones(8)),
        chequered=off(chequers),
    )


@dataclass(frozen=True)
class Inside:
    """The images and the noise in what the model was given, by an oracle's coefficients."""

    signal: Tensor  # (images,) the coefficient of x_0 at each image's t
    bright: float
    dark: float
    noise: Tensor  # (images, pixels)
    third: Tensor  # (images,) 0, 1, 2: t in the lower, middle or upper third

    def is_range(self, scale: float, shift: float) -> bool:
        """True if the model sees noise added to scale x_0 + shift."""
        wanted = [scale * v + shift for v in (HEIGHT, -HEIGHT)]
        return max(abs(self.bright - wanted[0]), abs(self.dark - wanted[1])) < 0.04


def look_inside(seen: Seen, table: Tensor, oracle: Oracle) -> Inside:
    """Takes the x_t that the model was given apart, by the oracle's q(x_t given x_0)."""
    every, one = torch.arange(len(table)), torch.ones(len(table), 1, 1, 1, dtype=F64)
    signal = oracle.add_noise(one, 0 * one, table, every).reshape(len(table))[seen.x_t]
    level = oracle.add_noise(0 * one, one, table, every).reshape(len(table))[seen.x_t]
    light = seen.signs > 0
    bright = (seen.x * light).sum(dim=1) / light.sum(dim=1)
    dark = (seen.x * ~light).sum(dim=1) / (~light).sum(dim=1)
    both = torch.stack([signal, level], dim=1)
    # apart from a mean that the noise may have
    centre = torch.linalg.lstsq(both, ((bright + dark) / 2).reshape(-1, 1)).solution[0]
    half = (signal * (bright - dark) / 2).sum() / signal.square().sum()
    high, low = float(centre + half), float(centre - half)
    inside = Inside(signal, high, low, seen.x, 3 * seen.x_t // len(table))
    if inside.is_range(oracle.loss.scale, oracle.loss.shift):  # then exactly
        high, low = (oracle.loss.scale * v + oracle.loss.shift for v in (HEIGHT, -HEIGHT))
    image = torch.where(light, high, low)
    noise = (seen.x - signal.reshape(-1, 1) * image) / level.reshape(-1, 1)
    return replace(inside, noise=noise)


def _spoiled(subject: Subject, table: Tensor, base: int, x_0: Tensor, i: int, seed: int) -> float:
    """The loss of a model perfect but for image i, over what that image alone should add."""
    kind = subject.setting.prediction_type
    added: list[float] = []

    def answer(x: Tensor, t: Tensor) -> Tensor:
        out = exact_output(kind, table, x, t, x_0.double())
        added.append(float(out[i].square().mean()) / len(x))
        out[i] = 0
        return out

    value = _call(subject, Spy(answer, table, base), x_0, seed)
    return value / max(added[0], 1e-12)


def _base(subject: Subject, t: Tensor, table: Tensor, x_0: Tensor) -> int:
    """What t counts from; where neither 0 nor T is drawn, by the signal level at t or at t - 1."""
    if int(t.min()) == 0 or int(t.max()) >= len(table):
        return int(int(t.max()) >= len(table) and int(t.min()) > 0)
    seen = []
    for images in (x_0, -x_0):
        model = Spy(lambda x, t: 0 * x, table)
        _call(subject, model, images, 100)
        seen.append(model.seen[0])
    (one, at, *_), (other, *_) = seen
    gain = ((one - other) / (2 * x_0)).flatten(1).mean(dim=1)
    off = [float((gain - table[at.long() - base].sqrt()).abs().sum()) for base in (0, 1)]
    return int(off[1] < off[0])
