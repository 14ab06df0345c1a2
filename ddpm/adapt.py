"""`ddpm adapt`: the adapter by which somebody's code is put to `ddpm compare`, to be edited."""

import argparse
from pathlib import Path
from platform import python_version


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `ddpm adapt`."""
    parser.add_argument(
        "spec",
        metavar="FILE.py[:NAME]",
        help="a class or a function of a file, or all functions of it; read and not run",
    )


def main(args: argparse.Namespace) -> int:
    """Prints the adapter.

    Raises:
        ValueError: there is no such file or name, or nothing called as a part of a DDPM is.
    """
    from compare.candidate.text.adapt import adapter

    path, _, name = args.spec.rpartition(":") if ".py:" in args.spec else (args.spec, "", "")
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"no such file: {file}")
    try:
        print(adapter(file, name, file.read_text(encoding="utf-8")), end="")
    except SyntaxError as error:
        raise ValueError(
            f"{file} is no Python {python_version()}: {error.msg} (line {error.lineno})"
        ) from None
    return 0
