"""The report: statuses to verdict and exit status, plain JSON, the order in which it is read."""

import json
import math

import pytest

from compare.measure.check import Check, Status
from compare.verdict.report import Diagnosis, Report, stage_line


def check(status: Status, stage: str = "mean", measured: float = 0.5) -> Check:
    return Check(f"{stage}/{status}", stage, status, f"{status} was found", measured, 0.1)


@pytest.mark.parametrize(
    ("statuses", "passed", "exit_status"),
    [
        (("equal", "close", "follows", "known", "note"), True, 0),
        (("equal", "differs"), False, 1),
        (("equal", "error"), False, 2),
        (("differs", "error"), False, 1),
        (("note",), False, 2),
        ((), False, 2),
    ],
)
def test_statuses(statuses: tuple[Status, ...], passed: bool, exit_status: int) -> None:
    report = Report("mine", [check(status) for status in statuses])
    assert report.passed == passed
    assert report.exit_status == exit_status
    said = {0: "mine is right: ", 1: "mine differs from the papers in mean", 2: "could not be run"}
    assert said[exit_status] in report.verdict


def test_a_verdict_counts_what_was_judged_and_what_is_shared() -> None:
    report = Report("mine", [check("equal"), check("close"), check("follows"), check("note")])
    assert report.verdict == "mine is right: 2 checks agree with the papers."
    report.findings = [{"id": "x", "title": "a defect"}]
    assert report.verdict.endswith("papers; it shares 1 known finding(s).")
    report.companion = "Diffusers agrees too."
    assert report.verdict.endswith("papers. Diffusers agrees too.")


def test_what_is_read_first_is_the_verdict_then_the_fault_then_the_stages() -> None:
    report = Report("mine", [check("close", "schedule"), check("differs"), check("note")])
    named = Diagnosis("43", "mean", "the noise is scaled wrong", "divide by its root", "by-root")
    report.diagnoses = [named]
    report.conventions, report.not_offered = {"t base": "0"}, ["learned (ValueError)"]
    report.gone = ["x: a defect"]
    lines = str(report).splitlines()
    assert lines[0] == "mine differs from the papers in mean: the noise is scaled wrong"
    assert lines[2:4] == [
        "mean: the noise is scaled wrong [mistake 43: by-root]",
        "  fix: divide by its root",
    ]
    assert lines[5] == "ok   schedule   1 close"  # folded
    assert lines[6] == "FAIL mean       1 differs, 1 note"
    assert "differs mean/differs: differs was found (measured 0.5, allowed 0.1)" in lines[7]
    rest = "\n".join(lines[8:])
    assert rest.index("a defect") < rest.index("t base") < rest.index("not offered: learned")


def test_a_diagnosis_has_a_number_and_a_name_or_neither() -> None:
    report = Report("mine", [check("differs")])
    report.diagnoses = [Diagnosis("43", "mean", "x", "y", "z"), Diagnosis(None, "mean", "x", "y")]
    assert [d.label for d in report.diagnoses] == ["mistake 43: z", "not in the catalogue"]
    plain = report.to_dict()["diagnoses"]
    assert [(d["bug"], d["name"]) for d in plain] == [("43", "z"), (None, None)]


def test_to_dict_is_json_without_nan() -> None:
    report = Report("mine", [check("differs", measured=math.inf)], curves={"a": {"b": [math.nan]}})
    plain = report.to_dict()
    json.dumps(plain, allow_nan=False)
    assert plain["checks"][0]["measured"] is None
    assert plain["curves"] == {"a": {"b": [None]}}
    assert (plain["schema"], plain["exit_status"], plain["passed"]) == (2, 1, False)


def test_a_stage_in_one_line() -> None:
    assert stage_line("mean", [check("close"), check("close")]) == "ok   mean       2 close"
    assert stage_line("sampling", [check("note")]) == "note sampling   1 note"
    assert stage_line("mean", [check("error")]).startswith("FAIL mean")
