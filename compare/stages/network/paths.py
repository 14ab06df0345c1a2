"""What reaches what: a gradient every weight, and the picture its prediction by skips."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from compare.candidate.denoiser.denoiser import Denoiser
from compare.candidate.denoiser.record import apart, tensors
from compare.candidate.denoiser.trace import PICTURE, Size, Trace, marked
from compare.candidate.load import Broken
from compare.candidate.subject import Subject
from compare.measure.check import Check, note, yes_no
from compare.stages.network.look import bound_of, measured, rounding, spread
from compare.stages.network.time import entries, said

SHOWN = 4  # names
FEW = 24  # weights that are moved one by one; more are moved together


@dataclass(frozen=True)
class Weights:
    """Names of weights without a gradient.

    Attributes:
        cut: they move the prediction.
        dead: so do they, and others in their place have one, as of what is clamped.
        idle: something is computed of them that does not.
        unused: nothing is computed of them.
        frozen: they are not to learn.
    """

    cut: tuple[str, ...]
    dead: tuple[str, ...]
    idle: tuple[str, ...]
    unused: tuple[str, ...]
    frozen: tuple[str, ...]


def gradients(one: Denoiser) -> Weights:
    """Which weights get none, or one of zeros, from anything that the network returns."""
    weights = dict(one.network.named_parameters())
    for weight in weights.values():
        weight.grad = None
    trace = Trace(len(one.shape) - 2)
    _backward(one, trace)
    frozen = [name for name, weight in weights.items() if not weight.requires_grad]
    without = [n for n, w in weights.items() if w.grad is None or not bool(w.grad.any())]
    without = [name for name in without if name not in frozen]
    unused = [n for n in without if weights[n].grad is None and id(weights[n]) not in trace.used]
    taking_part = [name for name in without if name not in unused]
    several = len(taking_part) > FEW
    groups = [taking_part] if several else [[name] for name in taking_part]
    cut, idle, dead = list[str](), list[str](), list[str]()
    for names in groups:
        moves, alive = _move(one, [weights[name] for name in names])
        for name in names:
            (idle if not moves else dead if id(weights[name]) in alive else cut).append(name)
    return Weights(*map(tuple, (cut, dead, idle, unused, frozen)))


def _backward(one: Denoiser, trace: Trace) -> None:
    """Gives the weights the gradients of all that the network returns."""
    with torch.enable_grad():
        with trace:
            answer = one.answer(one.pictures(), spread(one))
        made = [each for each in tensors(answer) if each.requires_grad]
        if made:
            torch.stack([(each * torch.randn_like(each)).mean() for each in made]).sum().backward()


def _move(one: Denoiser, weights: list[torch.nn.Parameter]) -> tuple[bool, set[int]]:
    """Whether others in the place of these weights give another prediction, and the ids of those
    that then get a gradient. Both ways are tried, as a clamp may act on one side."""
    x, t, before = one.pictures(), spread(one), [weight.detach().clone() for weight in weights]
    right, generator = one.ask(x, t), torch.Generator().manual_seed(0)
    noise = [
        torch.randn(w.shape, generator=generator).to(w) * (w.abs().mean() or 1) for w in before
    ]
    moves, alive = False, set[int]()
    for sign in (1, -1):
        _put(weights, [value + sign * off for value, off in zip(before, noise, strict=True)])
        if apart(one.ask(x, t), right) > rounding(one):
            _backward(one, Trace(len(one.shape) - 2))
            moves, alive = True, {id(w) for w in weights if w.grad is not None and w.grad.any()}
            break
    _put(weights, before)
    return moves, alive


def _put(weights: list[torch.nn.Parameter], values: list[Tensor]) -> None:
    """Other values for weights, which have no gradient then."""
    with torch.no_grad():
        for weight, value in zip(weights, values, strict=True):
            weight.copy_(value)
            weight.grad = None


def learns(subject: Subject) -> Iterator[Check]:
    """Every weight that moves the prediction gets a gradient."""
    weights = measured(subject, "gradients", gradients)
    yield yes_no(
        "network/learns",
        not weights.cut,
        "every weight that moves the prediction gets a gradient",
        f"the prediction goes by {_names(weights.cut)}, and no gradient comes back: it is cut",
        measured=float(len(weights.cut)),
        allowed=0.0,
    )
    several = {
        "without a gradient where they stand, as if clamped": weights.dead,
        "never used here": weights.unused,
        "reach nothing here": weights.idle,
        "frozen": weights.frozen,
    }
    words = [f"{_names(names)} {what}" for what, names in several.items() if names]
    if words:
        yield note("network/unused", f"weights: {'; '.join(words)}")


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" * (len(names) > SHOWN))


def attention(subject: Subject) -> Iterator[Check]:
    """What a softmax gives as weights sums to 1 over what is summed."""
    products = measured(subject, "products", lambda one: entries(one, one.at(0)).weighed)
    wrong = [each for each in products if each.axis not in each.summed]
    if not products:
        return
    text = ""
    if wrong:
        first = wrong[0]
        over = " and ".join(map(str, first.summed))
        text = f"{len(wrong)} of {len(products)} softmax run over another axis than is summed: of "
        text += f"the weights of shape {first.shape} over axis {first.axis}, should be {over}"
    right = f"the weights of {len(products)} softmax sum to 1 over what is summed"
    of_queries = bool(wrong) and all(each.axis in each.rows for each in wrong)
    yield yes_no("network/attention", not wrong, right, text, bug="91" * of_queries)


@dataclass(frozen=True)
class Narrow:
    """A size of maps without which the prediction knows nothing of the picture, how many numbers a
    picture has there, and whether there are convolutions of the picture's own size."""

    size: Size
    numbers: int
    returns: bool


def narrow(one: Denoiser, bound: float) -> Narrow | None:
    """The smallest such size; None if there is none below the picture's own."""
    x, y, t = one.pictures(), one.pictures(1), spread(one)
    axes, full = len(one.shape) - 2, math.prod(one.shape[2:])
    with Trace(axes) as trace:
        one.ask(marked(x, PICTURE), t)
    lower = sorted((s for s in trace.sizes if math.prod(s) < full), key=math.prod)

    def passes_all(sizes: list[Size]) -> int:
        """How many numbers the largest of these maps has, if they hold all; else 0."""
        with Trace(axes, frozen=frozenset(sizes)) as first:
            made = one.ask(marked(x, PICTURE), t)
        with Trace(axes, frozen=frozenset(sizes), maps=first.made):
            again = one.ask(marked(y, PICTURE), t)
        last = [m for m in first.made if tuple(m.shape[2:]) == sizes[-1]]
        return max(m[0].numel() for m in last) if apart(again, made) <= bound else 0

    if not lower or not passes_all(lower):
        return None
    for i in range(len(lower)):
        numbers = passes_all(lower[: i + 1])
        if numbers:
            return Narrow(lower[i], numbers, one.shape[2:] in trace.convolved)
    return None


def skips(subject: Subject) -> Iterator[Check]:
    """The picture reaches the prediction beside its lower levels: a note, as not all have such."""
    shape = measured(subject, "shape", lambda one: one.shape)
    if len(shape) == 2:
        return
    bound = bound_of(subject)
    try:
        found = measured(subject, "narrow", lambda one: narrow(one, bound))
    except Broken:  # it takes another way with what is put in the place of its maps
        return
    if found is None:
        text = "the picture reaches the prediction beside every lower level"
        yield yes_no("network/skips", True, text, "")
        return
    text = f"all that is known of a picture passes its {said(found.size)} level"
    text += f", {found.numbers} numbers for the {math.prod(shape[1:])} of a picture"
    if found.returns:
        text += ": it has no skips, or does not use them"
    yield note("network/skips", text, bug="93-missing" * found.returns)
