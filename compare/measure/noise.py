"""Is z N(0, 1), fresh, and its own? The one judge of noise.

It serves a step's large draw (stage variance), a walked chain, the steps of a loop and its x_T
(stage sampling), and the noise of a loss. Each statistic is written once, with its bound from its
law (`compare.measure.law`): a check blames right noise with probability `RATE` at most, shared
among all that the check looks at. What float32 may do to z (`share`) is allowed on top.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from compare.measure import law as laws
from compare.measure.tolerances import RATE, once_in
from compare.oracle import F64, Oracle

FEW = 512  # pixels or images by which noise is compared with all that came before
RIGHT = {  # what is looked at in a chain, from call to call and then at its end
    "silent": "where float32 hides z, or there is none, every step ends where it should",
    "steps": "what a step leaves after its mean, over sigma, has mean 0 and std 1",
    "law": "what the steps leave after their means, over sigma, is N(0, 1)",
    "fresh": "the noise of a step does not depend on x_t, nor on any call before",
    "batch-mates": "the noise of an image does not depend on other images",
    "moments": "means and mean squares of the images are those of the oracle's",
    "projections": "projections of the images have the law of the oracle's",
    "energy": "the energy distance of the images from the oracle's is 0",
    "neighbours": "neighbours in the batch are no more alike than the oracle's",
}
AT_THE_END = ("moments", "projections", "energy", "neighbours")
KEPT = "; since single steps pass, look for what a call keeps of calls before it"


def has_right(oracle: Oracle, *formulas: str) -> bool:
    """True if these formulas are the right ones, whatever else is wrong in an oracle.

    Only noise asks: the exact laws hold for fresh N(0, 1) at the right levels alone. The law of a
    mistake is known by draws of its own, and noise is compared with those (`reference`).
    """
    right = Oracle()
    return all(getattr(oracle, name) == getattr(right, name) for name in formulas)


class Law(NamedTuple):
    """How a statistic of n draws of N(0, 1) is distributed.

    Attributes:
        words: its name.
        bound: (n, rate) -> how far from its mean it may be.
        slope: how far one unit of float32's share of z may move it.
    """

    words: str
    bound: Callable[[float, float], float]
    slope: float


MEAN = Law("N(0, 1/n)", laws.of_mean, 1.0)
STD = Law("chi-square", laws.of_std, 1.0)
DISTANCE = Law("Massart's inequality", laws.of_distance, 0.4)  # the density is 0.4 at most
COSINE = Law("the angle between normal vectors", laws.of_cosine, 4.0)  # each unit vector moves by 2


@dataclass(frozen=True)
class Statistic:
    """A number that draws show.

    Attributes:
        value: what it is.
        draws: how many numbers it is made of.
        law: of the statistic, if those are N(0, 1).
        right: what it should be then.
        most: what it is where all that is compared is the same, if that is the most it can be.
    """

    value: float
    draws: float
    law: Law
    right: float = 0.0
    most: float = float("inf")

    def allowed(
        self, rate: float = RATE, share: float = 0.0, reference: "Statistic | None" = None
    ) -> float:
        """How far from its aim it may be: `right`, or the value of a reference of as many draws.

        The difference of two samples of n varies like one of n / 2. The nearer a cosine is to 1,
        the less it varies (Fisher 1915); there float32 is left.
        """
        aim, n = self.right, self.draws
        if reference is not None:
            aim, n = reference.value, reference.draws / 2
        loose = 1 - min(abs(aim) / self.most, 1.0) ** 2
        return loose * (self.law.bound(n, rate) + self.law.slope * share) + 8 * share**2

    def reason(self, rate: float = RATE) -> str:
        """Why so much is allowed, and how often right noise is blamed."""
        return f"{self.law.words} for n = {self.draws:.0f} draws: false alarm {once_in(rate)}"


def moments(z: Tensor) -> dict[str, Statistic]:
    """Mean and std of all of z."""
    std, mean = torch.std_mean(z.flatten().to(F64))
    n = z.numel()
    return {"mean": Statistic(float(mean), n, MEAN), "std": Statistic(float(std), n, STD, 1.0)}


def cosine(a: Tensor, b: Tensor) -> Statistic:
    """How alike two tensors of the same shape are, one of which is N(0, 1) given the other."""
    a, b = a.flatten().to(F64), b.flatten().to(F64)
    value = float((a @ b) / (a.norm() * b.norm()).clamp(min=1e-30))
    return Statistic(value, a.numel(), COSINE, most=1.0)


def neighbours(z: Tensor, dim: int) -> Statistic:
    """The correlation of neighbours along an axis of two or more, as an angle.

    Given every other slice the slices between are fresh N(0, 1), so the angle of these to the sums
    of both their neighbours has the exact law. Scaled, it is the correlation over all pairs.
    """
    slices = z.movedim(dim, 0).to(F64)
    own, other = slices[1::2], slices[::2]
    both = other[: len(own)].clone()
    both[: len(other) - 1] += other[1:]
    pairs = (len(slices) - 1) * slices[0].numel()
    scale = (own.numel() / pairs) ** 0.5
    return Statistic(cosine(own, both).value * scale, pairs, COSINE, most=scale)


def statistics(z: Tensor, second: Tensor, other: Tensor | None = None) -> dict[str, Statistic]:
    """What one draw (b, c, h, w) shows, beside the generator's next and another seed's."""
    distance = Statistic(laws.distance_to_normal(z), z.numel(), DISTANCE)
    found = {**moments(z), "distance to N(0, 1)": distance}
    axes = {"neighbours in a row": -1, "neighbours in a column": -2, "channels": 1, "images": 0}
    for name, dim in axes.items():
        if z.shape[dim] > 1:
            found[f"correlation of {name}"] = neighbours(z, dim)
    found["correlation of calls"] = cosine(z, second)
    if other is not None:
        found["correlation of seeds"] = cosine(z, other)
    return found


def reference(oracle: Oracle, shape: tuple[int, ...]) -> dict[str, Statistic]:
    """The same of an oracle's own draw; `draws` counts the numbers that it draws singly."""
    stream, other = torch.Generator().manual_seed(21), torch.Generator().manual_seed(22)
    three = [oracle.draw(shape, g, torch.float32) for g in (stream, stream, other)]
    singly = len(three[0].unique()) / three[0].numel()
    found = statistics(*three)
    return {name: replace(seen, draws=seen.draws * singly) for name, seen in found.items()}


@dataclass(frozen=True)
class Evidence:
    """One thing that was looked at: it may be `allowed` at most."""

    measured: float
    allowed: float
    message: str

    @property
    def holds(self) -> bool:
        """False for NaN too."""
        return self.measured <= self.allowed


def of_rows(
    z: Tensor,
    share: Tensor,
    rate: float,
    name: Callable[[int], str],
    aims: dict[str, Statistic] | None = None,
) -> dict[str, Evidence]:
    """Mean and std of every row of z (k, n); `aims` are those of a reference of as many draws.

    Args:
        z: (k, n) noise of k steps.
        share: (k,) what float32 may do to it.
        rate: of false alarms, for the means and again for the stds.
        name: what to call row i.
        aims: what mean and std should be, if not 0 and 1.
    """
    k, n = z.shape
    std, mean = torch.std_mean(z, dim=1)

    def off(what: str, values: Tensor, right: float, law: Law) -> Evidence:
        aim, draws = (right, n) if aims is None else (aims[what].value, aims[what].draws / 2)
        allowed = law.bound(draws, rate / k) + share
        gap = (values.to(F64) - aim).abs()
        return _first(gap, allowed, lambda i: f"z of {name(i)} has {what} {float(values[i]):.3f}")

    return {"mean": off("mean", mean, 0.0, MEAN), "std": off("std", std, 1.0, STD)}


@dataclass(frozen=True)
class Noise:
    """What steps with noise leave: z (k, b, 4) float32, and float32's share of it, (k,)."""

    t: Tensor
    x: Tensor
    z: Tensor
    share: Tensor


def silent(t: Tensor, left: Tensor, size: Tensor, bound: Tensor) -> Evidence:
    """Steps without noise, or with less than float32 can show: no pixel is further off than both.

    Args:
        t, size, bound: (k,) the steps, their sigma, and what float32 may do.
        left: (k, b, 4) what the steps leave after their means.
    """

    def say(i: int) -> str:
        return f"the step from t={int(t[i])} is at most {float(off[i]):.3g} away from its mean"

    if not len(t):
        return Evidence(0.0, 0.0, RIGHT["silent"])
    off = left.abs().amax(dim=(1, 2)).to(F64)
    return _first(off, bound + laws.normal_bound(RATE / left.numel()) * size, say)


def of_noise(noise: Noise) -> dict[str, Evidence]:
    """What z must be: N(0, 1) at every step, and independent of x, of other calls and images."""
    t, share, rate = noise.t.tolist(), noise.share, RATE / 4
    flat = noise.z.flatten(1)
    k = len(flat)

    def name(i: int) -> str:
        return f"the step from t={t[i]}"

    each = of_rows(flat, share, rate, name)
    steps = worst(*each.values(), *_of_all(flat, share, rate))
    clear = flat[share <= share.median()].flatten()
    some = clear[:: 1 + clear.numel() // 2**16]
    off, far = laws.distance_to_normal(some), DISTANCE.slope * float(share.median())
    law = Evidence(off, laws.of_distance(len(some), RATE) + far, f"z is {off:.4f} from N(0, 1)")
    own = apart_from_x(flat, noise.x.flatten(1), share, rate, name)
    images, calls = noise.z[:, :FEW].transpose(0, 1).flatten(1), flat[:, :FEW]
    others = _apart(calls, share * calls.shape[1] ** 0.5, rate, t) if k > 1 else ()
    of_image = share.square().sum().mul(noise.z.shape[2]).sqrt().expand(len(images))
    mates = _apart(images, of_image, RATE, None)[0]
    return {"steps": steps, "law": law, "fresh": worst(own, *others), "batch-mates": mates}


def _of_all(z: Tensor, share: Tensor, rate: float) -> tuple[Evidence, Evidence]:
    """Mean and std of the z of all steps together."""
    seen = moments(z)
    mean, std = (seen[what].value for what in ("mean", "std"))
    by_mean = seen["mean"].allowed(rate) + float(share.mean())
    by_std = seen["std"].allowed(rate) + float(share.square().mean().sqrt())
    return (
        Evidence(abs(mean), by_mean, f"z of all steps has mean {mean:.5f}"),
        Evidence(abs(std - 1), by_std, f"z of all steps has std {std:.5f}"),
    )


def apart_from_x(
    z: Tensor, x: Tensor, share: Tensor, rate: float, name: Callable[[int], str]
) -> Evidence:
    """z along x_t is exactly N(0, 1) at every step, and so is the sum of all steps over its root.

    Args:
        z, x: (k, n) noise and sample of k steps.
        share: (k,) what float32 may do to z.
        rate: of false alarms, for the steps and again for their sum.
        name: what to call step i.
    """
    k, n = z.shape
    along = ((z * x).sum(1) / x.norm(dim=1)).to(F64)
    total, by_float = float(along.sum().abs()) * k**-0.5, float(share.sum()) * (n / k) ** 0.5
    each = laws.normal_bound(rate / k) + share * n**0.5
    return worst(
        _first(along.abs(), each, lambda i: f"z of {name(i)} depends on x_t"),
        Evidence(total, laws.normal_bound(rate) + by_float, "z depends on x_t"),
    )


def _apart(rows: Tensor, share: Tensor, rate: float, t: list[int] | None) -> tuple[Evidence, ...]:
    """Rows of N(0, 1) against every row before, each pair and each distance between rows.

    A row along the direction of another is exactly N(0, 1), and so is a sum of such over its root.
    """
    k = len(rows)
    along = torch.tril(rows @ rows.T / rows.norm(dim=1), -1).to(F64)
    bound = laws.normal_bound(2 * rate / (k * (k - 1)))
    most, other = along.abs().nan_to_num(torch.inf).max(dim=1)

    def say(i: int) -> str:
        if t is None:
            return f"the noise of image {i} is like that of image {int(other[i])}"
        return f"the noise of the step from t={t[i]} is like that from t={t[int(other[i])]}"

    pairs = _first(most, bound + share, say)
    if t is None:
        return (pairs,)
    sums = torch.stack([along.diagonal(-gap).sum() * (k - gap) ** -0.5 for gap in range(1, k)])
    shares = torch.stack([share[gap:].sum() * (k - gap) ** -0.5 for gap in range(1, k)])
    words = "the noise of a step is like that of {} calls before"
    bound = laws.normal_bound(rate / k)
    return pairs, _first(sums.abs(), bound + shares, lambda i: words.format(i + 1))


TURNED: dict[str, tuple[int, ...]] = {"": (), ", mirrored": (-1,), ", upside down": (-2,)}


def mates(z: Tensor, share: float, rate: float = RATE) -> Evidence:
    """Each image of one draw (b, c, h, w) against every other, as it is and turned over; the other
    sign shows as well.

    An image along the direction of another is exactly N(0, 1).
    """
    b, rows = len(z), z.flatten(1).to(F64)
    pairs, found = b * (b - 1) * len(TURNED), []
    allowed = laws.normal_bound(rate / pairs) + share * rows.shape[1] ** 0.5
    for words, axes in TURNED.items():
        other = z.flip(axes).flatten(1).to(F64)
        along = (rows @ other.T / other.norm(dim=1)).abs().fill_diagonal_(0)
        i, j = divmod(int(along.argmax()), b)
        sign = "minus " if float(rows[i] @ other[j]) < 0 else ""
        said = f"the noise of image {max(i, j)} is like {sign}that of image {min(i, j)}{words}"
        found.append(Evidence(float(along[i, j]), allowed, said))
    return worst(*found)


def _first(values: Tensor, allowed: Tensor, say: Callable[[int], str]) -> Evidence:
    """The first value that is too large, or else the one nearest to it."""
    ratio = (values / allowed).nan_to_num(torch.inf)
    beyond = (ratio > 1).nonzero().flatten()
    i = int(beyond[0]) if len(beyond) else int(ratio.argmax())
    return Evidence(float(values[i]), float(allowed[i]), say(i))


def worst(*parts: Evidence) -> Evidence:
    """The part that is furthest beyond what is allowed, or is not a number."""
    ratios = torch.tensor([part.measured / part.allowed for part in parts])
    return parts[int(ratios.nan_to_num(torch.inf).argmax())]
