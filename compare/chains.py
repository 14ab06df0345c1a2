"""Whole chains, walked by a candidate's own step from x_T ~ N(0, I) with an exact denoiser.

Half of the images are of Gaussian data, half of data with two modes, both wide enough for a clip
to cut. A chain is looked at in two ways. From call to call: what a step leaves after its mean,
over sigma, must be N(0, 1) and independent of all that came before; so every statistic is an exact
normal one. At its end: its images against those of the oracle's own chain, with other random
numbers. Neither calls the candidate again when another oracle is tried on.

A scheduler that keeps nothing between calls and whose single steps are right passes. What is found,
in each trial of `tests/compare/test_sampling.py`: noise that comes back after eight calls, a tenth
of the noise of two calls before, 2 % of the last step's direction, noise repeated from image 300
on, and along a full chain of 400 steps a std 1 % too small. At the end of a chain of 2048 images:
Gaussian ones whose mean is 0.3 standard deviations off, modes drawn 3 : 1 where it should be 1 : 1,
a lost mode, noise that neighbours in the batch share with a correlation of 0.5.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from compare import laws
from compare.affine import mean_bound
from compare.oracle import F64, Level, Oracle, Setting
from compare.roles import CENTRE, exact_denoiser
from compare.subject import Built, Subject, seed_everything
from compare.tolerances import RATE, propagated

PIXELS = (1, 2, 2)
IMAGES = {True: 1024, False: 2048}  # of the full chain; of shorter ones
SPREADS, APART = (0.6, 0.3), 0.7  # Gaussian, two modes: a tenth of the pixels lies beyond 1
REPLAYED = 10  # steps of the first chain that are walked a second time
AT_ONCE = 128  # steps looked at together, for memory
FEW = 512  # pixels by which noise is compared with that of all calls before
Denoiser = Callable[[Tensor, Tensor], Tensor]
SHARE = 0.05  # of sigma: where float32 may do more, a step's z is not looked at
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
class Walk:
    """A chain of k steps as it was walked; x (k + 1, b, 4) and out (k, b, 4) float32.

    `again` is true if its first steps, walked once more after all others, went the same way.
    """

    t: Tensor
    following: Tensor
    x: Tensor
    out: Tensor
    again: bool = True

    @property
    def at_end(self) -> Tensor:
        """(b, 4) float64 the images."""
        return self.x[-1].to(F64)


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


def denoiser(setting: Setting, table: Tensor, images: int) -> Denoiser:
    """The exact answer for both kinds of data, as (x (b, 4), t) -> out (b, 4)."""
    half = images // 2
    spread, centre, apart = (torch.empty(images, 1, 1, 1, dtype=F64) for _ in range(3))
    for values, gaussian, modes in ((spread, *SPREADS), (centre, CENTRE, 0.0), (apart, 0.0, APART)):
        values[:half], values[half:] = gaussian, modes
    answer = exact_denoiser(setting.prediction_type, table, centre, spread, apart)

    def flat(x: Tensor, t: Tensor) -> Tensor:
        return answer(x.reshape(images, *PIXELS), t).reshape(images, -1)

    return flat


def walks(
    subject: Subject, table: Tensor, setting: Setting, lengths: tuple[int | None, ...]
) -> dict[int | None, Walk]:
    """Chains of these lengths (None: all T) one after another on one scheduler, made anew."""
    return subject.remember(
        ("walks", setting, lengths), lambda: _walks(subject, table, setting, lengths)
    )


def _walks(
    subject: Subject, table: Tensor, setting: Setting, lengths: tuple[int | None, ...]
) -> dict[int | None, Walk]:
    built = subject.fresh(setting)
    subject.global_state, kept = False, subject.global_state
    found: dict[int | None, Walk] = {}
    try:
        for n in lengths:
            found[n] = _walk(subject, built, table, n, None)
        first = lengths[0]
        once = found[first]
        k = min(len(once.t), REPLAYED)
        again = _walk(subject, built, table, first, k)
        same = torch.equal(again.x, once.x[: k + 1]) and torch.equal(again.t, once.t[:k])
        found[first] = replace(once, again=same)
    finally:
        subject.global_state = kept
    return found


def _walk(subject: Subject, built: Built, table: Tensor, n: int | None, k: int | None) -> Walk:
    """The chain of n steps, or its first k, from the same x_T and the same random numbers."""
    visited = built.visit(n)
    following = [*visited[1:], -1]
    images = IMAGES[n is None]
    answer = denoiser(built.setting, table, images)
    start, stream = _streams(subject)[:2]
    seed_everything(stream.initial_seed())
    x = torch.randn(images, torch.Size(PIXELS).numel(), generator=start)
    xs, outs = [x], []
    for t in visited[:k]:
        out = answer(x.to(F64), torch.tensor([t])).float()
        image, given = (v.reshape(images, *PIXELS) for v in (x, out))
        x = built.step(given, t, image, 0, stream).prev.float().reshape(images, -1)
        xs.append(x)
        outs.append(out)
    steps, after = torch.tensor(visited[:k]), torch.tensor(following[:k])
    return Walk(steps, after, torch.stack(xs), torch.stack(outs))


def _streams(subject: Subject) -> list[torch.Generator]:
    """Of x_T, of a candidate's noise, and of the oracle's chain: never the same numbers."""
    return [torch.Generator().manual_seed(10_000 + 3 * subject.seed + i) for i in range(3)]


def end_of_oracle(
    subject: Subject, oracle: Oracle, table: Tensor, setting: Setting, walk: Walk
) -> Tensor:
    """(b, 4) float64 the end of the oracle's own chain: the same table and list, other numbers.

    A table that is right up to rounding is taken for the right one: then the law moves by less
    than 1e-4, and one chain serves every such candidate.
    """
    right = oracle.alpha_bar(setting)
    if len(right) == len(table) and bool((table / right - 1).abs().max() < 1e-4):
        table = right
    listed = tuple(zip(walk.t.tolist(), walk.following.tolist(), strict=True))
    seed = _streams(subject)[2].initial_seed()
    return _end_of_oracle(oracle, setting, tuple(table.tolist()), listed, walk.x.shape[1], seed)


@lru_cache(32)
def _end_of_oracle(
    oracle: Oracle,
    setting: Setting,
    table: tuple[float, ...],
    listed: tuple[tuple[int, int], ...],
    images: int,
    seed: int,
) -> Tensor:
    alpha_bar, stream = torch.tensor(table, dtype=F64), torch.Generator().manual_seed(seed)
    t, following = torch.tensor(listed).unbind(1)
    level, sigma = _level(oracle, alpha_bar, setting, t, following)
    answer = denoiser(setting, alpha_bar, images)
    x = torch.randn(images, torch.Size(PIXELS).numel(), generator=stream).to(F64)
    for i in range(len(listed)):
        out = answer(x, t[i : i + 1])
        mean = oracle.step_mean(out, x, _some(level, slice(i, i + 1)), setting)[0]
        if bool(sigma[i] != 0):
            z = oracle.draw(tuple(x.shape), stream, torch.float32).to(F64)
            mean = mean + sigma[i] * oracle.noise_of(z, out)
        x = oracle.finish(mean, setting)
    return x


def _level(
    oracle: Oracle, table: Tensor, setting: Setting, t: Tensor, following: Tensor
) -> tuple[Level, Tensor]:
    """The levels of steps (k,) and their sigmas, (k, 1, 1)."""
    t, following = (v.reshape(-1, 1, 1) for v in (t, following))
    prev = oracle.previous(following, t, len(t), setting)
    level = oracle.level(table, t, prev, setting)
    return level, oracle.sigma(level, setting)


def _some(level: Level, which: slice) -> Level:
    names = ("t", "prev", "alpha_bar", "alpha_bar_prev")
    return replace(level, **{name: getattr(level, name)[which] for name in names})


def evidence(
    subject: Subject, oracle: Oracle, table: Tensor, setting: Setting, walk: Walk
) -> dict[str, Evidence]:
    """What is looked at in one chain; worked out once for all oracles with the same steps."""
    right = Oracle()
    outside = ("betas", "table", "add_noise", "velocity", "timesteps", "refuses_past_end")
    kept = {name: getattr(right, name) for name in (*outside, "loop", "loss")}
    stepping = replace(oracle, **kept)
    key = ("evidence", stepping, setting, len(walk.t), walk.x.shape[1])
    return subject.remember(key, lambda: _evidence(subject, stepping, table, setting, walk))


def _evidence(
    subject: Subject, oracle: Oracle, table: Tensor, setting: Setting, walk: Walk
) -> dict[str, Evidence]:
    found = _from_call_to_call(oracle, table, setting, walk)
    return found | at_the_end(walk.at_end, end_of_oracle(subject, oracle, table, setting, walk))


@dataclass(frozen=True)
class _Noise:
    """What steps with noise leave: z (k, b, 4) float32, and float32's share of it, (k,)."""

    t: Tensor
    x: Tensor
    z: Tensor
    share: Tensor


def _from_call_to_call(
    oracle: Oracle, table: Tensor, setting: Setting, walk: Walk
) -> dict[str, Evidence]:
    level, sigma = _level(oracle, table, setting, walk.t, walk.following)
    size = sigma.flatten()
    largest_x, largest_out = (
        v.abs().amax(dim=(1, 2), keepdim=True).to(F64) for v in (walk.x[:-1], walk.out)
    )
    bound = mean_bound(oracle, -largest_out, largest_x, None, level, setting)
    bound = bound + propagated(lambda at: oracle.sigma(at, setting), level, sigma)
    bound = bound.flatten() + 1e-9  # a variance that should be 0 may be clamped to 1e-20
    share = bound / size.abs().clamp(min=1e-300)
    noisy = share < SHARE
    left = torch.empty_like(walk.out)
    for start in range(0, len(left), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        x, out = (v[part].to(F64) for v in (walk.x[:-1], walk.out))
        mean = oracle.step_mean(out, x, _some(level, part), setting)
        left[part] = (walk.x[1:][part] - mean).float()
    found = {}
    if not bool(noisy.all()):
        found["silent"] = _silent(left[~noisy], bound[~noisy] + 6.5 * size[~noisy], walk.t[~noisy])
    if bool(noisy.any()):
        z = left[noisy] / size[noisy].float().reshape(-1, 1, 1)
        found |= _noise(_Noise(walk.t[noisy], walk.x[:-1][noisy], z, share[noisy]))
    return found


def _silent(left: Tensor, allowed: Tensor, t: Tensor) -> Evidence:
    """Steps without noise, or with less than float32 can show."""

    def say(i: int) -> str:
        return f"the step from t={int(t[i])} is at most {float(off[i]):.3g} away from its mean"

    off = left.abs().amax(dim=(1, 2)).to(F64)
    return _first(off, allowed, say)


def _noise(noise: _Noise) -> dict[str, Evidence]:
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
        Evidence(abs(whole - 1), size_allowed(n * k, rate) + float(share.mean()),
                 f"z of all steps has std {whole:.5f}"),
    )  # fmt: skip
    some = flat.flatten()[:: 1 + flat.numel() // 2**16]
    distance, allowed = laws.distance_to_normal(some, RATE)
    law = Evidence(
        distance, allowed + 0.4 * float(share.mean()), f"z is {distance:.4f} from N(0, 1)"
    )
    x = noise.x.flatten(1)
    along = ((flat * x).sum(1) / x.norm(dim=1)).to(F64).abs()
    summed = float((flat * x).sum(1).div(x.norm(dim=1)).sum(dtype=F64).abs()) * k**-0.5
    own = _worst(
        _first(along, laws.normal_bound(rate / k) + share * n**0.5,
               lambda i: f"z of the step from t={t[i]} depends on x_t"),
        Evidence(summed, laws.normal_bound(rate) + float(share.sum()) * (n / k) ** 0.5,
                 "z depends on x_t"),
    )  # fmt: skip
    images = z[:, :FEW].transpose(0, 1).flatten(1)
    found = {"steps": steps, "law": law}
    if k > 1:
        calls = flat[:, :FEW]
        found["fresh"] = _worst(own, *_apart(calls, share * calls.shape[1] ** 0.5, rate, t))
    of_image = share.square().sum().mul(z.shape[2]).sqrt().expand(len(images))
    found["batch-mates"] = _apart(images, of_image, RATE, None)[0]
    return found


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
    """The part that is furthest beyond what is allowed; the first that is not a number."""
    return max(
        parts, key=lambda e: e.measured / e.allowed if e.measured == e.measured else torch.inf
    )


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
