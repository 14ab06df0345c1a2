"""Stage loss (the role `loss`): a perfect model has loss 0, a zero model 1, every t is trained."""

from dataclasses import dataclass

import torch
from torch import Tensor

from compare.candidate import brief
from compare.ledger import Ledger
from compare.oracle import Oracle, Setting
from compare.probe import alpha_bars
from compare.report import Check
from compare.roles import Spy, exact_output, per_image
from compare.subject import Broken, Subject
from compare.tolerances import TOLERANCES
from compare.variance import SIX

HEIGHT = 0.6  # pixels of the images are +-HEIGHT


@dataclass(frozen=True)
class Seen:
    """What calls of a loss showed."""

    perfect: float
    zero: float
    absolute: bool
    t: Tensor  # (calls, b)
    bright: float
    dark: float
    noise: Tensor
    spoiled: Tensor  # (calls, 2) loss of one spoiled image, over what it should be


def checks(subject: Subject, oracle: Oracle) -> list[Check]:
    """Range of the images, law of the noise, cover of t, values for known models."""
    ledger = Ledger("loss", subject.strict)
    if subject.adapter is None or subject.adapter.loss is None:
        return ledger.checks
    with ledger.guard("run"):
        table = alpha_bars(subject, Oracle(), subject.setting)
        seen = subject.remember(("loss",), lambda: _look(subject, table))
        _range(ledger, seen, oracle)
        _times(ledger, seen, oracle, subject.setting)
        _noise(ledger, seen, oracle)
        _values(ledger, seen, oracle, subject.setting)
    return ledger.checks


def _call(subject: Subject, model: Spy, x_0: Tensor, seed: int) -> float:
    assert subject.adapter is not None
    assert subject.adapter.loss is not None
    torch.default_generator.manual_seed(seed)
    stream = torch.Generator().manual_seed(seed)
    try:
        value = torch.as_tensor(subject.adapter.loss(model, x_0.clone(), stream)).float()
    except (Exception, SystemExit) as error:
        raise Broken(f"loss raises {brief(error)}") from None
    if not model.seen:
        raise Broken("loss never calls the model", raised=False)
    if value.numel() not in (1, len(x_0)):
        raise Broken(f"loss returned shape {tuple(value.shape)}, not a scalar", raised=False)
    return float(value.mean())


def _look(subject: Subject, table: Tensor) -> Seen:
    kind, T = subject.setting.prediction_type, len(table)
    signs = torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(0)).sign()
    x_0 = HEIGHT * signs

    def perfect(x: Tensor, t: Tensor) -> Tensor:
        return exact_output(kind, table, x, t, x_0.double())

    def nothing(x: Tensor, t: Tensor) -> Tensor:
        return 0 * x

    zeros, greys, noises, spoils = [], [], [], []
    perfects = [_call(subject, Spy(perfect, table), x_0, seed) for seed in range(4)]
    for seed in range(24):
        model = Spy(nothing, table)
        zeros.append(_call(subject, model, x_0, 100 + seed))
        x, t, _, _ = model.seen[0]
        t = t.clamp(0, T - 1)
        bright = (x * (signs > 0)).sum(dim=(1, 2, 3)) / (signs > 0).sum(dim=(1, 2, 3))
        dark = (x * (signs < 0)).sum(dim=(1, 2, 3)) / (signs < 0).sum(dim=(1, 2, 3))
        greys.append(torch.stack([table[t].sqrt(), (1 - table[t]).sqrt(), bright, dark], dim=1))
        noises.append((t, x))
    high, low = _levels(torch.cat(greys))
    noise = torch.cat([_noise_in(x, table, t, signs, high, low).flatten() for t, x in noises])
    for seed in range(4):
        spoils.append([_spoiled(subject, table, kind, x_0, i, 200 + seed) for i in (0, 1)])
    small = torch.zeros(512, 1, 2, 2)
    times = []
    for seed in range(max(2, 21 * T // 512 + 1)):
        model = Spy(nothing, table)
        _call(subject, model, small, 300 + seed)
        times.append(model.seen[0][1])
    target = torch.randn(100_000, generator=torch.Generator().manual_seed(1))
    zero = sum(zeros) / len(zeros)
    return Seen(
        max(perfects), zero, abs(zero - float(target.abs().mean())) < 0.01, torch.stack(times),
        high, low, noise, torch.tensor(spoils),
    )  # fmt: skip


def _levels(rows: Tensor) -> tuple[float, float]:
    """What bright and dark pixels are scaled to, apart from a mean that the noise may have."""
    signal, noise, bright, dark = rows.T
    both = torch.stack([signal, noise], dim=1)
    centre = torch.linalg.lstsq(both, ((bright + dark) / 2).reshape(-1, 1)).solution[0]
    half = (signal * (bright - dark) / 2).sum() / signal.square().sum()
    return float(centre + half), float(centre - half)


def _noise_in(
    x: Tensor, table: Tensor, t: Tensor, signs: Tensor, bright: float, dark: float
) -> Tensor:
    image = torch.where(signs > 0, bright, dark)
    return (x - per_image(table[t].sqrt(), x) * image) / per_image((1 - table[t]).sqrt(), x)


def _spoiled(subject: Subject, table: Tensor, kind: str, x_0: Tensor, i: int, seed: int) -> float:
    """The loss of a model perfect but for image i, over what that image alone should add."""
    added: list[float] = []

    def answer(x: Tensor, t: Tensor) -> Tensor:
        out = exact_output(kind, table, x, t, x_0.double())
        added.append(float(out[i].square().mean()) / len(x))
        out[i] = 0
        return out

    value = _call(subject, Spy(answer, table), x_0, seed)
    return value / max(added[0], 1e-12)


def _range(ledger: Ledger, seen: Seen, oracle: Oracle) -> None:
    how = oracle.loss
    wanted = [how.scale * v + how.shift for v in (HEIGHT, -HEIGHT)]
    off = max(abs(a - b) for a, b in zip((seen.bright, seen.dark), wanted, strict=True))
    said = (
        f"pixels of {HEIGHT} and {-HEIGHT} reach the model as {seen.bright:.2f} and {seen.dark:.2f}"
    )
    ledger.judge("range", off < 0.04, said, f"{said}: the images are rescaled", measured=off,
                 allowed=0.04, input="images in [-1, 1]", catches="mistakes 34-36")  # fmt: skip


def _times(ledger: Ledger, seen: Seen, oracle: Oracle, setting: Setting) -> None:
    T, how = setting.num_train_timesteps, oracle.loss
    distinct = min(len(row.unique()) for row in seen.t)
    ledger.judge("per-image", (distinct > 1) == how.per_image, "every image has its own t",
                 "all images of a batch have the same t", measured=float(distinct),
                 catches="mistake 19")  # fmt: skip
    if distinct == 1:
        return  # too few different t to say what they cover
    low, high = int(seen.t.min()), int(seen.t.max())
    base = int(low == 1 and high == T)
    ok = low - base == how.low and high - base == T - 1 - how.high
    ledger.judge("cover", ok, f"t covers {low}..{high}",
                 f"t covers {low}..{high}, should cover 0..{T - 1}",
                 reason=f"a t of {T} is missed by chance with probability 1e-9",
                 catches="mistake 20")  # fmt: skip
    if base:
        ledger.add("t-base", "note", "t counts from 1 (mistake 77 if sampling counts from 0)")


def _noise(ledger: Ledger, seen: Seen, oracle: Oracle) -> None:
    centre, spread = (0.0, 1.0) if oracle.loss.noise == "normal" else (0.5, 12**-0.5)
    n = len(seen.noise)
    allowed = 2 * SIX * n**-0.5 + 0.01
    for name, got, wanted in (
        ("mean", float(seen.noise.mean()), centre),
        ("std", float(seen.noise.std()), spread),
    ):
        ledger.add(f"noise/{name}", "close" if abs(got - wanted) <= allowed else "differs",
                   f"{name} of the noise is {got:.3f}, should be {wanted:.3f}",
                   measured=abs(got - wanted), allowed=allowed,
                   reason=TOLERANCES["law"].reason, catches="mistake 17")  # fmt: skip


def _values(ledger: Ledger, seen: Seen, oracle: Oracle, setting: Setting) -> None:
    how, kind = oracle.loss, setting.prediction_type
    if (how.scale, how.shift) != (1.0, 0.0) or abs(seen.bright - HEIGHT) > 0.04:
        return  # the exact answers below are those for the images that were given
    power = 1.0 if how.noise == "normal" else 1 / 3
    image = HEIGHT**2
    target = how.target or kind
    zero = image if target == "sample" else power
    perfect = 2.0 if how.redrawn else 0.0
    if target != kind:
        perfect = power + image
    factor = {"mean": 1.0, "sum": 32.0 * 192, "batch": 192.0}[how.reduce]
    ledger.judge("perfect", abs(seen.perfect - factor * perfect) <= 1e-4 + 0.1 * factor * perfect,
                 f"a perfect model has loss {factor * perfect:g}",
                 f"a perfect model has loss {seen.perfect:.3g}, should have {factor * perfect:g}",
                 measured=abs(seen.perfect - factor * perfect), allowed=1e-4,
                 reason="float32 rounding of x_t, divided by the noise level at t = 0",
                 catches="mistakes 18, 26, 27")  # fmt: skip
    mixed = kind == "v_prediction" and target == kind
    weighted = float(seen.spoiled.max() - seen.spoiled.min()) > 0.02 * float(seen.spoiled.max())
    if seen.absolute and perfect == 0:
        ledger.add("zero", "note", "a zero model has loss 0.80: the loss is absolute (L1)")
    elif not mixed and not weighted:
        off = abs(seen.zero / factor - zero)
        ledger.judge("zero", off < 0.03 * zero, f"a zero model has loss {seen.zero:.3g}",
                     f"a zero model has loss {seen.zero:.4g}, should have {factor * zero:.3g}",
                     measured=off, allowed=0.03 * zero, reason="6 standard errors",
                     catches="mistakes 17, 32")  # fmt: skip
    rows = seen.spoiled
    alike = bool((rows[:, 0] - rows[:, 1]).abs().max() < 1e-3 * rows.abs().max())
    crossed = weighted and alike
    ledger.judge("weights", crossed == how.crossed, "an image adds its own weighted loss",
                 "every image of a batch gets the same weight, another in each batch",
                 catches="mistake 23")  # fmt: skip
