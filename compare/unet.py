"""Two U-Nets with the same weights, block by block: which block departs first, and why."""

from compare.report import Check


def checks(level: str, seed: int) -> list[Check]:
    """scratch's network beside Diffusers' with the same weights, for several sets of options."""
    return []
