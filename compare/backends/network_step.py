"""Two U-Nets with the same weights learn the same: gradients, and one step of AdamW."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from compare.candidate.denoiser.record import predict
from compare.measure.check import Check, yes_no
from compare.measure.tolerances import FACTOR, UNIT

GRADIENT = 1e-3  # of the largest entry: backward through the same layers, summed over the batch
LEARNING_RATE, WEIGHT_DECAY, EPS = 1e-3, 1e-2, 1e-8  # of the one AdamW step


def judge_training_step(
    prefix: str, network: nn.Module, reference: nn.Module, arguments: Mapping
) -> Iterator[Check]:
    """The same gradients, and the same weights after an optimiser's step, which `network` keeps."""
    network.eval()
    reference.eval()
    yield from _gradients(prefix, network, reference, arguments)
    yield from _optimizer_step(prefix, network, reference)


def _slopes(network: nn.Module, arguments: Mapping) -> dict[str, Tensor]:
    """The gradient of the mean square of the prediction, by weight."""
    network.zero_grad()
    with torch.enable_grad():
        predict(network, arguments).square().mean().backward()
    weights = network.named_parameters()
    return {n: torch.zeros_like(w) if w.grad is None else w.grad.clone() for n, w in weights}


def _gradients(
    prefix: str, network: nn.Module, reference: nn.Module, arguments: Mapping
) -> Iterator[Check]:
    """The same gradients; those below a thousandth of the largest are compared to that."""
    ours, theirs = _slopes(network, arguments), _slopes(reference, arguments)
    largest = max(float(g.abs().max()) for g in theirs.values())
    ratios = {
        name: float((ours[name] - g).abs().max() / g.abs().max().clamp(min=GRADIENT * largest))
        for name, g in theirs.items()
    }
    worst = max(ratios, key=lambda name: ratios[name])
    yield yes_no(
        f"unet/{prefix}gradients",
        ratios[worst] <= GRADIENT,
        "the same gradients",
        f"the gradient of {worst} differs",
        measured=ratios[worst],
        allowed=GRADIENT,
        reason="backward through the same layers, summed over images and pixels in another order",
    )


def _optimizer_step(prefix: str, network: nn.Module, reference: nn.Module) -> Iterator[Check]:
    """One AdamW step leaves the weights where its formula, in float64, leaves the reference's.

    The first step is lr g / (|g| + eps), which is lr sign(g) for all but the smallest gradients: so
    each weight may be as far off as a gradient that is off by its own bound moves that, and some
    sixteen roundings of the quotient.

    Source: Kingma & Ba 2014 (arXiv:1412.6980), algorithm 1; Loshchilov & Hutter 2017
    (arXiv:1711.05101), algorithm 2.
    """
    torch.optim.AdamW(
        network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, eps=EPS
    ).step()
    weights = dict(network.named_parameters())
    slopes = {n: w.grad.double() for n, w in reference.named_parameters() if w.grad is not None}
    largest = max(float(g.abs().max()) for g in slopes.values())
    worst, allowed, at = -1.0, 0.0, ""
    for name, g in slopes.items():
        start = reference.get_parameter(name)
        off = GRADIENT * g.abs().max().clamp(min=GRADIENT * largest)
        moves = [LEARNING_RATE * x / (x.abs() + EPS) for x in (g, g + off, g - off)]
        expected = start.double() * (1 - LEARNING_RATE * WEIGHT_DECAY) - moves[0]
        bound = torch.maximum((moves[1] - moves[0]).abs(), (moves[2] - moves[0]).abs())
        bound += FACTOR * UNIT * (start.double().abs() + 4 * LEARNING_RATE)
        excess = (weights[name].double() - expected).abs() / bound
        if float(excess.max()) > worst:
            i = int(excess.argmax())
            worst, allowed, at = float(excess.max()), float(bound.flatten()[i]), name
    yield yes_no(
        f"unet/{prefix}optimizer-step",
        worst <= 1,
        "one AdamW step to the same weights",
        f"after one AdamW step {at} differs",
        measured=worst * allowed,
        allowed=allowed,
        reason="what the bound of the gradients allows Adam's first step, and its roundings",
    )
