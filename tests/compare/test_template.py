"""The scheduler to start from: what is printed is a file of ours, and it is right."""

import ast
import subprocess
import sys
from pathlib import Path

from compare.cli import TEMPLATE
from compare.verdict.judge import judge


def test_the_template_is_right() -> None:
    report = judge(f"{TEMPLATE}:MyScheduler", "quick", 0, beside=False)
    assert report.passed, str(report)
    assert not report.findings


def test_its_first_line_says_how_it_is_judged(tmp_path: Path) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "compare", "--template"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == TEMPLATE.read_text(encoding="utf-8")
    first = (ast.get_docstring(ast.parse(shown.stdout)) or "").splitlines()[0]
    assert first.endswith("ddpm compare --candidate mine.py:MyScheduler")
