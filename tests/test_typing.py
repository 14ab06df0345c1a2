"""The scripts of `tests/typing`, which `make check` gives to the type checker: whole, and true."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import compare
import scratch
import with_diffusers

ROOT = Path(__file__).parent.parent
CALLS = ROOT / "tests" / "typing" / "every_public_call.py"
STUB = ROOT / "with_diffusers" / "__init__.pyi"
HELD_BY_OTHERS = {"push_to_hub"}  # needs a Hub: tests/scratch/test_hub.py


def names_called(path: Path) -> set[str]:
    """Every name that is called as a function or as an attribute of something."""
    calls = [
        node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
    ]
    return {
        call.attr if isinstance(call, ast.Attribute) else call.id
        for call in calls
        if isinstance(call, ast.Attribute | ast.Name)
    }


def methods(cls: type) -> set[str]:
    own = [vars(base) for base in cls.__mro__ if base.__module__.startswith("scratch.")]
    return {
        name
        for space in own
        for name, value in space.items()
        if not name.startswith("_") and (callable(value) or isinstance(value, classmethod))
    }


def test_every_public_call_is_in_the_script() -> None:
    called = names_called(CALLS)
    classes = [value for value in vars(scratch).values() if isinstance(value, type)]
    wanted = {*scratch.__all__, *with_diffusers.__all__}
    wanted |= {name for name in compare.__all__ if name not in ("Check", "Diagnosis", "Report")}
    wanted = wanted.union(*map(methods, classes))
    assert wanted - called == HELD_BY_OTHERS


def test_what_the_script_says_of_every_answer_is_so(request: pytest.FixtureRequest) -> None:
    """Warnings are errors there as in the suite, unless the suite was started with another -W."""
    asked = request.config.getoption("pythonwarnings") or ["error"]
    words = [sys.executable, *(f"-W{action}" for action in asked), str(CALLS)]
    run = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr


def test_a_checker_sees_the_names_of_with_diffusers_that_there_are() -> None:
    tree = ast.parse(STUB.read_text())
    made = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    taken = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    }
    assert made | taken == set(with_diffusers.__all__)


def test_make_check_runs_the_checker_over_what_users_write() -> None:
    for name in ("Makefile", ".pre-commit-config.yaml"):
        assert ".venv/bin/mypy docs/examples tests/typing" in (
            (ROOT / name).read_text().replace("$(BIN)", ".venv/bin")
        )
