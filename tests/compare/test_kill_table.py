"""Every mistake of the catalogue, built into a right scheduler, is found and named."""

import pytest
from kills import SHORT, judged, keep, row

import compare.mistakes
import compare.verdict.staged
from compare.candidate.from_oracle import loss_of, sample_of, scheduler
from compare.mistakes import ALL, BY_ID, MISTAKES, SEEN, Mistake
from compare.oracle import Oracle, Setting
from compare.verdict.diagnose import diagnose
from compare.verdict.diffusers import FINDINGS
from compare.verdict.judge import judge
from compare.verdict.report import Diagnosis, Report
from tests.often import each

SHARED = {f.bug: f.id for f in FINDINGS if f.seams}  # a candidate that shares one of these passes
BACKWARDS = MISTAKES[::-1]


def assert_named(mistake: Mistake, report: Report) -> None:
    if report.passed:
        shared = [f["bug"] for f in report.findings]
        noted = [c.bug for c in report.checks if c.bug]
        assert mistake.id in (*shared, *noted), f"survived: {report}"
        assert noted == [mistake.id] or any(c.status == "known" for c in report.checks)
        return
    assert report.exit_status == 1
    named = [(d.bug, d.stage) for d in report.diagnoses]
    assert named == [(mistake.id, mistake.stage)], str(report)


def diagnosed_backwards(monkeypatch: pytest.MonkeyPatch) -> list[Diagnosis]:
    """Will hold what a judgement to come finds with the catalogue reversed, on the same answers."""
    found: list[Diagnosis] = []

    def twice(*given):
        found.extend(diagnose(*given[:-1], BACKWARDS))
        return diagnose(*given)

    monkeypatch.setattr(compare.verdict.staged, "diagnose", twice)
    return found


@pytest.mark.parametrize("mistake", each(12, MISTAKES), ids=lambda mistake: mistake.id)
def test_found_and_named(mistake: Mistake, monkeypatch: pytest.MonkeyPatch) -> None:
    """And some by a catalogue in reverse order as well; the book shows what is kept."""
    reverse = mistake in MISTAKES[::24]
    backwards = diagnosed_backwards(monkeypatch) if reverse else []
    report = judged(mistake)
    keep(row(mistake, report))
    assert_named(mistake, report)
    assert not reverse or backwards == report.diagnoses


@pytest.mark.long
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: m.id)
def test_the_order_of_the_catalogue_says_nothing(
    mistake: Mistake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reversed for whoever reads it: the diagnosis and the conventions."""
    for module in (compare.mistakes, compare.verdict.staged):
        monkeypatch.setattr(module, "MISTAKES", BACKWARDS)
    assert_named(mistake, judged(mistake))


@pytest.mark.long
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: m.id)
def test_found_and_named_with_a_thousand_steps(mistake: Mistake) -> None:
    """Two forms of one number may differ by less than float32 at so small a beta."""
    report = judged(mistake, Setting())
    twins = [m for m in MISTAKES if m.id.split("-")[0] == mistake.id.split("-")[0]]
    named = [d.bug for d in report.diagnoses]
    found = next((m for m in twins if m.id in named and m.stage == mistake.stage), mistake)
    assert_named(found, report)


def test_every_number_that_a_check_can_see_is_covered() -> None:
    """Those of networks and averages are found in `test_network` and `test_training`."""
    assert {int(m.id.split("-")[0]) for m in ALL} == SEEN
    assert "mistake 50" in BY_ID["49"].words  # it gives the numbers of 49


def test_only_formulas_that_diffusers_shares_pass() -> None:
    passing = {"31", "51-learned", "73", "76"}
    assert passing <= set(SHARED)
    for bug in passing:
        assert judged(BY_ID[bug]).passed


def test_three_mistakes_are_notes_by_their_name() -> None:
    """A caller may have switched the model, and a sum is a matter of the learning rate."""
    for bug in ("95", "32", "32-batch"):
        report = judged(BY_ID[bug])
        assert report.passed, str(report)
        assert [c.bug for c in report.checks if c.bug] == [bug]


@pytest.mark.parametrize("only", ["", "ddim", "learned_range"])
def test_the_same_scheduler_without_a_mistake_is_right(only: str) -> None:
    report = judge(scheduler(Oracle(), only), "quick", 0, beside=False, base=SHORT)
    assert report.passed, str(report)
    assert not report.diagnoses
    assert not report.findings


@pytest.mark.parametrize(("n", "uint8"), [(None, False), (20, False), (None, True)])
def test_a_right_loop_passes(n: int | None, uint8: bool) -> None:
    from compare import Adapter

    loop = Adapter(
        alpha_bar=lambda: Oracle().alpha_bar(SHORT), sample=sample_of(Oracle(), SHORT, n, uint8)
    )
    report = judge(loop, "quick", 0, beside=False)
    assert report.passed, str(report)


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
def test_a_right_loss_passes(kind: str) -> None:
    from dataclasses import replace

    from compare import Adapter

    setting = replace(SHORT, prediction_type=kind)
    right = Adapter(
        alpha_bar=lambda: Oracle().alpha_bar(setting),
        loss=loss_of(Oracle(), setting),
        prediction_type=kind,
    )
    report = judge(right, "quick", 0, beside=False)
    assert report.passed, str(report)


@pytest.mark.parametrize("t", each(2, [3, 37, 49]))
def test_one_percent_in_one_step_is_found(t: int) -> None:
    """The power at the limit: a standard deviation that is 1 % off at a single t."""
    from dataclasses import replace

    import torch

    right = Oracle()

    def std(kind, level, out=None):
        size = right.std(kind, level, out)
        return torch.where(level.t == t, size * 1.01, size)

    class_ = scheduler(replace(right, std=std))
    report = judge(class_, "quick", 0, beside=False, base=SHORT)
    assert not report.passed
    assert report.diagnoses[0].stage == "variance"
