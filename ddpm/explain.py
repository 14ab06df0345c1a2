"""`ddpm explain 5`: a mistake of the catalogue beside what is right; or a stage, or a role."""

import argparse
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compare.mistakes import Mistake
    from compare.stages.stage import Stage

WIDTH = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `ddpm explain`."""
    parser.add_argument(
        "mistake",
        nargs="?",
        metavar="MISTAKE",
        help="its number or its name, as a verdict gives them; a stage or a role, such as "
        "embedding; without it, a list of all mistakes",
    )


def main(args: argparse.Namespace) -> int:
    """`ddpm explain`: 0 explained, 2 there is no such mistake, stage or role."""
    from compare.candidate.text.later import asked
    from compare.mistakes import ALL, find

    if args.mistake is None:
        print("\n".join(line(mistake) for mistake in ALL))
        return 0
    judged = stages_of(args.mistake)
    if judged:
        print("\n\n".join("\n".join(lines_of(stage)) for stage in judged))
        return 0
    later = asked(args.mistake)
    if later is not None:
        print(f"ddpm explain: {later.said}", file=sys.stderr)
        return 2
    try:
        mistake = find(args.mistake)
    except LookupError as error:
        print(f"ddpm explain: {error.args[0]}", file=sys.stderr)
        return 2
    print("\n".join(lines(mistake)))
    return 0


def stages_of(word: str) -> list["Stage"]:
    """The stage of this name, or those that a role of an `Adapter` of this name is judged in.

    >>> [stage.name for stage in stages_of("step")][:2], stages_of("43")
    (['prediction', 'mean'], [])
    """
    from compare.stages import ALL

    return [s for s in ALL if s.name == word] or [s for s in ALL if word in s.roles]


def lines_of(stage: "Stage") -> Iterator[str]:
    """All that is said of a stage: what it looks at, who fills it, what people get wrong in it."""
    from compare.mistakes import ALL

    yield f"stage {stage.name}: {stage.looks_at}"
    yield from said("right", stage.right)
    for role in stage.roles:
        yield from said(f"role {role}", contract(role))
    yield from said("alone", f"ddpm compare --candidate FILE.py:NAME --only {stage.name}")
    of_stage = ("unet", stage.name) if stage.name == "network" else (stage.name,)
    yield ""
    yield from (line(mistake) for mistake in ALL if mistake.stage in of_stage)


def contract(role: str) -> str:
    """What a function owes in a role: its words in the docstring of `Adapter`.

    >>> contract("embedding")[:23]
    '(t, dim) -> (b, dim): t'
    """
    from compare import Adapter

    text = inspect.getdoc(Adapter) or ""
    _, _, rest = text.partition(f"\n    {role}: ")
    return " ".join(re.split(r"\n    \w+: |\n\n", rest)[0].split())


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
