"""`--expect FILE`: known failures pass, new ones do not, and one that holds again is told."""

from pathlib import Path

import pytest

from compare.cli import main
from compare.expected import read, with_expected
from compare.measure.check import found
from compare.verdict.report import Diagnosis, Report
from tests.compare.test_cli import arguments, command

KNOWN = "mean/epsilon  a smaller mean is meant\nvariance/law  since May\n# a remark\n"


def report_of(*failing: str) -> Report:
    every = ("mean/epsilon", "variance/law", "loss/cover")
    checks = [found(id, "differs" if id in failing else "equal", "so") for id in every]
    diagnoses = [Diagnosis(None, id.partition("/")[0], "words", "fix") for id in failing]
    return with_expected(Report("mine", checks, diagnoses), read(KNOWN))


def test_what_fails_as_expected_passes_with_its_reason() -> None:
    report = report_of("mean/epsilon", "variance/law")
    assert report.exit_status == 0
    assert report.diagnoses == []
    assert (
        report.verdict
        == "mine is right but for 2 expected failures: 1 checks agree with the papers."
    )
    assert "expected mean/epsilon: a smaller mean is meant (so)" in str(report)
    assert report.holds_again == []


def test_what_is_new_fails_and_is_named_alone() -> None:
    report = report_of("mean/epsilon", "loss/cover")
    assert report.exit_status == 1
    assert [d.stage for d in report.diagnoses] == ["loss"]
    assert report.holds_again == ["variance/law (since May) holds"]


def test_what_holds_again_or_is_not_looked_at_is_told() -> None:
    report = with_expected(report_of(), {"mean/epsilon": "x", "no/such": "y"})
    assert report.exit_status == 0
    assert report.to_dict()["holds_again"] == [
        "mean/epsilon (x) holds",
        "no/such (y) is not looked at",
    ]
    assert "\nexpected to fail:\n  mean/epsilon (x) holds" in str(report)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mean/epsilon", "line 1 must be"),
        ("# x\nmean because", "line 2 must be"),
        (None, "no such"),
    ],
)
def test_a_file_that_says_no_reason_is_one_line(
    text: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    file = tmp_path / "known.txt"
    if text is not None:
        file.write_text(text)
    assert main(arguments("--candidate", "mine.py:M", "--expect", str(file))) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


MINE = """
import torch
ab = (1 - torch.linspace(1e-3, 0.2, 60)).cumprod(0)
def add_noise(x_0, noise, t):
    a = ab[t].reshape(-1, 1, 1, 1)
    return a.sqrt() * x_0 + (1 - a) * noise
"""


def test_the_command_passes_with_what_is_known(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "known.txt").write_text("forward/add_noise/coefficients  ours, on purpose\n")
    done = command("--candidate", "mine.py:add_noise", "--expect", "known.txt", folder=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "is right but for 1 expected failure: " in done.stdout.splitlines()[0]
    assert "1 expected" in done.stderr
    (tmp_path / "mine.py").write_text(MINE.replace("(1 - a) *", "(1 - a).sqrt() *"))
    done = command("--candidate", "mine.py:add_noise", "--expect", "known.txt", folder=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "forward/add_noise/coefficients (ours, on purpose) holds" in done.stdout


def test_a_formula_that_another_stage_shows_is_named_until_nothing_fails() -> None:
    loop = found("sampling/loop/steps", "differs", "so")
    named = Diagnosis("43", "mean", "words", "fix")
    report = Report("mine", [loop], [named])
    assert with_expected(report, {}).diagnoses == [named]
    assert with_expected(report, {"mean/epsilon": "x"}).diagnoses == [named]
    assert with_expected(report, {loop.id: "x"}).diagnoses == []


LOOP = """
import torch
ab = (1 - torch.linspace(1e-3, 0.2, 60, dtype=torch.float64)).cumprod(0)
def sample(model, shape, generator):
    model.eval()
    x = torch.randn(shape, generator=generator)
    for t in reversed(range(60)):
        before = ab[t - 1] if t else torch.ones(())
        beta = 1 - ab[t] / before
        with torch.no_grad():
            eps = model(x, torch.full((shape[0],), t))
        x = (x - beta / (1 - ab[t]) * eps) / (1 - beta).sqrt()
        x = (x + beta.sqrt() * torch.randn(shape, generator=generator) * (t > 0)).float()
    return x
"""


@pytest.mark.long
def test_the_command_names_what_a_loop_shows_of_its_step(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(LOOP)
    done = command("--candidate", "mine.py:sample", folder=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "[mistake 43" in done.stdout
