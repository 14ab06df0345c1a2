"""What a field of a config says of itself, its help and its range, and the check that it holds."""

import math
from dataclasses import dataclass, field, fields
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Range:
    """Which numbers a field may have; `value in range` says whether it does."""

    least: float = -math.inf
    most: float = math.inf
    below: float = math.inf
    positive: bool = False

    def __contains__(self, value: float) -> bool:
        return self.least <= value <= self.most and value < self.below and value > self._above

    def __str__(self) -> str:
        words = ["positive"] if self.positive else []
        limits = {"at least": self.least, "at most": self.most, "below": self.below}
        words += [f"{word} {limit:g}" for word, limit in limits.items() if math.isfinite(limit)]
        return " and ".join(words)

    @property
    def _above(self) -> float:
        return 0 if self.positive else -math.inf


def option(default: Any, text: str, **limits: Any) -> Any:
    """A field that is also an option of the command line.

    Args:
        default: of the field.
        text: what `--help` and the book say of it, with its unit.
        limits: those of its `Range`, for a number; None is in every range.
    """
    return field(default=default, metadata={"help": text, "range": Range(**limits)})


def options_of(config: type) -> dict[str, dict[str, Any]]:
    """The `help` and the `range` of each option of a config, by its name."""
    return {each.name: dict(each.metadata) for each in fields(config) if "help" in each.metadata}


def check_fields(config: Any) -> None:
    """Refuse a field that is not what it says, such as a number given as text, or one too large.

    Raises:
        ValueError: a field has another type than its annotation, or lies outside its range.
    """
    for name, annotation in get_type_hints(type(config)).items():
        value = getattr(config, name)
        if not _is_a(annotation, value):
            raise ValueError(f"{name} must be {_in_words(annotation)}, got {value!r}")
    for name, said in options_of(type(config)).items():
        value = getattr(config, name)
        if isinstance(value, int | float) and value not in said["range"]:
            raise ValueError(f"{name} must be {said['range']}, got {value!r}")


def _is_a(annotation: Any, value: Any) -> bool:
    parts = get_args(annotation)
    if get_origin(annotation) is Literal:
        return isinstance(value, str) and value in parts
    if get_origin(annotation) is UnionType:
        return any(_is_a(part, value) for part in parts)
    if get_origin(annotation) is tuple:
        return isinstance(value, tuple) and all(_is_a(parts[0], item) for item in value)
    if annotation in (int, float):
        kinds = int if annotation is int else int | float
        return isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, annotation)


def _in_words(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return f"one of {', '.join(get_args(annotation))}"
    if get_origin(annotation) is UnionType:
        return " or ".join(map(_in_words, get_args(annotation)))
    if get_origin(annotation) is tuple:
        return f"a tuple, each {_in_words(get_args(annotation)[0])}"
    words = {int: "a whole number", float: "a number", bool: "True or False", str: "text"}
    return words.get(annotation) or annotation.__name__.replace("NoneType", "None")
