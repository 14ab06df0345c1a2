"""Pieces of the command line: a parser with one-line errors, readers of values, a run's options."""

import argparse
from collections.abc import Callable, Iterable, Mapping
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from workbench.config import TrainConfig
from workbench.fields import Range, options_of

Arguments = argparse.ArgumentParser | argparse._ArgumentGroup


def whole(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")
    return int(text)


def from_zero(text: str) -> int:
    """A whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {text!r}")
    return int(text)


def threads(text: str) -> int:
    """As many threads of the CPU as a training may have."""
    count, allowed = whole(text), options_of(TrainConfig)["threads"]["range"]
    if count not in allowed:
        raise argparse.ArgumentTypeError(f"expected a whole number {allowed}, got {text!r}")
    return count


def numbers_from_zero(text: str) -> list[int]:
    """`3,5` -> [3, 5]."""
    return [from_zero(part) for part in text.split(",")]


def widths(text: str) -> tuple[int, ...]:
    """`32,64` -> (32, 64)."""
    return tuple(whole(part) for part in text.split(","))


def flags(text: str) -> tuple[bool, ...]:
    """`no,yes` -> (False, True)."""
    known = {"no": False, "yes": True}
    parts = text.split(",")
    if not set(parts) <= set(known):
        raise argparse.ArgumentTypeError(f"expected yes or no for each level, got {text!r}")
    return tuple(known[part] for part in parts)


def number(text: str) -> float:
    """A number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None


def or_none(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """`none` -> None, else what `read` makes of it."""
    return lambda text: None if text == "none" else read(text)


READERS: dict[Any, Callable[[str], Any]] = {
    int: whole,
    float: number,
    str: str,
    tuple[int, ...]: widths,
    tuple[bool, ...]: flags,
}


def reader(annotation: Any, allowed: Range) -> Callable[[str], Any]:
    """How a field of a config is read: by its type, and from 0 on if that is in its range."""
    if get_origin(annotation) is UnionType and str in get_args(annotation)[1:]:
        read = reader(get_args(annotation)[0], allowed)
        return lambda text: read(text) if text.isdecimal() else text  # the config knows such words
    if get_origin(annotation) is UnionType:
        read = reader(get_args(annotation)[0], allowed)  # the other one is None
        return or_none(read)
    return from_zero if annotation is int and 0 in allowed else READERS[annotation]


def as_typed(value: Any) -> str:
    """A value as one types it behind its option: `none`, `yes`, `32,64`."""
    if isinstance(value, tuple):
        return ",".join(map(as_typed, value))
    words = {None: "none", True: "yes", False: "no"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


def values_said(name: str, presets: Mapping[str, Any]) -> str:
    """What each preset has for an option, in brackets; once if they all have the same."""
    values = {preset: as_typed(getattr(config, name)) for preset, config in presets.items()}
    if len({*values.values()}) == 1:
        return f" (default: {next(iter(values.values()))})"
    each = "; ".join(f"{preset}: {value}" for preset, value in values.items())
    return f" ({each})" if each else ""


def add_options(
    parser: Arguments,
    config: type,
    names: Iterable[str] | None = None,
    presets: Mapping[str, Any] | None = None,
) -> None:
    """Add one argument for each option of a config; one that is not given leaves no trace.

    Args:
        parser: or a group of its arguments.
        config: a dataclass with fields that are a `workbench.fields.option`.
        names: of the options, if not all.
        presets: configs of that kind by name; the help of an option says what they have.
    """
    hints, found = get_type_hints(config), options_of(config)
    for name in found if names is None else names:
        said, annotation = found[name], hints[name]
        words = said["help"] + values_said(name, presets or {})
        how: dict[str, Any] = {"help": words, "default": argparse.SUPPRESS}
        if annotation is bool:
            how["action"] = argparse.BooleanOptionalAction
        elif get_origin(annotation) is Literal:
            how["choices"] = get_args(annotation)
        else:
            how["type"] = reader(annotation, said["range"])
        parser.add_argument("--" + name.replace("_", "-"), **how)


def given(args: argparse.Namespace, config: type) -> dict[str, Any]:
    """The options of a config that were given on the command line."""
    return {name: vars(args)[name] for name in options_of(config) if name in args}
