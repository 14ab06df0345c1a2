"""What any network of a DDPM must obey, seen without another one to measure it by."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from compare.backends.blocks import apart, predict
from compare.measure.ledger import Ledger
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


def judge_alone(ledger: Ledger, prefix: str, network: nn.Module, arguments: Mapping) -> None:
    """The invariants of one network.

    Args:
        ledger: where to write the checks.
        prefix: of their names.
        network: its weights away from zero; changed in mode only.
        arguments: `sample` (b, c, h, w), `timestep` (b,) and perhaps `class_labels` (b,); b > 1.
    """
    network.eval()
    _time(ledger, prefix, network, arguments)
    _distinct(ledger, prefix, network, arguments)
    _two_passes(ledger, prefix, network, arguments)
    _batch(ledger, prefix, network, arguments)
    _gradients(ledger, prefix, network, arguments)


def _seeded(network: nn.Module, arguments: Mapping, seed: int = 0, **changes: Any) -> Tensor:
    torch.default_generator.manual_seed(seed)
    return predict(network, {**arguments, **changes})


def _time(ledger: Ledger, prefix: str, network: nn.Module, arguments: Mapping) -> None:
    """The prediction depends on t."""
    t = arguments["timestep"]
    change = apart(
        _seeded(network, arguments, timestep=torch.full_like(t, 999)),
        _seeded(network, arguments, timestep=torch.zeros_like(t)),
    )
    ledger.judge(
        f"{prefix}time",
        change > VISIBLE,
        "t changes the prediction",
        "the same prediction for t = 0 and t = 999: the network does not see t",
        measured=change,
        reason=f"must be more than {VISIBLE:g} of the largest entry, far above rounding",
    )


def _distinct(ledger: Ledger, prefix: str, network: nn.Module, arguments: Mapping) -> None:
    """Each of 1,000 timesteps has an embedding of its own."""
    T = 1000
    embedding = getattr(network, "time_embedding", None)
    if not isinstance(embedding, nn.Module):
        ledger.add(f"{prefix}distinct", "note", "it has no part `time_embedding` to be looked at")
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
    ledger.judge(
        f"{prefix}distinct",
        count == T,
        f"{T} timesteps, {T} embeddings",
        f"{T} timesteps have only {count} different embeddings",
        measured=float(count),
        allowed=float(T),
    )


def _two_passes(ledger: Ledger, prefix: str, network: nn.Module, arguments: Mapping) -> None:
    """In eval mode nothing is random."""
    change = apart(_seeded(network, arguments, seed=1), _seeded(network, arguments, seed=2))
    ledger.judge(
        f"{prefix}eval",
        change == 0,
        "two passes in eval mode are equal",
        "two passes in eval mode differ: something is random there",
        measured=change,
        allowed=0.0,
    )


def _batch(ledger: Ledger, prefix: str, network: nn.Module, arguments: Mapping) -> None:
    """While training, too, a prediction depends on its own image alone."""
    sample = arguments["sample"]
    others = torch.cat([sample[:1], 3 * sample[1:] + 1])
    network.train()
    change = apart(_seeded(network, arguments, sample=others)[:1], _seeded(network, arguments)[:1])
    network.eval()
    ledger.judge(
        f"{prefix}batch",
        change <= ROUNDING,
        "a prediction depends on its own image alone",
        "a prediction changes with the other images of its batch",
        measured=change,
        allowed=ROUNDING,
        reason=TOLERANCES["unet"].reason,
    )


def _gradients(ledger: Ledger, prefix: str, network: nn.Module, arguments: Mapping) -> None:
    """Every weight learns."""
    network.zero_grad()
    with torch.enable_grad():
        _seeded(network, arguments).square().mean().backward()
    without = [
        name
        for name, weight in network.named_parameters()
        if (weight.grad is None or not bool(weight.grad.any())) and not name.endswith(KEY_BIASES)
    ]
    ledger.judge(
        f"{prefix}learns",
        not without,
        "every weight gets a gradient",
        f"without a gradient: {', '.join(without[:4])}" + (", ..." if len(without) > 4 else ""),
        measured=float(len(without)),
        allowed=0.0,
    )
