"""What a loss gives the model: the range of the images, the t, the signal and the noise in x_t."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from compare.candidate.loss.calls import HEIGHT, SAME, TIMES
from compare.candidate.loss.inside import Inside
from compare.candidate.loss.look import Seen
from compare.measure import law as laws
from compare.measure.check import Check, note, within, yes_no
from compare.measure.noise import DISTANCE, Statistic, moments, neighbours
from compare.measure.tolerances import FACTOR, RATE, TOLERANCES, once_in
from compare.oracle import Oracle, Setting
from compare.oracle.algorithms import NORMAL
from compare.stages.loss.rounding import Rounding

ONE_NOISE = "one noise is drawn for all images of the batch"
ALIKE = 0.01  # of noise of std 1: what two images differ by that have the same, by rounding
ENOUGH, HALF = 64, 0.5  # images, and numbers in each; of the spread that their sizes should have
MOST_ORDERED = 2**15  # numbers by which the law of noise is known within 0.018


def given(shown: "Shown", oracle: Oracle) -> Iterator[Check]:
    """Range of the images, the coefficient of the image, the law of the noise."""
    seen, inside, rounding = shown.seen, shown.inside, shown.rounding
    if bool(((seen.x - HEIGHT * seen.signs).abs() <= rounding.unit).all()):
        words = "the model is given the images themselves, not x_t"
        yield yes_no("loss/clean", False, "", words, right="model(x_t, t)")
        return
    yield _range(inside, oracle)
    if seen.gain is not None:
        yield _signal(seen, seen.gain, inside, oracle, rounding)
    noise = inside.noise if shown.offset is None else shown.offset.removed(inside.noise)
    yield from _noise(seen, inside, noise, oracle, rounding)


def _range(inside: Inside, oracle: Oracle) -> Check:
    wanted = [oracle.loss.scale * v + oracle.loss.shift for v in (HEIGHT, -HEIGHT)]
    off = max(abs(inside.bright - wanted[0]), abs(inside.dark - wanted[1]))
    said = (
        f"pixels of {HEIGHT} and {-HEIGHT} reach the model as {inside.bright:.2f} and "
        f"{inside.dark:.2f}"
    )
    return yes_no(
        "loss/range",
        off <= inside.allowed,
        said,
        f"{said}: the images are rescaled",
        measured=off,
        allowed=inside.allowed,
        input="images in [-1, 1]",
        reason=TOLERANCES["law"].why,
    )


def _signal(seen: Seen, gain: Tensor, inside: Inside, oracle: Oracle, rounding: Rounding) -> Check:
    """The coefficient of x_0 at every t that was drawn, exactly."""
    exact = inside.is_range(oracle.loss.scale, oracle.loss.shift)
    right = (oracle.loss.scale if exact else 1.0) * inside.signal
    of_x = rounding.unit * seen.x.abs().mean(dim=1) / HEIGHT
    allowed = of_x + right * (FACTOR * rounding.unit + rounding.table[seen.x_t] / 2)
    off = (gain - right).abs()
    i = int((off / allowed).nan_to_num(torch.inf).argmax())
    return within(
        "loss/signal",
        float(off[i]),
        float(allowed[i]),
        f"x_t has {float(gain[i]):.4f} of x_0 at t={int(seen.x_t[i])}, should have "
        f"{float(right[i]):.4f}",
        reason="rounding of two x_t, and of every alpha up to t",
        input="images in [-1, 1] and their negatives, one seed",
    )


def is_told_nothing(seen: Seen) -> bool:
    """True if the model is told one t, and x_t holds more of one image than of another."""
    gain = seen.gain
    return len(seen.t.unique()) == 1 and gain is not None and float(gain.max() - gain.min()) > SAME


def times(seen: Seen, oracle: Oracle, setting: Setting) -> Iterator[Check]:
    """Whether every t is drawn, each image its own."""
    T, how = setting.num_train_timesteps, oracle.loss
    varied, one = len(seen.t.unique()) > 1, int(seen.t[0, 0])
    wrong = f"t is {one} in every batch: nothing else is trained"
    if is_told_nothing(seen):
        wrong = f"the model is told t = {one} of every image, whose x_t are of many t"
    yield yes_no(
        "loss/drawn",
        varied,
        "t is drawn anew for every batch",
        wrong,
        reason=f"{seen.t.numel()} draws are equal by chance less often than {once_in(RATE)}",
    )
    if not varied:
        return
    distinct = min(len(row.unique()) for row in seen.t)
    yield yes_no(
        "loss/per-image",
        (distinct > 1) == how.per_image,
        "every image has its own t",
        "all images of a batch have the same t",
        measured=float(distinct),
        reason=f"{TIMES} draws are equal by chance less often than {once_in(RATE)}",
    )
    if distinct == 1:
        return  # too few different t to say what they cover
    low, high, base = int(seen.t.min()), int(seen.t.max()), seen.told.base
    yield yes_no(
        "loss/cover",
        low - base == how.low and high - base == T - 1 - how.high,
        f"t covers {low}..{high}",
        f"t covers {low}..{high}, should cover {base}..{base + T - 1}",
        reason=TOLERANCES["count"].why,
    )
    together = _drawn_together(seen.t - base, T)
    if together:
        yield note("loss/together", f"t is drawn {together}: each is uniform all the same")
    uneven = _unevenly(seen.t.flatten() - base, T)
    if uneven:
        words = f"{uneven}: as a weight of the loss does, unless its own undoes it"
        yield note("loss/uniform", words)


def _unevenly(t: Tensor, T: int) -> str:
    """Which t in 0..T-1 are drawn too often to be uniform, as words; "" if none are.

    The share of t below each is compared with that of a uniform law (Massart 1990), of half as many
    draws, as two may hang together.

    >>> _unevenly(torch.arange(1000).repeat(50), 1000)
    ''
    >>> _unevenly((torch.arange(50_000) / 50_000).square().mul(1000).long(), 1000)
    '50% of the t drawn are below 253, of uniform ones 25%'
    """
    below = (torch.bincount(t.long().clamp(0, T - 1), minlength=T)[:T].cumsum(0) / len(t)).double()
    uniform = torch.arange(1, T + 1, dtype=torch.float64) / T
    i = int((below - uniform).abs().argmax())
    if abs(float(below[i] - uniform[i])) <= laws.of_distance(len(t) / 2, RATE):
        return ""
    return f"{below[i]:.0%} of the t drawn are below {i + 1}, of uniform ones {uniform[i]:.0%}"


def _drawn_together(t: Tensor, T: int) -> str:
    """How the t of a batch hang together, t (batches, b) from 0; "" if they do not.

    >>> _drawn_together(torch.tensor([[3, 6], [8, 1]]), 10)
    'in pairs (t, T-1-t)'
    >>> _drawn_together(torch.tensor([[3, 5], [8, 1]]), 10)
    'one in each of 2 equal parts of the chain'
    >>> _drawn_together(torch.tensor([[3, 5], [1, 4]]), 10)
    ''
    """
    b, ascending = t.shape[1], t.sort(dim=1).values
    if bool((ascending + ascending.flip(1) == T - 1).all()):
        return "in pairs (t, T-1-t)"
    if b % 2 == 0 and bool((ascending[:, ::2] == ascending[:, 1::2]).all()):
        return "for two images at a time"
    ends = torch.arange(b + 1) * T
    first, last = ends[:-1] // b, -(-ends[1:] // b) - 1
    if bool(((first <= ascending) & (ascending <= last)).all()):
        return f"one in each of {b} equal parts of the chain"
    return ""


@dataclass(frozen=True)
class Offset:
    """Noise with an offset: strength times one normal number for each image, or each channel.

    Attributes:
        strength: of the offset.
        shape: (parts, pixels of each) of an image: a part has one number.
        unsure: how far off the square of the strength may be, relative.
    """

    strength: float
    shape: tuple[int, int]
    unsure: float

    @property
    def words(self) -> str:
        """What it is."""
        each = "image" if self.shape[0] == 1 else "channel of an image"
        return f"{self.strength:.2g} times a normal number for each {each}"

    def removed(self, noise: Tensor) -> Tensor:
        """(images, pixels) noise whose means are as large as those of fresh noise."""
        parts = noise.reshape(len(noise), *self.shape)
        loud = (1 + self.shape[1] * self.strength**2) ** 0.5
        return (parts - (1 - 1 / loud) * parts.mean(dim=2, keepdim=True)).flatten(1)


@dataclass(frozen=True)
class Shown:
    """What a loss shows.

    Attributes:
        seen: by its calls.
        inside: of the x_t in them, by an oracle.
        rounding: how far off that may be.
        offset: of its noise, if it has one.
    """

    seen: Seen
    inside: Inside
    rounding: Rounding
    offset: Offset | None


def offset(seen: Seen, inside: Inside, rounding: Rounding) -> Offset | None:
    """The offset without which noise that is not right would be; None if there is no such."""
    if len(seen.shape) == 2:
        return None
    oracle, whole, channels = Oracle(), (1, seen.pixels), seen.shape[1]
    shapes = (whole, (channels, seen.pixels // channels))
    by_float = _root_mean_square(rounding.noise[seen.x_t])

    def holds(noise: Tensor) -> bool:
        wide = any(_of_means(noise, shape, by_float)[0] for shape in shapes)
        return not wide and all(c.passed for c in _noise(seen, inside, noise, oracle, rounding))

    if holds(inside.noise):
        return None
    for shape in shapes:
        wide, power, unsure = _of_means(inside.noise, shape, by_float)
        found = Offset(power**0.5, shape, unsure)
        if wide and holds(found.removed(inside.noise)):
            return found
    return None


def _of_means(noise: Tensor, shape: tuple[int, int], by_float: float) -> tuple[bool, float, float]:
    """Whether the means of parts are larger than those of fresh noise, by which square, and how far
    off that may be, relative."""
    means = noise.reshape(-1, *shape).mean(dim=2)
    fresh, power = shape[1] ** -0.5, float(means.square().mean())
    off = laws.of_std(means.numel(), RATE)
    wide = power**0.5 > fresh * (1 + off) + by_float
    more = power - fresh**2
    return wide, max(more, 0.0), ((1 + off) ** 2 - 1) * power / max(more, 1e-12)


def _noise(
    seen: Seen, inside: Inside, noise: Tensor, oracle: Oracle, rounding: Rounding
) -> Iterator[Check]:
    """The law of what is left of x_t after the image: at each third of t, and of neighbours.

    The noise of `rand` varies less than normal noise.
    """
    aims = {"mean": oracle.loss.noise.mean, "std": oracle.loss.noise.std}
    exact = inside.is_range(oracle.loss.scale, oracle.loss.shift)
    share = rounding.noise[seen.x_t]
    if not exact:  # then the image is known by that range alone
        share = share + inside.allowed * inside.signal / inside.level
    for third, words in enumerate(("lower", "middle", "upper")):
        here = inside.third == third
        if not bool(here.any()):
            continue
        for name, statistic in moments(noise[here]).items():
            yield within(
                f"loss/noise/{name}-{words}",
                abs(statistic.value - aims[name]),
                statistic.allowed(share=_root_mean_square(share[here])),
                f"{name} of the noise in the {words} third of t is {statistic.value:.3f}, should "
                f"be {aims[name]:.3f}",
                reason=statistic.reason(),
            )
    if oracle.loss.noise == NORMAL and min(noise.shape) >= ENOUGH:
        own = float(noise.square().mean(dim=1).std()) * (noise.shape[1] / 2) ** 0.5
        yield yes_no(
            "loss/noise/sizes",
            own > HALF,
            "some images have more noise than others, by chance",
            "the noise of every image is brought to one size, and so is not normal",
            reason=f"of {ENOUGH} images the sizes are spread half as far less often than 1e-9",
        )
    z = (noise - noise.mean()).reshape(-1, seen.images, seen.pixels)
    neighbouring = {"images": (z, 1), "pixels": (z, 2)}
    if len(seen.shape) == 4 and seen.shape[1] > 1:
        neighbouring["channels"] = z.unflatten(2, (seen.shape[1], -1)), 2
    for what, (numbers, axis) in neighbouring.items():
        alike = neighbours(numbers, axis)
        words = f"correlation of the noise of neighbouring {what} is {abs(alike.value):.3f}"
        words = f"the {words}, should be 0"
        if what == "images" and bool((z - z[:, :1]).square().mean() < ALIKE**2):
            words = ONE_NOISE
        yield within(
            f"loss/noise/{what}",
            abs(alike.value),
            alike.allowed(share=_root_mean_square(share)),
            words,
            reason=alike.reason(),
        )
    if oracle.loss.noise == NORMAL:
        some = noise.flatten()[:MOST_ORDERED]
        distance = Statistic(laws.distance_to_normal(some), len(some), DISTANCE)
        yield within(
            "loss/noise/law",
            distance.value,
            distance.allowed(share=_root_mean_square(share)),
            f"the law of the noise is {distance.value:.3f} away from N(0, 1)",
            reason=distance.reason(),
        )


def _root_mean_square(values: Tensor) -> float:
    return float(values.square().mean().sqrt())
