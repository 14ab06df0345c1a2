"""The network of a candidate, and what is measured of it: asked once, its weights given back."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from compare.candidate.denoiser.denoiser import Denoiser, find
from compare.candidate.denoiser.lent import lent, vary
from compare.candidate.denoiser.record import apart
from compare.candidate.generators import seed_everything
from compare.candidate.load import Broken, raised
from compare.candidate.subject import Subject
from compare.candidate.surroundings import apart as in_its_surroundings

ROUNDING = 1e-5  # of the largest entry: float32 sums in another order
TIMES = 16  # as much as the last bits of the picture change, where that is more
REASON = (
    f"{ROUNDING:g} of the largest entry, or {TIMES} times what the last bits of the picture "
    "change, if that is more: sums of the same numbers in another order"
)


def denoiser_of(subject: Subject) -> Denoiser:
    """The network that fills the role.

    Raises:
        Broken: it cannot be built or called; says what to do.
    """
    return subject.remember(("network", "denoiser"), lambda: _found(subject))


def _found(subject: Subject) -> Denoiser:
    role = None if subject.adapter is None else subject.adapter.network
    assert role is not None
    seed_everything(subject.seed)  # its weights are the same in every process
    try:
        with in_its_surroundings(subject.own):
            network = role if isinstance(role, nn.Module) else role()
    except Exception as error:
        raise Broken(f"network() raises {raised(error)}") from None
    if not isinstance(network, nn.Module):
        raise Broken(f"network() returned {type(network).__name__}, not an nn.Module", raised=False)
    with lent(network):
        return find(network.eval(), subject.own)


def measured(subject: Subject, name: str, measure: Callable[[Denoiser], Any]) -> Any:
    """What is measured of the network in eval mode, its weights such that all of it shows."""

    def ask() -> Any:
        one = denoiser_of(subject)
        with lent(one.network):
            vary(one.network.eval(), subject.seed)
            return measure(one)

    return subject.remember(("network", name), ask)


def rounding(one: Denoiser) -> float:
    """How far apart two predictions may be that should be the same."""
    x, t = one.pictures(), spread(one)
    signs = torch.randint(2, x.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    moved = x * (1 + signs.to(x) * torch.finfo(x.dtype).eps)
    return max(ROUNDING, TIMES * apart(one.ask(moved, t), one.ask(x, t)))


def bound_of(subject: Subject) -> float:
    """The same, of its network."""
    bound: float = measured(subject, "rounding", rounding)
    return bound


def spread(one: Denoiser) -> torch.Tensor:
    """(b,) a t of its own for each image, from 0 to T-1."""
    return torch.linspace(0, one.T - 1, one.shape[0]).round().long()
