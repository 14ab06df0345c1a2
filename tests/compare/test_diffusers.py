"""What is wrong in the installed Diffusers is known, shown, and missed when it goes."""

import logging
import warnings
from dataclasses import replace

import pytest

from compare.verdict import diffusers as findings
from compare.verdict.diffusers import FINDINGS, gone, holds
from compare.verdict.judge import judge


def test_diffusers_passes_with_its_findings() -> None:
    report = judge("diffusers:DDPMScheduler", "quick", 0, beside=False)
    assert report.passed, str(report)
    assert {f["bug"] for f in report.findings} == {"31", "51", "51-learned", "56", "73", "76"}
    assert judge("diffusers:DDIMScheduler", "quick", 0, beside=False).passed


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda f: f.id)
def test_a_finding_still_shows(finding) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert holds(finding), f"{finding.id} is gone from the installed Diffusers: say so"


def test_a_finding_that_goes_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gone() == ()
    mended = replace(FINDINGS[0], shows="61 15")
    monkeypatch.setattr(findings, "FINDINGS", (mended, *FINDINGS[1:]))
    gone.cache_clear()
    try:
        report = judge("diffusers:DDPMScheduler", "quick", 0, only="schedule")
    finally:
        gone.cache_clear()
    assert report.passed
    assert report.gone == [f"{mended.id}: {mended.title}"]
    assert "no longer shows:\n  trailing-extra-step" in str(report)


def test_a_command_logs_nothing_and_leaves_the_logger_as_it_was(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them makes the library print a whole network."""
    logger = logging.getLogger("diffusers")
    monkeypatch.setattr(logger, "propagate", True)
    level = logger.level
    (finding,) = (f for f in FINDINGS if f.id == "foreign-parts-saved-as-null")
    assert holds(finding)
    assert not caplog.records
    assert logger.level == level
    exec(finding.command, {})
    assert "cannot be saved" in caplog.text
