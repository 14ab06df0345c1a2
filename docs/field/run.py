"""Judges the programs of the field report again, each in a process of its own.

A program is NAME.toml, what it is and what is right and wrong in it, and NAME.py, our adapter,
which finds its checkout through FIELD_CHECKOUT. `expected` in NAME.toml lists what is true of it:
numbers of the catalogue, `A|B` where two of them name one fault, or a stage where the catalogue has
no number.
"""

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

from workbench.parser import Parser

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
EXAMPLES = """examples:
  python docs/field/run.py --fetch CHECKOUTS | sh       the checkouts, from GitHub
  python docs/field/run.py CHECKOUTS                    every program that is there
  python docs/field/run.py CHECKOUTS labml teapearce    these two
exit status: 0 every verdict is as expected, 1 one is not, 2 nothing could be judged"""


def main(argv: list[str] | None = None) -> int:
    """A row for each program, and results/NAME.json."""
    args = _arguments(argv)
    programs = programs_of(args.programs)
    unknown = sorted(set(args.names) - set(programs))
    if unknown:
        return _refuse(f"no {unknown[0]}.toml in {args.programs}")
    chosen = {name: programs[name] for name in args.names or programs}
    if args.fetch:
        print("\n".join(fetching(chosen, args.checkouts)))
        return 0
    if not args.checkouts.is_dir():
        return _refuse(f"{args.checkouts} is no folder of checkouts; --fetch says how to fill one")
    outcomes = [_row(name, program, args) for name, program in chosen.items()]
    if all(outcome is None for outcome in outcomes):
        return _refuse(f"{args.checkouts} has no checkout of these; --fetch says how to get them")
    return int(False in outcomes)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser("run.py", description="judge programs of others again", epilog=EXAMPLES)
    parser.add_argument("checkouts", type=Path, help="a folder with one checkout, OWNER+NAME, each")
    parser.add_argument("names", nargs="*", metavar="NAME", help="these programs alone")
    parser.add_argument("--fetch", action="store_true", help="print the git commands of checkouts")
    parser.add_argument("--timeout", type=float, default=600, metavar="S", help="for each")
    parser.add_argument(
        "--programs", type=Path, default=HERE, metavar="FOLDER", help="another list"
    )
    return parser.parse_args(argv)


def _refuse(why: str) -> int:
    print(f"run.py: {why}", file=sys.stderr)
    return 2


def programs_of(folder: Path = HERE) -> dict[str, dict[str, Any]]:
    """{NAME: what NAME.toml says}, by name."""
    return {file.stem: tomllib.loads(file.read_text()) for file in sorted(folder.glob("*.toml"))}


def fetching(programs: dict[str, dict[str, Any]], checkouts: Path) -> list[str]:
    """The commands that bring each repository, once, to its commit."""
    commits = {program["repository"]: program["commit"] for program in programs.values()}
    lines = []
    for repository, commit in commits.items():
        there = checkouts / repository.replace("/", "+")
        lines.append(f"git clone -q -n https://github.com/{repository} '{there}'")
        lines.append(f"git -C '{there}' checkout -q {commit}")
    return lines


def _row(name: str, program: dict[str, Any], args: argparse.Namespace) -> bool | None:
    """Judges and prints one; None where there is nothing to judge."""
    checkout = args.checkouts.resolve() / program["repository"].replace("/", "+")
    if "left_out" in program:
        print(f"{name:18} left out: {program['left_out']}")
        return None
    if not checkout.is_dir():
        print(f"{name:18} no checkout of {program['repository']}")
        return None
    result = judge(args.programs.resolve() / f"{name}.py", checkout, args.timeout)
    results = args.programs / "results"
    results.mkdir(exist_ok=True)
    (results / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    right = is_right(program, result)
    said = ("right", "differs", "could not be run or decided")[min(result["exit_status"], 2)]
    known = f"{said}: {', '.join(named(result))}" if named(result) else said
    print(
        f"{name:18} {known:40} {'as expected' if right else 'NOT as expected':16}"
        f"{result['statements']:3} statements {result['seconds']:6.1f} s",
        flush=True,
    )
    if result["commit"] != program["commit"]:
        print(f"{'':18} at commit {result['commit']}, not at {program['commit']}")
    return right


def judge(adapter: Path, checkout: Path, timeout: float) -> dict[str, Any]:
    """What `ddpm compare` says of an adapter, in short.

    It is asked twice: as a user asks, which is timed, and for the report, which sets both backends
    beside the candidate.
    """
    command = [sys.executable, "-m", "ddpm", "compare", "--candidate", f"{adapter}:adapted"]
    command += ["--timeout", str(timeout)]
    with tempfile.TemporaryDirectory() as folder:

        def ask(*more: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [*command, *more],
                env=os.environ
                | {"FIELD_CHECKOUT": str(checkout), "PYTHONPATH": str(ROOT)}
                | {"PYTHONDONTWRITEBYTECODE": "1"},  # nothing is left in the checkout
                cwd=folder,
                capture_output=True,
                text=True,
            )

        begun = time.perf_counter()
        ask()
        seconds = time.perf_counter() - begun
        ran, file = ask("--json", "report.json"), Path(folder) / "report.json"
        found = json.loads(file.read_text()) if file.exists() else _without_report(ran)
    notes = [check["bug"] for check in found["checks"] if check["status"] == "note"]
    return {
        "commit": _commit(checkout),
        "verdict": found["verdict"].replace(f"{adapter}:adapted", adapter.stem),
        "exit_status": found["exit_status"],
        "diagnoses": [
            {key: d[key] for key in ("bug", "stage", "explanation", "fix")}
            for d in found["diagnoses"]
        ],
        "noted": sorted({bug for bug in [*notes, *(f["bug"] for f in found["findings"])] if bug}),
        "judged": found["judged"],
        "statements": statements(adapter),
        "seconds": round(seconds, 1),
        "versions": found["versions"],
    }


def _commit(checkout: Path) -> str:
    """That a checkout is at, not that of a repository round it."""
    ran = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "HEAD"],
        env=os.environ | {"GIT_CEILING_DIRECTORIES": str(checkout.parent)},
        capture_output=True,
        text=True,
    )
    return ran.stdout.strip() or "unknown"


def _without_report(ran: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """As a report, where none was written: the last line of what was said."""
    said = (ran.stderr or ran.stdout).strip().splitlines() or ["nothing was said"]
    nothing: dict[str, Any] = {key: [] for key in ("checks", "diagnoses", "findings", "judged")}
    return nothing | {"verdict": said[-1], "exit_status": ran.returncode, "versions": {}}


def named(result: dict[str, Any]) -> list[str]:
    """What the verdict blames: numbers of the catalogue, and the stage of what has no number."""
    return list(dict.fromkeys(d["bug"] or d["stage"] for d in result["diagnoses"]))


def is_right(program: dict[str, Any], result: dict[str, Any]) -> bool:
    """True if all that is expected is named or noted, and nothing else is named."""
    wanted = [set(names.split("|")) for names in program["expected"]]
    blamed = set(named(result))
    return (
        result["exit_status"] == int(bool(blamed))
        and blamed <= set().union(*wanted)
        and all(names & (blamed | set(result["noted"])) for names in wanted)
    )


def statements(adapter: Path) -> int:
    """Statements of an adapter, as `ast` counts them, and of neighbours that it imports."""
    nodes = list(ast.walk(ast.parse(adapter.read_text())))
    modules = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    modules |= {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    beside = [adapter.with_name(f"{module}.py") for module in modules]
    return sum(isinstance(node, ast.stmt) for node in nodes) + sum(
        statements(file) for file in beside if file.exists() and file != adapter
    )


if __name__ == "__main__":
    sys.exit(main())
