"""`ddpm compare`: its arguments.

Nothing here imports torch, so that `--help` is quick. The candidate runs in a child process
(`compare.process`): it may hang, crash or end the interpreter, and the answer is still one line.
"""

import argparse
import contextlib
import os
from pathlib import Path
from platform import python_version

from compare.candidate.door.reading import OPTIONS, told_by
from compare.process import judge_in_child, refuse

BACKENDS = {"scratch": "scratch:DDPMScheduler", "diffusers": "diffusers:DDPMScheduler"}
TEMPLATE = Path(__file__).with_name("template.py")
OF_A_VERDICT = ("json", "html", "only", "expect")  # options that a list of names has no use for
EXAMPLES = """examples:
  ddpm compare                                     both backends against the papers and each other
  ddpm compare --candidate mine.py                 what in this file could be judged?
  ddpm compare --candidate mine.py:MyScheduler     which formula of mine is wrong?
  ddpm compare --candidate mine.py:sample          my loop, a function sample(model, n)
  ddpm compare --candidate mine.py:MyUNet          my network: t, batch, gradients
  ddpm compare --candidate mine.py:M --only mean   one stage alone
  ddpm compare --candidate mine.py:M --expect known.txt    in a CI: known failures pass
  ddpm compare --template > mine.py                a scheduler to start from
  ddpm compare --run runs/NAME --level full        a trained run, drawn by parts of both backends
exit status: 0 right, 1 differs (or no room for a file), 2 could not be run or decided, 130 stopped
by Ctrl-C"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `ddpm compare`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument("--candidate", metavar="SPEC", help="FILE.py:NAME or package.module:NAME")
    whose.add_argument("--backend", choices=sorted(BACKENDS), help="judge one backend alone")
    whose.add_argument(
        "--run", metavar="RUN", help="draw from a trained run with every combination of both"
    )
    parser.add_argument(
        "--only", metavar="STAGE", help="one stage of --list, or the id of one check"
    )
    parser.add_argument(
        "--reading",
        action="append",
        default=[],
        metavar="WORD",
        help=f"how it is called, where its code does not say: {OPTIONS}; may be repeated",
    )
    parser.add_argument(
        "--expect", type=Path, metavar="FILE", help="checks that may fail: lines of ID and reason"
    )
    parser.add_argument("--level", choices=("quick", "full"), default="quick")
    parser.add_argument("--seed", type=int, default=0, help="of the probes (default 0)")
    parser.add_argument(
        "--timeout", type=_seconds, default=300.0, metavar="S", help="seconds (default 300)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the report as a page")
    parser.add_argument("--force", action="store_true", help="overwrite files that exist")
    parser.add_argument("--list", action="store_true", help="say what each stage judges")
    parser.add_argument("--template", action="store_true", help="print a scheduler to start from")


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if (value := float(text)) > 0:
            return value
    raise argparse.ArgumentTypeError(f"expected more than 0 seconds, got {text!r}")


def _stages() -> list:
    """Every stage, in order; torch is imported here."""
    from compare import backends, stages

    return [*stages.ALL, *backends.ALL]


def _no_stage(only: str | None) -> str:
    names = [] if only is None else [stage.name for stage in _stages()]
    if only is None or only.partition("/")[0] in names:
        return ""
    from compare.candidate.text.later import asked

    later = asked(only.partition("/")[0])
    return f"no stage {only!r}{f': {later.said}' if later else ''}; stages are {', '.join(names)}"


def main(args: argparse.Namespace) -> int:
    """Runs the comparison; returns 0 right, 1 differs, 2 could not be run."""
    if args.template:
        print(TEMPLATE.read_text(encoding="utf-8"), end="")
        return 0
    if args.list:
        for stage in _stages():
            print(f"{stage.name:10} {stage.looks_at}")
        return 0
    problem = _no_stage(args.only)
    if problem:
        return refuse(problem)
    try:
        told_by(args.reading)
    except ValueError as error:
        return refuse(str(error))
    if args.json and args.json == args.html:
        return refuse(f"--json and --html both say {args.json}; give two names")
    for path in (args.json, args.html):
        problem = _not_writable(path, args.force)
        if problem:
            return refuse(problem)
    if args.run and args.only not in (None, "pipeline"):
        return refuse(f"--run judges the stage pipeline alone; leave --only {args.only} out")
    if args.candidate and args.candidate.endswith(".py"):
        given = [name for name in OF_A_VERDICT if getattr(args, name) is not None]
        if given:
            words = f"{args.candidate} without a name is listed, not judged"
            return refuse(f"{words}: leave --{given[0]} out, or give {args.candidate}:NAME")
        return _tell(Path(args.candidate))
    try:
        expected = {} if args.expect is None else _expected(args.expect)
    except ValueError as error:
        return refuse(f"--expect {args.expect}: {error}")
    return _in_child(args, expected)


def _expected(file: Path) -> dict[str, str]:
    from compare.expected import read

    if not file.is_file():
        raise ValueError("no such file")
    return read(file.read_text(encoding="utf-8"))


def _tell(file: Path) -> int:
    """What could be judged in a file that is named without what in it is meant."""
    from compare.candidate.text.listed import told

    try:
        text, found = told(file, file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return refuse(f"no such file, or not one of text: {file}")
    except SyntaxError as error:
        return refuse(f"{file} is no Python {python_version()}: {error.msg} (line {error.lineno})")
    if not found:
        return refuse(text)
    print(text)
    return 0


def _not_writable(path: Path | None, force: bool) -> str:
    if path is None:
        return ""
    if path.is_dir():
        return f"{path} is a folder; give the name of a file"
    if path.exists() and not force:
        return f"{path} exists; give another name, or --force to overwrite it"
    if not path.resolve().parent.is_dir():
        return f"no such folder: {path.resolve().parent}"
    if not os.access(path.resolve().parent, os.W_OK):
        return f"no file can be made in {path.resolve().parent}; give another name"
    return ""


def _in_child(args: argparse.Namespace, expected: dict[str, str]) -> int:
    spec = {
        "candidate": args.candidate or BACKENDS.get(args.backend or ""),
        "run": args.run,
        "only": args.only,
        "level": args.level,
        "seed": args.seed,
        "reading": args.reading,
        "expect": expected,
        "json": str(args.json.absolute()) if args.json else None,  # wherever a candidate goes
        "html": str(args.html.absolute()) if args.html else None,
    }
    return judge_in_child(spec, args.timeout)
