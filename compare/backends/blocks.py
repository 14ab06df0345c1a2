"""The first part of a network that departs from another's with the same weights."""

from dataclasses import dataclass

from torch import Tensor, nn

from compare.candidate.denoiser.record import Call, apart

WHOLE = ""  # the name of the network itself among its parts


@dataclass(frozen=True)
class Departure:
    """Where a network first departs from another.

    Attributes:
        block: the innermost part that is given the same and makes something else.
        before: its first child that is already given something else, if there is one.
        uncalled: its children that only the other network calls.
    """

    block: str
    before: str | None
    uncalled: tuple[str, ...]

    def __str__(self) -> str:
        name = f"`{self.block}` is the first block that departs"
        words = name if self.block else "what the network does between its blocks departs first"
        if self.before:
            words += f", in what it gives to `{self.before.removeprefix(self.block).lstrip('.')}`"
        if self.uncalled:
            words += f"; it never calls {', '.join(self.uncalled)}"
        return words


def first_departure(
    network: nn.Module, calls: dict[str, Call], others: dict[str, Call], bound: float
) -> Departure | None:
    """The innermost part of a network that departs by itself, or None if the output agrees.

    Parts inside a part whose output agrees are not looked at: that is another way to the same.

    Args:
        network: whose calls `calls` are.
        calls: of the network that is judged.
        others: of the network with the same weights that it is measured by.
        bound: the largest difference that is allowed, relative to the largest entry.
    """
    if _largest(calls[WHOLE].made, others[WHOLE].made) <= bound:
        return None
    parts = {name for name, _ in network.named_modules()}
    shared = [name for name in others if name in calls and name != WHOLE]
    block, before, inside = WHOLE, None, True
    while inside:
        inside = False
        for child in (name for name in shared if _parent(name, shared) == block):
            if _largest(calls[child].made, others[child].made) > bound:
                inside = _largest(calls[child].given, others[child].given) <= bound
                block, before = (child, None) if inside else (block, child)
                break
    missing = [n for n in others if n in parts and n not in calls and _parent(n, shared) == block]
    prefix = f"{block}." if block else ""
    return Departure(block, before, tuple(name.removeprefix(prefix) for name in missing))


def _largest(ones: tuple[Tensor, ...], others: tuple[Tensor, ...]) -> float:
    return max((apart(a, b) for a, b in zip(ones, others, strict=False)), default=0.0)


def _parent(name: str, known: list[str]) -> str:
    """The nearest known part round this one."""
    while name:
        name = name.rpartition(".")[0]
        if name in known:
            break
    return name
