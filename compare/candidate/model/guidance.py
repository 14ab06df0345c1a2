"""Two answers at one (x_t, t), as in classifier-free guidance, and the numbers that mix them.

A loop that is run twice with one seed, and answers that differ, ends each step elsewhere by a sum
of what differed: the noise is the same and falls out. So the weights of the answers are read
exactly, and what they are divided by their sum does not depend on the formula of the step. They
are a convention only as two numbers for the whole chain, switched on or off (Ho & Salimans 2022,
eq. 6); whether their sum is 1 is left to the judge of the steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from compare.candidate.model.call import Place
from compare.candidate.spy import Asked
from compare.oracle import F64

GUIDED = "(1 + w) out(x_t, t, label) - w out(x_t, t), one w (Ho & Salimans 2022, eq. 6)"
CLOSE = 1e-4  # of x: what is left of a step that is no sum of x_t and the answers
ERRORS = 8  # standard errors: beyond them by rounding less often than 1e-14
SMALLEST = 1e-6  # relative: weights may be float32 too
UNSURE = 0.1  # from a half, of a share of a thousand draws: beyond it by chance once in 1e10
DECIMALS = 4  # of a number that a person writes


@dataclass(frozen=True)
class Round:
    """All that the model was asked at one (x_t, t), one after the other."""

    asked: tuple[Asked, ...]

    @property
    def out(self) -> Tensor:
        """(k, b, c, h, w) the answers."""
        return torch.stack([each.out for each in self.asked])


def rounds(seen: Sequence[Asked]) -> list[Round]:
    """The questions at the same pictures and the same t, together."""
    found: list[list[Asked]] = []
    for each in seen:
        last = found[-1][0] if found else None
        if last is not None and torch.equal(last.t, each.t) and torch.equal(last.x, each.x):
            found[-1].append(each)
        else:
            found.append([each])
    return [Round(tuple(asked)) for asked in found]


def relabelled(asked: Sequence[Round]) -> str | None:
    """In words, the first picture whose label is another one at a later step.

    Returns:
        "" if every picture keeps its own; None if none has one: a label is a whole number, which
        is not the same for all pictures.
    """
    found = None
    for k, place in ((k, place) for k, e in enumerate(asked[0].asked) for place in e.labels):
        labels = _labels(asked, k, place)
        if labels is None:
            continue
        off = (labels != labels[0]).nonzero()
        for i, image in off[:1].tolist():
            told = [f"label {int(labels[at, image])} at t={_t(asked[at])}" for at in (0, i)]
            return f"image {image} has {', '.join(told)}"
        found = ""
    return found


def _labels(asked: Sequence[Round], k: int, place: Place) -> Tensor | None:
    """(rounds, b) of the question k of each; None if what is told there are no labels."""
    told = [each.asked[k].labels.get(place) for each in asked if k < len(each.asked)]
    whole = [v.flatten() for v in told if isinstance(v, Tensor) and not v.is_floating_point()]
    b = len(asked[0].asked[0].x)
    if len(whole) < len(told) or any(len(v) != b or len(v.unique()) < 2 for v in whole):
        return None
    return torch.stack(whole)


def _t(asked: Round) -> str:
    return f"{float(asked.asked[0].t[0]):g}"


@dataclass(frozen=True)
class Mix:
    """How the answers of each round become one.

    Attributes:
        weights: (rounds, k) of the answers, their sum 1; where one was asked for, (1, 0, ...).
        main: the same where guidance is on.
        on: (rounds,) whether it is.
        varies: in words, how the weights change along the chain, if they do; "" else.
        readable: False if some step is no sum of x_t and the answers.
        labelled: which answers were given with labels, if the others were without; none if it was
            not told.
        nothing: the number that those without were given for a label, if it is one for all.
        told: what each answer was given beside x_t and t.
    """

    weights: Tensor
    main: Tensor
    on: Tensor
    varies: str
    readable: bool
    labelled: tuple[int, ...]
    nothing: float | None = None
    told: tuple[Mapping[Place, Any], ...] = ()

    def by_training(self, ones: Mapping[Place, float]) -> "Mix":
        """The same where a mask tells which answers know the label: what training says more rarely
        drops it; `ones` is how often that says 1."""
        rare = {p: float(share < 0.5) for p, share in ones.items() if abs(share - 0.5) > UNSURE}
        for place, drops in rare.items():
            values = [torch.as_tensor(each.get(place, torch.nan)) for each in self.told]
            if all(bool(((v == 0) | (v == 1)).all()) and len(v.unique()) == 1 for v in values):
                knows = tuple(i for i, v in enumerate(values) if not bool((v == drops).any()))
                if 0 < len(knows) < len(values):
                    return replace(self, labelled=knows)
        return self

    def of(self, asked: Sequence[Round]) -> Tensor:
        """(rounds, b, c, h, w) float64 the answers, mixed."""
        pairs = zip(self.weights, asked, strict=True)
        return torch.stack([torch.tensordot(w[: len(r.asked)], r.out, 1) for w, r in pairs])

    @property
    def words(self) -> str:
        """The sum, as a person writes it, and where it is."""
        some = f", at {int(self.on.sum())} of {len(self.on)} steps" * (not bool(self.on.all()))
        return mixed(self.main) + some

    @property
    def stays(self) -> bool:
        """True if only the last answer counts, and only at some steps: the others were asked for
        where a step stayed at its (x_t, t), and nothing is mixed."""
        return self.readable and not bool(self.on.all()) and float(self.main[-1]) == 1

    @property
    def exchanged(self) -> bool:
        """True if it leads away from the answers with labels, to those without."""
        return sum(float(self.main[i]) for i in self.labelled) < 0


def mixed(weights: Tensor) -> str:
    """A sum of answers.

    >>> mixed(torch.tensor([3.0, -2.0]))
    '3 out_1 - 2 out_2'
    """
    parts = [(w, f"{abs(w):g} out_{i}") for i, w in enumerate(weights.tolist(), 1)]
    first, *others = parts
    text = "-" * (first[0] < 0) + first[1]
    return text + "".join(f" {'-' if w < 0 else '+'} {said}" for w, said in others)


@dataclass(frozen=True)
class _Reading:
    """Of some rounds, what each answer weighs, and the standard errors."""

    at: Tensor  # (n,) of the rounds
    weights: Tensor  # (n, k)
    error: Tensor  # (n, k)


def mix(one: Sequence[Round], two: Sequence[Round], ends: tuple[Tensor, Tensor]) -> Mix:
    """The mix of a loop from two runs of one seed.

    Args:
        one, two: their rounds, of which some have more than one answer.
        ends: (b, c, h, w) the pictures of each.
    """
    k = max(len(r.asked) for r in one)
    several = [i for i, r in enumerate(one) if len(r.asked) == k]
    found = [(i, _weights(one, two, ends, i)) for i in several]
    known = [(i, *seen) for i, seen in found if seen is not None and bool(seen[1].isfinite().all())]
    weights = torch.zeros(len(one), k, dtype=F64)
    weights[:, 0] = 1.0
    on = torch.zeros(len(one), dtype=torch.bool)
    labelled = _labelled(one[several[0]].asked)
    # Of the last round there is only the picture, which may be clamped, or be bytes.
    unread = {i for i, seen in found if seen is None} - {len(one) - 1}
    same = all(len(r.asked) in (1, k) for r in one)
    if unread or not known or not same:
        return Mix(weights, weights[0], on, "", False, labelled)
    reading = _Reading(
        torch.tensor([i for i, *_ in known]),
        torch.stack([w for _, w, _ in known]),
        torch.stack([e for *_, e in known]),
    )
    main, is_on, varies = _main(reading, one)
    weights[reading.at] = torch.where(is_on[:, None], main, reading.weights.round())
    on[reading.at] = is_on
    for i in {*several} - {*reading.at.tolist()}:  # as the nearest step before, or after
        near = int((reading.at < i).sum().clamp(min=1)) - 1
        weights[i], on[i] = weights[reading.at[near]], is_on[near]
    told = tuple(each.labels for each in one[several[0]].asked)
    return Mix(weights, main, on, varies, True, labelled, _nothing(one[several[0]], labelled), told)


def _weights(
    one: Sequence[Round], two: Sequence[Round], ends: tuple[Tensor, Tensor], i: int
) -> tuple[Tensor, Tensor] | None:
    """(k,) weights of the answers in the step after round i, of sum 1, and their errors, infinite
    where all of them together weigh too little; None if the step is no sum."""
    nexts = [run[i + 1].asked[0].x for run in (one, two)] if i + 1 < len(one) else ends
    if nexts[0].shape != one[i].asked[0].x.shape or not nexts[0].is_floating_point():
        return None
    x, out = (a - b for a, b in ((one[i].asked[0].x, two[i].asked[0].x), (one[i].out, two[i].out)))
    apart = [out[0], *(out[1:] - out[0])]
    design = torch.stack([x.flatten(), *(v.flatten() for v in apart)], dim=1)
    scale = design.norm(dim=0).clamp(min=1e-300)
    wanted = (nexts[0].to(F64) - nexts[1].to(F64)).flatten()
    found = torch.linalg.lstsq(design / scale, wanted[:, None], driver="gelsd").solution.flatten()
    left = (design / scale) @ found - wanted
    size = max(float(v.abs().max()) for v in nexts)
    if not float(left.abs().max()) <= CLOSE * (1 + size):
        return None
    spread = torch.linalg.pinv((design / scale).T @ (design / scale)).diagonal().sqrt()
    error = left.square().mean().sqrt() * spread / scale
    of_all, *others = (found / scale)[1:]
    seen = float(of_all.abs() * design[:, 1].abs().max())  # else it is left out there
    if not float(of_all.abs()) > ERRORS * float(error[1]) or seen < SMALLEST * size:
        return torch.zeros(len(out), dtype=F64), torch.full((len(out),), torch.inf, dtype=F64)
    rest = torch.stack(others) / of_all
    errors = (error[2:] + rest.abs() * error[1]) / of_all.abs()
    first = (1 - rest.sum()).reshape(1)
    return torch.cat([first, rest]), torch.cat([errors.sum().reshape(1), errors])


def _main(reading: _Reading, asked: Sequence[Round]) -> tuple[Tensor, Tensor, str]:
    """The weights where guidance is on, where it is, and in words how they vary, if they do."""
    w, allowed = reading.weights, ERRORS * reading.error + SMALLEST * (1 + reading.weights.abs())
    off = ((w - w.round()).abs() <= allowed).all(1) & (w.round().abs().sum(1) == 1)
    worst = allowed.amax(1)
    inside = (~off).nonzero().flatten()
    some = inside if len(inside) else torch.arange(len(w))
    best = some[worst[some].argmin()]
    on = ((w - w[best]).abs() <= allowed + allowed[best]).all(1)
    share = 1 / reading.error[on].square().clamp(min=1e-30)
    pooled, error = (share * w[on]).sum(0) / share.sum(0), ERRORS * share.sum(0).rsqrt()
    main = torch.stack([_written(*pair) for pair in zip(pooled, error, strict=True)])
    strange = (~on & ~off).nonzero().flatten()
    if not len(strange):
        return main, on, ""
    i = strange[(w[strange] - w[best]).abs().sum(1).argmax()]
    times = [asked[int(reading.at[j])].asked[0].t[0] for j in (i, best)]
    said = [mixed(w[j].mul(1e3).round() / 1e3) for j in (i, best)]
    told = [f"{mix} at t={float(t):g}" for mix, t in zip(said, times, strict=True)]
    return main, on, ", ".join(told)


def _written(value: Tensor, error: Tensor) -> Tensor:
    """The number of fewest decimals within the error, or the value itself."""
    within = float(error) + SMALLEST * (1 + abs(float(value)))
    for decimals in range(DECIMALS + 1):
        if abs(round(float(value), decimals) - float(value)) <= within:
            return torch.tensor(round(float(value), decimals), dtype=F64)
    return value


def _labelled(asked: Sequence[Asked]) -> tuple[int, ...]:
    """Which answers were given with labels, where all were given one of two, by the first thing
    told that differs."""
    one = asked[0].labels
    for place in dict.fromkeys(place for each in asked for place in each.labels):
        told = [each.labels.get(place) for each in asked]
        others = [value for value in told if not _equal(value, told[0])]
        if not others:
            continue
        alike = [_equal(value, others[0]) for value in told]
        if not all(_equal(told[0], v) or same for v, same in zip(told, alike, strict=True)):
            return ()
        alone = len({*one, *(place for each in asked for place in each.labels)}) == 1
        second = _with_label(told[0], others[0], place, alone)
        return () if second is None else tuple(i for i, s in enumerate(alike) if s == bool(second))
    return ()


def _nothing(asked: Round, labelled: tuple[int, ...]) -> float | None:
    """The number that was told in the place of a label where there was none, of all images."""
    without = [each for i, each in enumerate(asked.asked) if labelled and i not in labelled]
    told = [v for each in without for v in each.labels.values() if isinstance(v, Tensor)]
    numbers = torch.cat([v.flatten() for v in told]).unique() if told else torch.zeros(0)
    return float(numbers[0]) if len(numbers) == 1 else None


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.equal(a, b)
    return a is b if isinstance(a, Tensor) or isinstance(b, Tensor) else bool(a == b)


def _with_label(a: Any, b: Any, place: Place, alone: bool) -> int | None:
    """0 or 1: nothing is told by None, by zeros, by -1, by one number for images whose labels
    differ, or by the class after all others.

    A mask of zeros and ones beside labels may mean either, and other numbers than whole ones
    anything.
    """
    if a is None or b is None:
        return int(a is None)
    values = [torch.as_tensor(v) for v in (a, b) if isinstance(v, Tensor | int | float)]
    masks = "mask" in str(place) or "drop" in str(place) or not alone
    if len(values) < 2 or (masks and all(bool(((v == 0) | (v == 1)).all()) for v in values)):
        return None
    for nothing in (lambda v: v == 0, lambda v: v < 0):
        told = [not bool(nothing(v).all()) for v in values]
        if told[0] != told[1]:
            return int(told[1])
    if not all(bool((v == v.round()).all()) for v in values):
        return None
    several = [len(v.unique()) > 1 for v in values]
    if several[0] != several[1]:
        return int(several[1])
    return int(float(values[0].max()) > float(values[1].max()))
