"""What a stage of both backends, without a candidate, is."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from compare.measure.check import Check


@dataclass(frozen=True)
class BackendStage:
    """One part of both backends that is judged without a candidate.

    Attributes:
        name: the first word of its checks' ids.
        looks_at: what it judges, in a line.
        page: of the book.
        checks: of a level and a seed, yields its checks.
    """

    name: str
    looks_at: str
    page: str
    checks: Callable[[str, int], Iterator[Check]]
