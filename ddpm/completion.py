"""`ddpm --print-completion SHELL`: what a shell needs to complete verbs, options and files."""

import argparse
from collections.abc import Iterator
from typing import Any

SHELLS = ("bash", "zsh", "tcsh")
FOLDERS = ("RUN",)
FILES = ("FILE", "SPEC", "--output", "--gif", "--data", "--labels", "--file")


class PrintCompletion(argparse.Action):
    """Prints the script of a shell and ends, as `--help` does."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: Any = None
    ) -> None:
        try:
            print(script(parser, values))
        except ValueError as error:
            parser.error(str(error))
        parser.exit(0)


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The completion of a command line for one shell.

    Args:
        parser: with its verbs.
        shell: `bash`, `zsh` or `tcsh`.

    Raises:
        ValueError: shtab, which writes it, is not installed.
    """
    try:
        import shtab
    except ModuleNotFoundError:
        raise ValueError("shell completion needs shtab; pip install shtab") from None
    for action in _actions(parser):
        names = {*action.option_strings, action.metavar}
        if names & {*FOLDERS, *FILES} and action.choices is None:
            kind = shtab.DIRECTORY if names & {*FOLDERS} else shtab.FILE
            action.complete = kind  # type: ignore[attr-defined]
    return str(shtab.complete(parser, shell))


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                yield from _actions(verb)
