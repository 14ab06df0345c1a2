"""What calls of a loss show: what the model is given, and what comes out."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from compare.candidate.load import Broken, raised
from compare.candidate.scheduler import seed_everything
from compare.candidate.spy import Spy, Told, exact_output, read_told
from compare.candidate.subject import Subject
from compare.oracle import F64, Oracle

HEIGHT = 0.6  # pixels of the images are +-HEIGHT
OFF = 4.0  # how wrong a model is that is wrong everywhere
TIMES = 512  # images of a call that shows which t are drawn
CALLS = 24  # by which x_t is taken apart


@dataclass(frozen=True)
class Seen:
    """What calls of a loss showed."""

    perfect: float
    perfect_t: Tensor  # (images,) the t at which it was asked
    zero: float
    told: Told  # how the model is told t
    t: Tensor  # (calls, b), counted from its base
    x: Tensor  # (images, pixels) what the model was given, for images of +-HEIGHT
    x_t: Tensor  # (images,) and at which t
    signs: Tensor  # (images, pixels) of those images
    dtype: torch.dtype  # of what the model was given
    gain: Tensor | None  # (images,) what one unit of x_0 adds to x_t, from two calls of one seed
    spoiled: Tensor  # (calls, 3) loss of one spoiled image, over what it should be
    adds: bool  # whether every spoiled image changed the loss
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


def look(subject: Subject, table: Tensor, calls: int) -> Seen:
    """Calls the loss with models of known answers; `table` (T,) is the candidate's alpha-bar.

    `calls` of `TIMES` images each show which t are drawn.
    """
    kind, T = subject.setting.prediction_type, len(table)
    signs = torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(0)).sign()
    x_0 = HEIGHT * signs
    times, told = _times(subject, table, calls, x_0)

    def perfect(seed: int, off: Tensor | float = 0.0) -> tuple[float, Tensor]:
        """The loss of a model that is off by so much, and the t at which it was asked."""
        model = Spy(lambda x, t: exact_output(kind, table, x, t, x_0.double()) + off, table, told)
        value = _call(subject, model, x_0, seed)
        return value, (model.seen[0][1].long() - told.base).clamp(0, T - 1)

    perfects = [perfect(seed) for seed in range(4)]
    shown = _shown(subject, table, told, x_0)
    spoiled, adds = [], True
    for seed in range(200, 204):
        value, t = perfect(seed)
        rows = (0, int(t.argmin()), int(t.argmax()))
        pairs = [_spoiled(subject, table, told, x_0, i, seed) for i in rows]
        spoiled.append([cost / max(part, 1e-12) for cost, part in pairs])
        adds = adds and all(cost != value for cost, _ in pairs)
    return Seen(
        perfect=sum(value for value, _ in perfects) / len(perfects),
        perfect_t=torch.cat([t for _, t in perfects]),
        told=told,
        t=times,
        signs=signs.flatten(1).repeat(CALLS, 1),
        spoiled=torch.tensor(spoiled),
        adds=adds,
        flat=perfect(0, OFF * torch.ones(8))[0],
        chequered=perfect(0, OFF * torch.tensor([1.0, -1.0]).repeat(4))[0],
        **shown,
    )


def loss_told(subject: Subject, table: Tensor) -> Tensor:
    """(TIMES,) float64 what a loss tells its model of as many images, as it tells it."""
    return subject.remember(("loss told",), lambda: _drawn(subject, table, 300))


def _drawn(subject: Subject, table: Tensor, seed: int) -> Tensor:
    model = Spy(_nothing, table)
    _call(subject, model, torch.zeros(TIMES, 1, 2, 2), seed)
    return model.raw[0].to(F64)


def _times(subject: Subject, table: Tensor, calls: int, x_0: Tensor) -> tuple[Tensor, Told]:
    """The t that each call of the loss draws for `TIMES` images, (calls, TIMES), and how told."""
    raw = torch.stack([_drawn(subject, table, 300 + seed) for seed in range(calls)])
    told = read_told(raw.flatten(), len(table))
    if told is None:
        share = float(raw.max()) <= 1 < len(table)
        told = Told("t / T", len(table)) if share else Told()
    times = raw if told.unit == 1 else (raw * told.unit).round()
    return times, replace(told, base=_base(subject, times, table, x_0, told))


def _nothing(x: Tensor, t: Tensor) -> Tensor:
    return 0 * x


def _shown(subject: Subject, table: Tensor, told: Told, x_0: Tensor) -> dict[str, Any]:
    """What a zero model is given, and costs; and the same for the images turned over."""
    zeros, xs, ts, gains = [], [], [], []
    for seed in range(100, 100 + CALLS):
        model, turned = Spy(_nothing, table, told), Spy(_nothing, table, told)
        zeros.append(_call(subject, model, x_0, seed))
        _call(subject, turned, -x_0, seed)
        (x, t), (other, again) = (m.seen[0][:2] for m in (model, turned))
        xs.append(x.flatten(1))
        ts.append((t.long() - told.base).clamp(0, len(table) - 1))
        if bool((t == again).all()):  # else it does not replay
            gains.append(((x - other) / (2 * x_0)).flatten(1).mean(dim=1))
    return {
        "zero": sum(zeros) / len(zeros),
        "x": torch.cat(xs),
        "x_t": torch.cat(ts),
        "dtype": model.dtype,
        "gain": torch.cat(gains) if len(gains) == CALLS else None,
    }


@dataclass(frozen=True)
class Inside:
    """The images and the noise in what the model was given, by an oracle's coefficients."""

    signal: Tensor  # (images,) the coefficient of x_0 at each image's t
    level: Tensor  # (images,) and that of the noise
    bright: float
    dark: float
    allowed: float  # how far off those two may be
    noise: Tensor  # (images, pixels)
    third: Tensor  # (images,) 0, 1, 2: t in the lower, middle or upper third

    def is_range(self, scale: float, shift: float) -> bool:
        """True if the model sees noise added to scale x_0 + shift."""
        wanted = [scale * v + shift for v in (HEIGHT, -HEIGHT)]
        return max(abs(self.bright - wanted[0]), abs(self.dark - wanted[1])) <= self.allowed


def look_inside(seen: Seen, table: Tensor, oracle: Oracle, errors: float, rounded: float) -> Inside:
    """Takes the x_t that the model was given apart, by the oracle's q(x_t given x_0).

    Args:
        seen: what calls of the loss showed.
        table: (T,) alpha-bars.
        oracle: whose add_noise it is.
        errors: how many standard errors the range of the images may be off.
        rounded: and how much by rounding.
    """
    every, one = torch.arange(len(table)), torch.ones(len(table), 1, 1, 1, dtype=F64)
    signal = oracle.add_noise(one, 0 * one, table, every).reshape(len(table))[seen.x_t]
    level = oracle.add_noise(0 * one, one, table, every).reshape(len(table))[seen.x_t]
    light = seen.signs > 0
    n, m = light.sum(dim=1), (~light).sum(dim=1)
    bright, dark = (seen.x * light).sum(dim=1) / n, (seen.x * ~light).sum(dim=1) / m
    # The centre of both, apart from a mean that the noise may have, and half of what is between:
    # sums over the images of (bright + dark) / 2 by `of_centre`, (bright - dark) / 2 by `of_half`.
    of_centre = torch.linalg.pinv(torch.stack([signal, level], dim=1))[0]
    of_half = signal / signal.square().sum()
    centre, half = of_centre @ (bright + dark) / 2, of_half @ (bright - dark) / 2
    up, down = ((of_centre + part).square() for part in (of_half, -of_half))
    variances = [(level / 2).square() @ (up / a + down / b) for a, b in ((n, m), (m, n))]
    allowed = errors * float(max(variances)) ** 0.5 + rounded
    high, low = float(centre + half), float(centre - half)
    inside = Inside(signal, level, high, low, allowed, seen.x, 3 * seen.x_t // len(table))
    if inside.is_range(oracle.loss.scale, oracle.loss.shift):  # then exactly
        high, low = (oracle.loss.scale * v + oracle.loss.shift for v in (HEIGHT, -HEIGHT))
    image = torch.where(light, high, low)
    noise = (seen.x - signal.reshape(-1, 1) * image) / level.reshape(-1, 1)
    return replace(inside, noise=noise)


def _spoiled(
    subject: Subject, table: Tensor, told: Told, x_0: Tensor, i: int, seed: int
) -> tuple[float, float]:
    """The loss of a model perfect but for image i, and what that image alone should add."""
    kind = subject.setting.prediction_type
    added: list[float] = []

    def answer(x: Tensor, t: Tensor) -> Tensor:
        out = exact_output(kind, table, x, t, x_0.double())
        added.append(float(out[i].square().mean()) / len(x))
        out[i] = 0
        return out

    return _call(subject, Spy(answer, table, told), x_0, seed), added[0]


def _base(subject: Subject, t: Tensor, table: Tensor, x_0: Tensor, told: Told) -> int:
    """What t counts from; where neither 0 nor T is drawn, by the signal level at t or at t - 1."""
    if int(t.min()) == 0 or int(t.max()) >= len(table):
        return int(int(t.max()) >= len(table) and int(t.min()) > 0)
    seen = []
    for images in (x_0, -x_0):
        model = Spy(_nothing, table, told)
        _call(subject, model, images, 100)
        seen.append(model.seen[0])
    (one, at, *_), (other, *_) = seen
    gain = ((one - other) / (2 * x_0)).flatten(1).mean(dim=1)
    off = [float((gain - table[at.long() - base].sqrt()).abs().sum()) for base in (0, 1)]
    return int(off[1] < off[0])
