"""A picture's prediction is its own: nothing random, no other picture, no place in the batch."""

import re
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from compare.candidate.denoiser.denoiser import Denoiser
from compare.candidate.denoiser.record import apart, record
from compare.candidate.subject import Subject
from compare.candidate.surroundings import apart as in_its_surroundings
from compare.measure.check import Check, note, yes_no
from compare.stages.network.look import REASON, bound_of, measured, spread

NORMS = (nn.modules.batchnorm._BatchNorm,)
ATTENTION = re.compile("att|transformer", re.IGNORECASE)


def passes(one: Denoiser) -> float:
    """How far apart two passes are that nothing but the random state tells apart."""
    x, t = one.pictures(), spread(one)
    return apart(one.ask(x, t, seed=1), one.ask(x, t, seed=2))


def mates(one: Denoiser, training: bool = False) -> float:
    """How far the prediction of the first picture goes with the others of its batch."""
    one.network.train(training)
    x, t = one.pictures(), spread(one)
    change = apart(one.ask(_others(x), t)[:1], one.ask(x, t)[:1])
    one.network.eval()
    return change


def _others(x: Tensor) -> Tensor:
    """The same first picture beside others."""
    return torch.cat([x[:1], 3 * x[1:] + 1])


def places(one: Denoiser) -> float:
    """How far predictions go with the place of a picture in its batch."""
    x, t = one.pictures(), one.at(one.T // 2)
    return apart(one.ask(x.roll(1, 0), t).roll(-1, 0), one.ask(x, t))


def culprit(one: Denoiser, bound: float, training: bool = False) -> tuple[str, str, str]:
    """The first innermost part that makes something else of the same first picture: its name, its
    class, and the mistake that it is likely to be, as its class or name says; "" where unknown."""
    one.network.train(training)
    x, t = one.pictures(), spread(one)
    with in_its_surroundings(one.own):
        calls, others = (record(one.network, one.given(p, t)) for p in (x, _others(x)))
    one.network.eval()
    for name, call in calls.items():  # in the order in which they end: the innermost first
        pairs = zip(call.made, others[name].made, strict=True) if name in others else ()
        if not name or all(_first_alike(a, b, bound) for a, b in pairs):
            continue
        if all(_first_alike(a, b, bound) for a, b in zip(call.given, others[name].given)):  # noqa: B905
            module = one.network.get_submodule(name)
            kind = type(module).__name__
            attends = ATTENTION.search(kind) or ATTENTION.search(name)
            bug = "96" if isinstance(module, NORMS) else "96-attention" if attends else ""
            return name, kind, bug
    return "", "", ""


def _first_alike(one: Tensor, other: Tensor, bound: float) -> bool:
    if not one.dim() or one.shape != other.shape:
        return one.shape == other.shape and bool(one == other)
    return not one.is_floating_point() or apart(one[:1], other[:1]) <= bound


def in_eval(subject: Subject) -> Iterator[Check]:
    """In eval mode nothing is random."""
    yield still("network/eval", measured(subject, "passes", passes))


def still(id: str, change: float) -> Check:
    """Two passes in eval mode are equal to the last bit."""
    return yes_no(
        id,
        change == 0,
        "two passes in eval mode are equal",
        "two passes in eval mode differ: something is random there",
        measured=change,
        allowed=0.0,
        bug="94" * (change != 0),
    )


def batch(subject: Subject) -> Iterator[Check]:
    """No other picture counts, and no place."""
    bound, change = bound_of(subject), measured(subject, "mates", mates)
    name, kind, bug = "", "", ""
    if change > bound:
        name, kind, bug = measured(subject, "culprit", lambda one: culprit(one, bound))
    yield yes_no(
        "network/batch",
        change <= bound,
        "a prediction depends on its own picture alone",
        f"a prediction changes with the other pictures of its batch{_first(name, kind)}",
        measured=change,
        allowed=bound,
        reason=REASON,
        bug=bug,
    )
    if change > bound or measured(subject, "passes", passes):
        return
    moved = measured(subject, "places", places)
    yield yes_no(
        "network/position",
        moved <= bound,
        "a prediction does not depend on the place in the batch",
        "a prediction depends on the place of its picture in the batch",
        measured=moved,
        allowed=bound,
        reason=REASON,
        bug="88-batch" * (moved > bound),
    )


def in_training(subject: Subject) -> Iterator[Check]:
    """A note only: BatchNorm is a choice that some make, and the prediction in eval is not its."""
    bound, change = bound_of(subject), measured(subject, "training", lambda n: mates(n, True))
    if change <= bound or measured(subject, "mates", mates) > bound:
        return
    name, kind, bug = measured(subject, "in training", lambda n: culprit(n, bound, True))
    text = "in training mode a prediction changes with the other pictures of its batch"
    more = {"measured": change, "allowed": bound, "reason": REASON, "bug": bug}
    yield note("network/training", text + _first(name, kind), **more)


def _first(name: str, kind: str) -> str:
    return f", first in `{name}` ({kind})" if name else ""
