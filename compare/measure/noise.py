"""What a walked chain shows: its noise from call to call, and its images against the oracle's.

Every statistic comes with what is allowed of it, so that a right chain is blamed with probability
`RATE` at most; each check shares that among all that it looks at. What float32 may do to a step,
over sigma, is allowed on top (`share`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from compare.measure import law as laws
from compare.measure.tolerances import RATE
from compare.oracle import F64

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


@dataclass(frozen=True)
class Evidence:
    """One statistic: it may be `allowed` at most."""

    measured: float
    allowed: float
    message: str

    @property
    def holds(self) -> bool:
        """False for NaN too."""
        return self.measured <= self.allowed


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
    t, share, z = noise.t.tolist(), noise.share, noise.z
    flat = z.flatten(1)
    k, n = flat.shape
    rate = RATE / 4

    def size_allowed(count: int, rate: float) -> float:
        low, high = laws.chi_square_bounds(count, rate)
        return max(1 - low**0.5, high**0.5 - 1)

    mean, size = flat.mean(1, dtype=F64), flat.square().mean(1, dtype=F64).sqrt()
    whole = float(size.square().mean().sqrt())
    steps = _worst(
        _first(mean.abs(), laws.normal_bound(rate / k) * n**-0.5 + share,
               lambda i: f"z of the step from t={t[i]} has mean {float(mean[i]):.3f}"),
        _first((size - 1).abs(), size_allowed(n, rate / k) + share,
               lambda i: f"z of the step from t={t[i]} has std {float(size[i]):.3f}"),
        Evidence(abs(float(mean.mean())), laws.normal_bound(rate) * (n * k) ** -0.5
                 + float(share.mean()), f"z of all steps has mean {float(mean.mean()):.5f}"),
        Evidence(abs(whole - 1), size_allowed(n * k, rate) + float(share.square().mean().sqrt()),
                 f"z of all steps has std {whole:.5f}"),
    )  # fmt: skip
    clear = flat[share <= share.median()].flatten()
    some = clear[:: 1 + clear.numel() // 2**16]
    distance, allowed = laws.distance_to_normal(some, RATE)
    law = Evidence(
        distance, allowed + 0.4 * float(share.median()), f"z is {distance:.4f} from N(0, 1)"
    )
    own = apart_from_x(flat, noise.x.flatten(1), share, rate, lambda i: f"the step from t={t[i]}")
    images = z[:, :FEW].transpose(0, 1).flatten(1)
    calls = flat[:, :FEW]
    others = _apart(calls, share * calls.shape[1] ** 0.5, rate, t) if k > 1 else ()
    of_image = share.square().sum().mul(z.shape[2]).sqrt().expand(len(images))
    mates = _apart(images, of_image, RATE, None)[0]
    return {"steps": steps, "law": law, "fresh": _worst(own, *others), "batch-mates": mates}


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
    return _worst(
        _first(along.abs(), laws.normal_bound(rate / k) + share * n**0.5,
               lambda i: f"z of {name(i)} depends on x_t"),
        Evidence(float(along.sum().abs()) * k**-0.5,
                 laws.normal_bound(rate) + float(share.sum()) * (n / k) ** 0.5,
                 "z depends on x_t"),
    )  # fmt: skip


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


def _first(values: Tensor, allowed: Tensor, say: Callable[[int], str]) -> Evidence:
    """The first value that is too large, or else the one nearest to it."""
    ratio = (values / allowed).nan_to_num(torch.inf)
    beyond = (ratio > 1).nonzero().flatten()
    i = int(beyond[0]) if len(beyond) else int(ratio.argmax())
    return Evidence(float(values[i]), float(allowed[i]), say(i))


def _worst(*parts: Evidence) -> Evidence:
    """The part that is furthest beyond what is allowed, or is not a number."""
    ratios = torch.tensor([part.measured / part.allowed for part in parts])
    return parts[int(ratios.nan_to_num(torch.inf).argmax())]


def at_the_end(got: Tensor, right: Tensor) -> dict[str, Evidence]:
    """The images of a chain against as many of the oracle's, each kind of data by itself.

    Args:
        got, right: (b, 4) float64 images, the first half of Gaussian data, the others of two modes.
    """
    directions = torch.randn(8, got.shape[1], generator=torch.Generator().manual_seed(3), dtype=F64)
    directions = directions / directions.norm(dim=1, keepdim=True)
    found: dict[str, list[Evidence]] = {}
    kinds = zip(("Gaussian", "two-mode"), got.chunk(2), right.chunk(2), strict=True)
    for kind, a, b in kinds:
        each = [_looks(v) for v in (a, b)]
        names = ("mean", "mean square", "square of the mean over pixels")
        off, allowed = laws.signs(each[0] - each[1], RATE / 6)
        for i, name in enumerate(names):
            have, want = (float(v[:, i].mean()) for v in each)
            words = f"{name} of {kind} images is {have:.3f}, that of the oracle's {want:.3f}"
            found.setdefault("moments", []).append(Evidence(float(off[i]), allowed, words))
        projected = directions @ a.T, directions @ b.T
        distances, allowed = laws.kolmogorov_smirnov(*projected, RATE / 16)
        words = f"projections of {kind} images are {float(distances.max()):.3f} from the oracle's"
        found.setdefault("projections", []).append(Evidence(float(distances.max()), allowed, words))
        words = f"the energy distance of {kind} images from the oracle's is not 0"
        found.setdefault("energy", []).append(Evidence(*laws.energy(a, b, RATE / 2), words))
        pairs = [v.unflatten(0, (-1, 2)).prod(dim=1).mean(dim=1) for v in (a, b)]
        off, allowed = laws.signs(pairs[0] - pairs[1], RATE / 2)
        words = f"{kind} images that are neighbours in the batch are alike"
        found.setdefault("neighbours", []).append(Evidence(float(off), allowed, words))
    return {name: _worst(*parts) for name, parts in found.items()}


def _looks(images: Tensor) -> Tensor:
    """(n, 3) of each image: mean, mean square, square of the mean."""
    mean = images.mean(dim=1)
    return torch.stack([mean, images.square().mean(dim=1), mean.square()], dim=1)
