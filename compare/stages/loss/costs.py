"""What known models cost: perfect, zero, wrong everywhere, wrong at one image."""

from collections.abc import Iterator
from math import isfinite

import torch
from torch import Tensor

from compare.candidate.loss.calls import HEIGHT, OFF
from compare.candidate.loss.look import Seen
from compare.candidate.loss.slopes import Slopes
from compare.candidate.model.cost import HEIGHTS, Cost, read, read_beside
from compare.measure import law as laws
from compare.measure.check import Check, note, yes_no
from compare.measure.tolerances import RATE, TOLERANCES
from compare.oracle import F64, Oracle, Setting
from compare.oracle.algorithms import NORMAL, TARGETS, Weight
from compare.stages.loss.given import Shown
from compare.stages.loss.rounding import Rounding

GRID = 4096  # quantiles of N(0, 1) by which the mean of what an error costs is worked out
SIGN = "a mean of squares, not its negative: training makes the loss small"
SATURATED = 1e-3  # by which a cost may still grow that grows no more
ALIKE = 0.01  # factors that hang on the batch or the size differ by half or more


def values(
    shown: Shown, oracle: Oracle, setting: Setting, slopes: Slopes | None
) -> Iterator[Check]:
    """What known models cost; how errors are counted, and times which number, is a convention."""
    seen, rounding = shown.seen, shown.rounding
    if not isfinite(seen.perfect):
        yield yes_no("loss/perfect", False, "", f"a perfect model has loss {seen.perfect}")
        return
    if bool((seen.costs < 0).all()):
        yield yes_no("loss/sign", False, "", "a larger error costs less", right=SIGN)
        return
    table = oracle.alpha_bar(setting)
    left = rounding.left(setting.prediction_type, table)
    rounded, most_left = (float(v) for v in (left[seen.perfect_t].mean(), left.max()))
    found = read(seen.costs, float(left[seen.perfect_t].max()) ** 0.5, rounding.sums)
    found = found or read_beside(seen.costs, seen.bare, rounding.sums)
    cost = found or Cost()
    unit, nothing = cost.factor, cost.at(rounded**0.5)  # what is left of a perfect model's loss
    perfect, allowed = _perfect(shown, oracle, setting, cost)
    allowed += cost.slope(perfect**0.5) * rounded**0.5 + nothing + rounding.sums * perfect
    off = abs(seen.perfect - unit * perfect)
    counted = found is not None or perfect == 0  # else what a wrong target costs is not known
    redrawn = found is None and oracle.loss.redrawn and seen.redrawn
    in_x_t = slopes is not None and slopes.target is not None  # what it is compared with
    other = oracle.loss.redrawn and in_x_t  # which may cost as much as noise that is not
    known = redrawn or (counted and off <= unit * allowed and not other)
    yield yes_no(
        "loss/perfect",
        known,
        f"a perfect model has loss {unit * perfect:.3g}",
        f"a perfect model has loss {seen.perfect:.3g}, should have {unit * perfect:.3g}",
        measured=off,
        allowed=unit * allowed,
        reason="rounding of x_t and of alpha-bar, divided by the noise level at each t",
    )
    alike = rounding.sums + seen.images * most_left / HEIGHT**2  # of one image's share of a loss
    rows = seen.spoiled * seen.images / (unit * cost.phi(seen.spoiled_by).mean(dim=2))
    most, least = float(rows.max()), float(rows.min())
    weighted = seen.perfect <= unit * nothing and most - least > alike * most
    yield from _conventions(seen, found, known, weighted)
    if found is not None and known and not weighted:  # else it is no target of this oracle's
        zero = _zero(shown, oracle, setting, cost)
        yield from () if zero is None else (zero,)
    yield _pixels(seen, oracle, cost, rounded, rounding)
    yield from _images(seen, rows, oracle, weighted, alike)


def _conventions(seen: Seen, cost: Cost | None, perfect: bool, weighted: bool) -> Iterator[Check]:
    """How errors are counted, and times which number, where that is not their mean square."""
    if cost is None:
        costs = ", ".join(f"{h:g} costs {c:.3g}" for h, c in zip(HEIGHTS, seen.costs, strict=True))
        if perfect:
            yield note("loss/counts", f"errors are counted by a rule of its own: {costs}")
        return
    root = _root(seen, cost) if cost.kind == "absolute" else ""
    if root:
        words = "its gradient is that of the squares, divided by twice the root"
        yield note("loss/counts", f"the loss is {root}: {words}")
    elif cost.kind != "square":
        yield note("loss/counts", f"the loss is {cost.words}: a convention")
    if cost.factor != 1 and not weighted:
        yield _factor(seen, cost)


def _root(seen: Seen, cost: Cost) -> str:
    """Of which mean of squares a loss is the root, where one image is off; "" if of none."""
    square = seen.spoiled_by.square().mean(dim=2)
    roots = {
        "the root of the mean square of a batch": (square / seen.images).sqrt(),
        "the mean of the roots of the images' mean squares": square.sqrt() / seen.images,
    }
    shown = seen.spoiled / cost.factor
    fitting = (w for w, right in roots.items() if bool(((shown / right - 1).abs() < ALIKE).all()))
    return next(fitting, "")


def _factor(seen: Seen, cost: Cost) -> Check:
    """By which number the mean is multiplied, and whether that hangs on batch or size."""
    id, k, one = "loss/factor", cost.factor, cost.at(HEIGHTS[-1])
    b, pixels = seen.images, seen.pixels
    by_batch, by_size = (
        value is not None and abs(value / one / k - 1) > ALIKE
        for value in (seen.fewer, seen.smaller)
    )
    if not by_batch and not by_size:
        return note(id, f"the loss is {k:g} times the mean: a convention")
    halved = [
        value is not None and abs(value / one / k - 0.5) <= ALIKE / 2
        for value in (seen.fewer, seen.smaller)
    ]
    for bug, wanted, whole, what in (
        ("32", [True, True], b * pixels, "sum over images and pixels"),
        ("32-batch", [False, True], pixels, "sum over pixels"),
    ):
        if halved == wanted and by_batch == wanted[0]:
            times = "" if abs(k / whole - 1) <= ALIKE else f"{k / whole:.3g} times "
            words = f"the loss is {times}the {what}, {k:g} times the mean here"
            return note(id, f"{words}: another learning rate for each (mistake {bug})", bug=bug)
    batch, size = (f"{v / one:.4g}" if v is not None else "?" for v in (seen.fewer, seen.smaller))
    words = f"the loss is {k:g} times the mean, with half the batch {batch}, with half the pixels"
    return note(id, f"{words} {size} times")


def _parts(oracle: Oracle, setting: Setting, t: Tensor) -> tuple[Tensor, Tensor]:
    """(images,) what the noise and an image of HEIGHT weigh in the target, at these t."""
    of = oracle.loss.target or TARGETS[setting.prediction_type]
    scale, shift = of(oracle.alpha_bar(setting))
    return scale[t], shift[t] * HEIGHT


def _weights(weight: Weight, oracle: Oracle, setting: Setting) -> Tensor:
    """(T,) what an image of each t weighs."""
    alpha_bar = oracle.alpha_bar(setting)
    return weight(alpha_bar / (1 - alpha_bar), setting.prediction_type)


def _mean(
    cost: Cost, scale: Tensor, shift: Tensor, power: float, pixels: int
) -> tuple[float, float]:
    """The mean of what errors scale z + shift cost, `pixels` z for each, and its bound.

    Of squares for any z of mean square `power`; else for normal z, by its quantiles.
    """
    if cost.kind == "square":
        mean = float((scale**2 * power + shift**2).mean())
        return mean, laws.of_squares(scale, shift, pixels, RATE) if mean else 0.0
    z = torch.special.ndtri((torch.arange(GRID, dtype=F64) + 0.5) / GRID)
    each = cost.phi(scale[:, None] * z + shift[:, None])
    error = float(each.var(dim=1).mean()) ** 0.5 / (len(scale) * pixels) ** 0.5
    # The grid leaves out less than the last quantile's share of the mean.
    return float(each.mean()), laws.normal_bound(RATE) * error + float(each.mean()) / GRID


def _perfect(shown: Shown, oracle: Oracle, setting: Setting, cost: Cost) -> tuple[float, float]:
    """The mean cost of what a perfect model is off by at the t drawn, and its bound."""
    how, seen, offset = oracle.loss, shown.seen, shown.offset
    (c_eps, c_x), (k_eps, k_x) = (
        _parts(o, setting, seen.perfect_t)
        for o in (oracle, Oracle(betas=oracle.betas, table=oracle.table))
    )
    scale, shift = c_eps - k_eps, c_x - k_x
    if how.bare_target and offset is not None:  # a perfect model finds the offset too
        mean, bound = _mean(cost, offset.strength * c_eps, 0 * shift, 1.0, offset.shape[0])
        return mean, bound + offset.unsure * mean
    if how.redrawn:
        scale, shift = 2**0.5 * c_eps, 0 * shift
    return _mean(cost, scale, shift, how.noise.power, seen.pixels)


def _zero(shown: Shown, oracle: Oracle, setting: Setting, cost: Cost) -> Check | None:
    """The cost of the target at the t drawn, which is what a zero model is off by.

    The target is known from the noise in x_t, unless it is another: then its law is.
    """
    how, seen, rounding = oracle.loss, shown.seen, shown.rounding
    scale, shift = _parts(oracle, setting, seen.x_t)
    if how.redrawn or (how.bare_target and shown.offset is not None):
        if cost.kind != "square" and how.noise is not NORMAL:
            return None
        zero, allowed = _mean(cost, scale, shift, how.noise.power, seen.pixels)
        reason = f"mean of {scale.numel() * seen.pixels} targets: {TOLERANCES['law'].why}"
    else:
        target = scale[:, None] * shown.inside.noise + shift[:, None] * seen.signs
        weight = 1.0 if how.weight is None else _weights(how.weight, oracle, setting)[seen.x_t]
        zero = float((weight * cost.phi(target).mean(dim=1)).mean())
        error = scale.abs() * rounding.noise[seen.x_t]
        size = float(target.square().mean()) ** 0.5
        by_float = float(error.square().mean()) ** 0.5
        allowed = cost.slope(size) * by_float + cost.at(by_float)
        reason = "rounding of x_t and of alpha-bar, divided by the noise level at each t"
    allowed = cost.factor * (allowed + rounding.sums * zero)
    off = abs(seen.zero - cost.factor * zero)
    return yes_no(
        "loss/zero",
        off <= allowed,
        f"a zero model has loss {seen.zero:.3g}",
        f"a zero model has loss {seen.zero:.4g}, should have {cost.factor * zero:.3g}",
        measured=off,
        allowed=allowed,
        reason=reason,
    )


def _pixels(seen: Seen, oracle: Oracle, cost: Cost, rounded: float, rounding: Rounding) -> Check:
    """Every pixel adds its own error: OFF everywhere costs as much as OFF and -OFF.

    What is left of a target that is off, r, adds 2 OFF mean(r) to one, 2 OFF mean(+-r) to the
    other, of OFF^2; neither mean is larger than the root mean square of r, which the cost of a
    perfect model shows.
    """
    ones = torch.ones(seen.images, seen.pixels)
    signs = torch.tensor([1.0, -1.0]).repeat(seen.pixels // 2)
    share = float(oracle.loss.reduce(ones * signs) / oracle.loss.reduce(ones))
    off, pixels = abs(seen.chequered - share * seen.flat), max(seen.flat, seen.chequered)
    left = max(seen.perfect / cost.factor, 0.0) ** 0.5
    # Of the 4 batches of `rounded` this is one, and r may be rounded the same way everywhere.
    allowed = pixels * (rounding.sums + 4 * (left + (4 * rounded) ** 0.5) / OFF)
    return yes_no(
        "loss/pixels",
        off <= allowed,
        "every pixel adds the size of its own error",
        f"errors of {OFF:.0f} at every pixel cost {seen.flat:.3g}, errors of {OFF:.0f} and "
        f"{-OFF:.0f} {seen.chequered:.3g}: {_what_is_made_of_errors(seen)}",
        measured=off,
        allowed=allowed,
        reason="what is left of a target that is off moves both, by twice its root mean square",
    )


def _what_is_made_of_errors(seen: Seen) -> str:
    """Why errors that are up and down cost another thing than those that are up alone."""
    *_, less, most = seen.costs.tolist()
    if seen.chequered < seen.flat / 2:
        return "they are averaged before they are squared"
    if most <= less * (1 + SATURATED):
        return "a larger one costs no more, as if the output were limited before it is compared"
    return "an error costs another thing where it is up than where it is down"


def _images(
    seen: Seen, rows: Tensor, oracle: Oracle, weighted: bool, alike: float
) -> Iterator[Check]:
    """Every image adds its own error, with its own weight."""
    how = oracle.loss
    alone = torch.eye(seen.images).unsqueeze(2)  # (batches, b, 1): each an error of one image
    yield yes_no(
        "loss/images",
        seen.adds == all(float(how.reduce(row)) > 0 for row in alone),
        "every image adds to the loss",
        "an image of the batch adds nothing to the loss",
    )
    apart = float((rows.amax(dim=1) - rows.amin(dim=1)).max())
    yield yes_no(
        "loss/weights",
        (weighted and apart <= alike * float(rows.abs().max())) == how.crossed,
        "an image adds its own weighted loss",
        "every image of a batch gets the same weight, another in each batch",
    )
