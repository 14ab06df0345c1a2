"""The field report: its list is whole, its results are as expected, and its runner can fail."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import field
import pytest
from verdicts import cell

from compare.mistakes import BY_ID
from compare.stages import ALL as STAGES

RUN = field.FIELD / "run.py"
PROGRAMS = field.run["programs_of"]()
JUDGED = [name for name, program in PROGRAMS.items() if "left_out" not in program]
WRONG: dict[str, str] = {}  # {a program whose verdict is wrong: what it says of it}
KINDS = {
    *("class", "loop", "module", "guidance", "t-over-T", "T-plus-1", "ddim"),
    *("learned-variance", "v", "points", "numpy", "loss"),
}


def runner(*words: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, RUN, *words]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_is_whole(name: str) -> None:
    program = PROGRAMS[name]
    keys = {"repository", "commit", "file", "kind", "source", "truth", "expected", "means"}
    assert keys <= program.keys() <= keys | {"left_out", "report"}
    assert program["kind"] in KINDS
    assert len(program["commit"]) == 40
    assert int(program["commit"], 16)
    assert program["repository"].count("/") == 1
    known = {*BY_ID, *(stage.name for stage in STAGES)}
    assert {word for entry in program["expected"] for word in entry.split("|")} <= known
    assert (field.FIELD / f"{name}.py").is_file() or program["left_out"].strip()


@pytest.mark.parametrize("name", JUDGED)
def test_what_was_said_is_true_but_for_what_is_known(name: str) -> None:
    result = json.loads((field.FIELD / "results" / f"{name}.json").read_text())
    assert field.run["is_right"](PROGRAMS[name], result) is (name not in WRONG), result["verdict"]
    assert result["commit"] == PROGRAMS[name]["commit"]
    assert result["statements"] == field.run["statements"](field.FIELD / f"{name}.py")


def said(*bugs: str | None, status: int = 1, noted: tuple[str, ...] = ()) -> dict[str, Any]:
    diagnoses = [{"bug": bug, "stage": "mean"} for bug in bugs]
    return {"exit_status": status, "diagnoses": diagnoses, "noted": noted}


@pytest.mark.parametrize(
    ("expected", "result", "right"),
    [
        ([], said(status=0), True),
        ([], said(status=2), False),
        ([], said("43"), False),
        (["43"], said("43"), True),
        (["43"], said("43", "79"), False),
        (["43", "79"], said("43"), False),
        (["43"], said(status=1), False),  # found and not named
        (["43|42-minus-one"], said("42-minus-one"), True),
        (["mean"], said(None), True),
        (["95"], said(status=0, noted=("95",)), True),
        ([], said(status=0, noted=("95",)), True),
    ],
)
def test_a_verdict_is_right_if_it_names_all_that_is_true_and_nothing_else(
    expected: list[str], result: dict[str, Any], right: bool
) -> None:
    assert field.run["is_right"]({"expected": expected}, result) is right


FORWARD = """
import torch
alpha_bar = (1 - torch.linspace(1e-4, 0.02, 50)).cumprod(0)

def add_noise(x_0, noise, t):
    a = alpha_bar[t].reshape(-1, 1, 1, 1)
    return a ** {power} * x_0 + (1 - a) ** 0.5 * noise
"""
ADAPTER = """
import os, runpy
from compare import Adapter
theirs = runpy.run_path(os.environ["FIELD_CHECKOUT"] + "/forward.py")
adapted = Adapter(alpha_bar=lambda: theirs["alpha_bar"], add_noise=theirs["add_noise"])
"""


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """A list of two programs, a right and a wrong one, and their checkouts."""
    programs, checkouts = tmp_path / "field", tmp_path / "checkouts"
    programs.mkdir()
    for name, power, expected in (("right", 0.5, "[]"), ("wrong", 1, '["5"]')):
        (checkouts / f"owner+{name}").mkdir(parents=True)
        (checkouts / f"owner+{name}" / "forward.py").write_text(FORWARD.format(power=power))
        lines = f'repository = "owner/{name}"\ncommit = "{"0" * 40}"\nexpected = {expected}\n'
        (programs / f"{name}.toml").write_text(lines)
        (programs / f"{name}.py").write_text(ADAPTER)
    return programs, checkouts


@pytest.mark.long
def test_the_runner_judges_what_is_there(places: tuple[Path, Path]) -> None:
    programs, checkouts = places
    ran = runner(checkouts, "--programs", programs)
    assert ran.returncode == 0, ran.stderr + ran.stdout
    right, _, wrong, at = ran.stdout.splitlines()
    assert right.split()[:2] == ["right", "right"]
    assert wrong.split()[:3] == ["wrong", "differs:", "5"]
    assert "as expected" in right
    assert "as expected" in wrong
    assert "NOT" not in ran.stdout
    assert at.strip() == f"at commit unknown, not at {'0' * 40}"
    result = json.loads((programs / "results" / "wrong.json").read_text())
    assert result["verdict"].startswith("wrong differs from the papers in forward")
    assert [d["bug"] for d in result["diagnoses"]] == ["5"]
    assert result["statements"] == 4
    assert not list(checkouts.rglob("__pycache__"))

    lines = (programs / "right.toml").read_text().replace("[]", '["5"]')
    (programs / "right.toml").write_text(lines)
    ran = runner(checkouts, "right", "--programs", programs)
    assert ran.returncode == 1
    assert "NOT as expected" in ran.stdout


def test_what_cannot_be_judged_stays_in_the_list(places: tuple[Path, Path]) -> None:
    programs, checkouts = places
    (programs / "right.toml").write_text('repository = "owner/right"\nleft_out = "no PyTorch"\n')
    ran = runner(checkouts, "right", "--programs", programs)
    assert ran.returncode == 2
    assert "left out: no PyTorch" in ran.stdout
    ran = runner(checkouts.parent, "wrong", "--programs", programs)
    assert ran.returncode == 2
    assert "no checkout of owner/wrong" in ran.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("gone",), "gone is no folder of checkouts"),
        ((".", "nobody"), "no nobody.toml"),
        ((), "arguments are required"),
        ((".", "--quick"), "unknown argument --quick"),
    ],
)
def test_bad_input_is_one_line(words: tuple[str, ...], told: str) -> None:
    ran = runner(*words)
    assert ran.returncode == 2
    assert told in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_the_commands_of_a_checkout() -> None:
    ran = runner("there", "mindiffusion", "superminddpm", "--fetch")
    assert ran.returncode == 0
    there = "'there/cloneofsimo+minDiffusion'"
    assert ran.stdout.splitlines() == [
        f"git clone -q -n https://github.com/cloneofsimo/minDiffusion {there}",
        f"git -C {there} checkout -q {PROGRAMS['mindiffusion']['commit']}",
    ]


def test_the_page_has_every_program() -> None:
    page = field.page()
    told = (field.FIELD.parent / "field-report.md").read_text()
    assert all(f"- `{name}`: " in told for name in WRONG)
    for name, program in PROGRAMS.items():
        assert f"| `{name}` | [{cell(program['repository'])}]" in page
        assert f":::{{dropdown}} {cell(name)}: {cell(program['repository'])}, " in page
    assert page.startswith(f"**{len(JUDGED)} of {len(PROGRAMS)} programs were judged, from ")
