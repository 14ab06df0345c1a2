"""What any network of a DDPM must obey, seen without another one to measure it by."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from compare.candidate.denoiser.record import apart, predict
from compare.measure.check import Check, note, yes_no
from compare.measure.tolerances import TOLERANCES

VISIBLE = 1e-3  # of the largest entry: a hundred times the rounding of two such networks
ROUNDING = 1e-5  # of the largest entry: float32 sums in another order
KEY_BIASES = ("to_k.bias", "key.bias")  # their gradient is 0: softmax forgets what they add
SYMPTOMS = {
    "eval": "94",
    "batch": "96",
    "norms": "97-eps",
    "distinct": "89",
    "time": "90",
}  # mistakes that they show


class _Seen(Exception):
    """Ends a forward pass whose embedding is known."""


def judge_alone(prefix: str, network: nn.Module, arguments: Mapping) -> Iterator[Check]:
    """The invariants of one network.

    Args:
        prefix: of their names.
        network: its weights away from zero; changed in mode only.
        arguments: `sample` (b, c, h, w), `timestep` (b,) and perhaps `class_labels` (b,); b > 1.
    """
    network.eval()
    yield from _time(prefix, network, arguments)
    yield from _distinct(prefix, network, arguments)
    yield from _two_passes(prefix, network, arguments)
    yield from _batch(prefix, network, arguments)
    yield from _gradients(prefix, network, arguments)


def _seeded(network: nn.Module, arguments: Mapping, seed: int = 0, **changes: Any) -> Tensor:
    torch.default_generator.manual_seed(seed)
    return predict(network, {**arguments, **changes})


def _time(prefix: str, network: nn.Module, arguments: Mapping) -> Iterator[Check]:
    """The prediction depends on t."""
    t = arguments["timestep"]
    change = apart(
        _seeded(network, arguments, timestep=torch.full_like(t, 999)),
        _seeded(network, arguments, timestep=torch.zeros_like(t)),
    )
    yield yes_no(
        f"unet/{prefix}time",
        change > VISIBLE,
        "t changes the prediction",
        "the same prediction for t = 0 and t = 999: the network does not see t",
        measured=change,
        reason=f"must be more than {VISIBLE:g} of the largest entry, far above rounding",
    )


def _distinct(prefix: str, network: nn.Module, arguments: Mapping) -> Iterator[Check]:
    """Each of 1,000 timesteps has an embedding of its own."""
    T = 1000
    embedding = getattr(network, "time_embedding", None)
    if not isinstance(embedding, nn.Module):
        yield note(f"unet/{prefix}distinct", "it has no part `time_embedding` to be looked at")
        return
    seen: list[Tensor] = []

    def look(module: nn.Module, args: Any, output: Tensor) -> None:
        seen.append(output)
        raise _Seen

    repeated = {k: v[:1].repeat_interleave(T, 0) for k, v in arguments.items()}
    hook = embedding.register_forward_hook(look)
    try:
        predict(network, {**repeated, "timestep": torch.arange(T)})
    except _Seen:
        pass
    finally:
        hook.remove()
    count = len(seen[0].unique(dim=0)) if seen else 0
    yield yes_no(
        f"unet/{prefix}distinct",
        count == T,
        f"{T} timesteps, {T} embeddings",
        f"{T} timesteps have only {count} different embeddings",
        measured=float(count),
        allowed=float(T),
    )


def _two_passes(prefix: str, network: nn.Module, arguments: Mapping) -> Iterator[Check]:
    """In eval mode nothing is random."""
    change = apart(_seeded(network, arguments, seed=1), _seeded(network, arguments, seed=2))
    yield yes_no(
        f"unet/{prefix}eval",
        change == 0,
        "two passes in eval mode are equal",
        "two passes in eval mode differ: something is random there",
        measured=change,
        allowed=0.0,
    )


def _batch(prefix: str, network: nn.Module, arguments: Mapping) -> Iterator[Check]:
    """While training, too, a prediction depends on its own image alone."""
    sample = arguments["sample"]
    others = torch.cat([sample[:1], 3 * sample[1:] + 1])
    network.train()
    change = apart(_seeded(network, arguments, sample=others)[:1], _seeded(network, arguments)[:1])
    network.eval()
    yield yes_no(
        f"unet/{prefix}batch",
        change <= ROUNDING,
        "a prediction depends on its own image alone",
        "a prediction changes with the other images of its batch",
        measured=change,
        allowed=ROUNDING,
        reason=TOLERANCES["unet"].reason,
    )


def _gradients(prefix: str, network: nn.Module, arguments: Mapping) -> Iterator[Check]:
    """Every weight learns."""
    network.zero_grad()
    with torch.enable_grad():
        _seeded(network, arguments).square().mean().backward()
    without = [
        name
        for name, weight in network.named_parameters()
        if (weight.grad is None or not bool(weight.grad.any())) and not name.endswith(KEY_BIASES)
    ]
    yield yes_no(
        f"unet/{prefix}learns",
        not without,
        "every weight gets a gradient",
        f"without a gradient: {', '.join(without[:4])}" + (", ..." if len(without) > 4 else ""),
        measured=float(len(without)),
        allowed=0.0,
    )
