"""t is seen: it changes the prediction, each t and each picture's own, and at which levels."""

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compare.candidate.denoiser.denoiser import ONE_FOR_ALL, Denoiser
from compare.candidate.denoiser.record import apart
from compare.candidate.denoiser.trace import PICTURE, TIME, Size, Trace, marked
from compare.candidate.load import Broken
from compare.candidate.subject import Subject
from compare.measure.check import Check, found, note, yes_no
from compare.stages.network.batch import mates
from compare.stages.network.look import REASON, bound_of, measured

ROWS = 100  # timesteps that are embedded at once
SMALL = 8  # pixels of a side, quicker, if it goes
PIXELS = 1024  # of larger pictures a few timesteps are asked
COLUMNS = 512  # of what is told of t: more would only take longer
ALIKE = 1e-6  # of the largest: two embeddings of one t, summed in another order
RUNS = ((0, 8), (250, 258), (510, 518), (-8, 0))  # of neighbours, where no embedding is seen
ENTERS = "t added in every residual block (Ho et al., appendix B)"


def change(one: Denoiser) -> float:
    """How far predictions go with t, from t = 0 to the middle and to the last."""
    x = one.pictures()
    at_0 = one.ask(x, one.at(0))
    return max(apart(one.ask(x, one.at(t)), at_0) for t in (one.T // 2, one.T - 1))


def entries(one: Denoiser, t: Tensor, enough: int = 0) -> Trace:
    """A pass that is looked at from inside, for as many pictures as there are t."""
    x = one.pictures()[torch.arange(len(t)) % one.shape[0]]
    trace = Trace(len(one.shape) - 2, enough=enough)
    with suppress(Broken), trace:  # it is ended by us, or by what `time` tells
        one.answer(marked(x, PICTURE), marked(t, TIME))
    return trace


def _same(some: tuple[Tensor, ...], others: tuple[Tensor, ...]) -> bool:
    """True if what is told at one t is what is told at another."""
    return all(torch.equal(a, b) for a, b in zip(some, others, strict=False))


def _told(one: Denoiser, t: Tensor) -> Tensor | None:
    """(n, d) what of t alone first meets a picture; None where that is not seen."""
    rows = []
    for some in t.split(ROWS):
        trace = entries(one, some, enough=1)
        if not trace.entries or any(len(v) != len(some) for v in trace.entries[0].told):
            return None
        rows.append(torch.cat([v.reshape(len(some), -1) for v in trace.entries[0].told], 1).float())
    every = torch.cat(rows)
    return every[:, :: max(1, every.shape[1] // COLUMNS)]


@dataclass(frozen=True)
class Steps:
    """How many of the timesteps `asked` are told apart, two that are not, and by what is seen;
    whether those that are the same are so in bfloat16."""

    asked: int
    apart: int
    pair: tuple[int, int] = (0, 0)
    seen: str = "embeddings"
    of_bfloat16: bool = False


def steps(one: Denoiser, bound: float) -> Steps:
    """Which timesteps look alike: by what is told of them, and then by the prediction."""
    few = sorted({n % one.T for low, high in RUNS for n in range(low, high) if n < one.T})
    small = replace(one, shape=(*one.shape[:2], *[SMALL] * len(one.shape[2:])))
    goes = bool(entries(small, torch.zeros(1).long(), enough=1).entries)
    every = goes or math.prod(one.shape[2:]) <= PIXELS
    t = torch.arange(one.T) if every else torch.tensor(few)
    told, seen, limit = _told(small if goes else one, t), "embeddings", ALIKE
    x = one.pictures()
    if told is None:
        t, seen, limit = torch.tensor(few), "predictions", bound
        told = torch.stack([one.ask(x, one.at(n)).flatten().float() for n in few])
    again = (torch.cdist(told, told, p=float("inf")) <= limit * told.abs().max()).tril(-1)
    if not bool(again.any()):
        return Steps(len(t), len(t), seen=seen)
    late, early = (int(t[i]) for i in again.nonzero()[0])
    if apart(one.ask(x, one.at(early)), one.ask(x, one.at(late))) > bound:
        return Steps(len(t), len(t), seen="predictions")  # told apart by what comes in elsewhere
    count = int((~again.any(dim=1)).sum())
    in_bfloat16 = count == len(t.bfloat16().unique()) and (early, late) == (256, 257)
    return Steps(len(t), count, (early, late), seen, in_bfloat16)


def own(one: Denoiser) -> tuple[float, float]:
    """How far the first prediction goes with the t of the others, and theirs with that of the
    first, where each is told its own."""
    x, last, first = one.pictures(), one.at(one.T - 1), one.at(0)
    mixed = torch.cat([last[:1], first[1:]])
    made = one.ask(x, mixed)
    return apart(made[:1], one.ask(x, last)[:1]), apart(made[1:], one.ask(x, first)[1:])


def time(subject: Subject) -> Iterator[Check]:
    """All that is looked at of t; nothing more where it is not seen at all."""
    bound, moved = bound_of(subject), measured(subject, "time", change)
    T = measured(subject, "T", lambda one: one.T)
    bug, why = ("", "") if moved > bound else measured(subject, "unseen", _unseen)
    yield yes_no(
        "network/time",
        moved > bound,
        "t changes the prediction",
        f"the same prediction for t = 0 and t = {T - 1}: the network does not see t{why}",
        measured=moved,
        reason=f"must be more than {bound:g} of the largest entry, far above rounding",
        bug=bug,
    )
    if moved > bound:
        if measured(subject, "mates", mates) <= bound:
            yield from _own(subject, bound)
        yield distinct(
            "network/distinct", measured(subject, "steps", lambda one: steps(one, bound))
        )
        yield from _levels(subject, bound)


def _unseen(one: Denoiser) -> tuple[str, str]:
    """The mistake of who does not see t, and what is to be said of it: t is lost before it is
    embedded, or never enters; if it does, what comes behind takes it away, which has no number."""
    first, last = (entries(one, one.at(t)) for t in (0, one.T - 1))
    if first.embedded and _same(tuple(first.embedded), tuple(last.embedded)):
        return "89-integer", ""
    pairs = zip(first.entries, last.entries, strict=False)
    if all(_same(one_end.told, other.told) for one_end, other in pairs):  # or there is none
        return "90", ""
    sizes = ", ".join(dict.fromkeys(said(entry.size) for entry in first.entries))
    return "", f": it enters at {sizes}, and what is behind takes it away, as a norm may"


def _own(subject: Subject, bound: float) -> Iterator[Check]:
    one = measured(subject, "time of", lambda one: one.time)
    if one == ONE_FOR_ALL:
        yield note("network/own-t", "t is one number for all pictures of a batch")
        return
    first, others = measured(subject, "own", own)
    of_first = first <= bound < others
    text = "a prediction changes with the t of other pictures"
    if of_first:
        text = "a prediction goes by the t of the first picture, whatever its own"
    yield yes_no(
        "network/own-t",
        max(first, others) <= bound,
        "each picture is told its own t",
        text,
        measured=max(first, others),
        allowed=bound,
        reason=REASON,
        bug="90-first" * of_first,
    )


def distinct(id: str, seen: Steps) -> Check:
    """Each timestep is told apart from every other."""
    early, late = seen.pair
    words = f"{seen.asked} timesteps have only {seen.apart} different {seen.seen}"
    return yes_no(
        id,
        seen.apart == seen.asked,
        f"{seen.asked} timesteps, {seen.asked} {seen.seen}",
        f"{words}: t = {early} and t = {late} are the same",
        measured=float(seen.apart),
        allowed=float(seen.asked),
        bug="89" * seen.of_bfloat16,
    )


def _levels(subject: Subject, bound: float) -> Iterator[Check]:
    """Where t enters; a note where that is not at every level: some add it once, and it goes on."""
    shape = measured(subject, "shape", lambda one: one.shape)
    if len(shape) == 2:
        return
    at, convolved, silent = measured(subject, "levels", lambda one: levels(one, bound))
    if not at:
        yield note("network/levels", "where t enters cannot be seen from outside")
        return
    count = Counter(at)
    told = ", ".join(f"{said(s)} ({n} {'times' if n > 1 else 'time'})" for s, n in count.items())
    pixels = {math.prod(size) for size in count}  # a map may be a row of as many positions
    without = [size for size in convolved if math.prod(size) not in pixels]
    text = f"t enters at {told}"
    if without:
        text += f", not at {', '.join(map(said, without))}: {ENTERS} is usual"
    if silent:
        text += f"; what enters at {', '.join(map(said, silent))} changes nothing: a norm behind it"
        text += " with one channel a group takes it away"
    yield found("network/levels", "note" if without or silent else "equal", text)


def levels(one: Denoiser, bound: float) -> tuple[list[Size], list[Size], list[Size]]:
    """Sizes at which t enters, in order; those of convolutions; those where it changes nothing."""
    x = one.pictures()
    here, other = (entries(one, one.at(t)) for t in (0, one.T - 1))
    at = [entry.size for entry in here.entries]
    right = one.ask(x, one.at(0))
    silent = []
    for size in dict.fromkeys(at):
        told = {i: entry.told for i, entry in enumerate(other.entries) if entry.size == size}
        with Trace(len(one.shape) - 2, told=told):
            made = one.ask(marked(x, PICTURE), marked(one.at(0), TIME))
        if apart(made, right) <= bound:
            silent.append(size)
    largest = sorted((s for s in here.convolved if s.count(1) < len(s)), reverse=True)
    return at, largest, silent


def said(size: Size) -> str:
    """A size in words.

    >>> said((8, 4)), said((16,))
    ('8 x 4', '16')
    """
    return " x ".join(map(str, size))
