"""`ddpm explain 5`: what a mistake of the catalogue is, beside what is right."""

import argparse
import sys
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compare.mistakes import Mistake

WIDTH = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `ddpm explain`."""
    parser.add_argument(
        "mistake",
        nargs="?",
        metavar="MISTAKE",
        help="its number or its name, as a verdict gives them; without it, a list of all",
    )


def main(args: argparse.Namespace) -> int:
    """`ddpm explain`: 0 explained, 2 there is no such mistake."""
    from compare.mistakes import ALL, find

    if args.mistake is None:
        print("\n".join(line(mistake) for mistake in ALL))
        return 0
    try:
        mistake = find(args.mistake)
    except LookupError as error:
        print(f"ddpm explain: {error.args[0]}", file=sys.stderr)
        return 2
    print("\n".join(lines(mistake)))
    return 0


def line(mistake: "Mistake") -> str:
    """A mistake in one line of a list."""
    room = WIDTH - 14
    return f"{mistake.id:13} " + textwrap.shorten(f"{mistake.name}: {mistake.words}", room)


def lines(mistake: "Mistake") -> Iterator[str]:
    """All that is said of a mistake."""
    yield f"mistake {mistake.id}: {mistake.name} (stage {mistake.stage})"
    yield ""
    yield from textwrap.wrap(mistake.words, WIDTH)
    yield ""
    yield from said("right", mistake.right_formula)
    yield ""
    yield f"wrong, {mistake.functions[0].__module__}:"
    yield textwrap.indent(mistake.source, "    ")
    if mistake.right:
        yield ""
        yield f"right, {mistake.right.replace(':', '.')}:"
        yield textwrap.indent(mistake.right_source, "    ")
    yield ""
    yield from said("fix", mistake.fix)
    yield from said("effect", mistake.effect)
    if mistake.seen_in:
        yield from said("seen in", "; ".join(mistake.seen_in))


def said(title: str, text: str) -> list[str]:
    """A titled text, folded below itself."""
    return textwrap.wrap(text, WIDTH, initial_indent=f"{title}: ", subsequent_indent="  ")
