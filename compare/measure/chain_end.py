"""The end of a walked chain: its images against as many of the oracle's own chain."""

import torch
from torch import Tensor

from compare.measure import law as laws
from compare.measure.noise import Evidence, worst
from compare.measure.tolerances import RATE
from compare.oracle import F64


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
    return {name: worst(*parts) for name, parts in found.items()}


def _looks(images: Tensor) -> Tensor:
    """(n, 3) of each image: mean, mean square, square of the mean."""
    mean = images.mean(dim=1)
    return torch.stack([mean, images.square().mean(dim=1), mean.square()], dim=1)
