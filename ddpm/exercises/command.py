"""The verb `ddpm exercise`: begin an answer, have it judged, see ours."""

import argparse
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # an exercise holds formulas of torch, which `--help` does without
    from ddpm.exercises.exercise import Exercise, Function


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `ddpm exercise`."""
    parser.add_argument("id", nargs="?", help="such as 6a; without it, a list of all")
    parser.add_argument(
        "--file", type=Path, help="your answer (default: ex_ID.py, begun if missing)"
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--start", action="store_true", help="write that file, an empty function")
    instead.add_argument(
        "--solution", action="store_true", help="show ours instead of judging yours"
    )


def main(args: argparse.Namespace) -> int:
    """`ddpm exercise`: 0 the answer is right, 1 it is wrong, 2 there was none to judge.

    Where no file is named and the usual one is missing, the empty function is written there.

    Raises:
        ValueError: there is no such exercise, or its file cannot be read, or is not to be written.
    """
    from ddpm.exercises.index import BY_ID, EXERCISES
    from ddpm.exercises.judge import judge

    if args.id is None:
        print("\n".join(f"{e.id:4} {e.module}.{e.function}" for e in EXERCISES))
        return 0
    if args.id not in BY_ID:
        raise ValueError(f"there is no exercise {args.id!r}; there are {', '.join(BY_ID)}")
    exercise = BY_ID[args.id]
    file = args.file or Path(f"ex_{exercise.id}.py")
    if args.solution:
        print(exercise.solution, end="")
        return 0
    if args.start:
        start(exercise, file)
        return 0
    if args.file is None and not file.exists():  # nothing to judge yet: here is where to begin
        start(exercise, file)
        return 2
    verdict = judge(exercise, read_answer(exercise, file))
    if verdict.empty:
        print(f"{exercise.function} is still empty: write it in {file}", file=sys.stderr)
        return 2
    print("\n".join(verdict.lines(exercise)))
    return 0 if verdict.right else 1


def start(exercise: "Exercise", file: Path) -> None:
    """Writes the empty function into a new file.

    Raises:
        ValueError: the file exists, or cannot be made.
    """
    try:
        with file.open("x", encoding="utf-8") as made:
            made.write(exercise.stub)
    except FileExistsError:
        raise ValueError(
            f"{file} exists, and is kept; give another name with --file, or remove it"
        ) from None
    except OSError as error:
        raise ValueError(f"{file} cannot be made: {error.strerror}") from None
    print(f"{file}: write {exercise.function} there, then run: {_judge_it(exercise, file)}")


def _judge_it(exercise: "Exercise", file: Path) -> str:
    given = "" if file == Path(f"ex_{exercise.id}.py") else f" --file {file}"
    return f"ddpm exercise {exercise.id}{given}"


def read_answer(exercise: "Exercise", file: Path) -> "Function":
    """The reader's function.

    Raises:
        ValueError: the file is missing or cannot be run, or the function is missing or takes other
            arguments than ours.
    """
    from compare.candidate.load import Unloadable, load

    if not file.is_file():
        raise ValueError(
            f"no such file: {file}; begin it with {_judge_it(exercise, file)} --start, or name "
            f"yours with --file; it must define {exercise.function}"
        )
    try:
        answer, _ = load(f"{file}:{exercise.function}")
    except Unloadable as error:
        raise ValueError(str(error)) from None
    wanted = list(inspect.signature(exercise.ours).parameters)
    given = list(inspect.signature(answer).parameters) if callable(answer) else []
    if given != wanted:
        raise ValueError(
            f"{exercise.function} must take ({', '.join(wanted)}), got ({', '.join(given)})"
        )
    found: Function = answer
    return found
