"""Failures that somebody knows of: a file names their checks, with a reason each (`--expect`)."""

from dataclasses import replace

from compare.measure.check import Check
from compare.verdict.report import Report


def read(text: str) -> dict[str, str]:
    """{id of a check: why it may fail} of lines `ID  reason`; `#` begins a remark.

    Raises:
        ValueError: a line has no reason, or is no id of a check; in one line.

    >>> read("mean/epsilon  a smaller mean is meant  # since May")
    {'mean/epsilon': 'a smaller mean is meant'}
    """
    found = {}
    for i, line in enumerate(text.splitlines(), start=1):
        id, _, reason = line.partition("#")[0].strip().partition(" ")
        if not id:
            continue
        if "/" not in id or not reason.strip():
            raise ValueError(f"line {i} must be STAGE/CHECK and a reason, got {line.strip()!r}")
        found[id] = reason.strip()
    return found


def as_expected(check: Check, expected: dict[str, str]) -> Check:
    """A check that fails as it may, told as such; any other as it is."""
    if check.passed or check.id not in expected:
        return check
    return replace(check, status="expected", message=f"{expected[check.id]} ({check.message})")


def with_expected(report: Report, expected: dict[str, str]) -> Report:
    """The report with what fails as expected told as such, and what holds again.

    A diagnosis of a stage goes with the last failure there; one of a formula that was seen to be
    wrong elsewhere, as a step's is in a loop, with the last of all.
    """
    checks = [as_expected(check, expected) for check in report.checks]
    status = {c.id: c.status for c in checks}
    failed, left = ({c.stage for c in some if not c.passed} for some in (report.checks, checks))
    return replace(
        report,
        checks=checks,
        diagnoses=[d for d in report.diagnoses if left and d.stage not in failed - left],
        holds_again=[
            f"{id} ({reason}) {'holds' if id in status else 'is not looked at'}"
            for id, reason in expected.items()
            if status.get(id) != "expected"
        ],
    )
