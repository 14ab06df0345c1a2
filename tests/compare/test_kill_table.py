"""Every mistake of the catalogue, built into a right scheduler, is found and named."""

import pytest

from compare.candidate.spy import loss_of, sample_of
from compare.mistakes import BY_ID, MISTAKES, Mistake
from compare.mistakes.average import AVERAGES
from compare.mistakes.from_oracle import mutant, scheduler
from compare.mistakes.unet import SLIPS
from compare.oracle import Oracle, Setting
from compare.verdict.diffusers import FINDINGS
from compare.verdict.judge import judge
from compare.verdict.report import Report

SHORT = Setting(num_train_timesteps=100, beta_end=0.2)
SHARED = {f.bug: f.id for f in FINDINGS if f.seams}  # a candidate that shares one of these passes
# numbers of the catalogue that a scheduler, a loop or a loss can show
CATALOGUE = """
    1 2 3 4 5 6 7 8 10 11 13 17 18 19 20 21 22 23 24 25 26 27 28 31 32 34 35 36 37 38 39 40 41
    42 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 59 60 61 62 63 64 65 67 68 69 70 71 72 73
    74 76 78 79 80 82 83 84 95 106
"""
NETWORKS = "88 89 90 91 92 93 94 97 100 101"  # and those that a network or its average can show


def verdict(mistake: Mistake, setting: Setting) -> Report:
    return judge(mutant(mistake, setting), "quick", 0, beside=False, base=setting)


def assert_named(mistake: Mistake, report: Report) -> None:
    if report.passed:
        shared = [f["bug"] for f in report.findings]
        assert mistake.id in shared, f"survived: {report}"
        assert any(c.status == "known" for c in report.checks)
        return
    assert report.exit_status == 1
    named = [(d.bug, d.stage) for d in report.diagnoses]
    assert named == [(mistake.id, mistake.stage)], str(report)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: m.id)
def test_found_and_named(mistake: Mistake) -> None:
    assert_named(mistake, verdict(mistake, SHORT))


@pytest.mark.long
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: m.id)
def test_found_and_named_with_a_thousand_steps(mistake: Mistake) -> None:
    """Two forms of one number may differ by less than float32 at so small a beta."""
    report = verdict(mistake, Setting())
    twins = [m for m in MISTAKES if m.id.split("-")[0] == mistake.id.split("-")[0]]
    named = [d.bug for d in report.diagnoses]
    found = next((m for m in twins if m.id in named and m.stage == mistake.stage), mistake)
    assert_named(found, report)


def test_the_catalogue_is_covered() -> None:
    built = {int(m.id.split("-")[0]) for m in MISTAKES}
    assert built >= {int(number) for number in CATALOGUE.split()}


def test_the_networks_mistakes_are_covered() -> None:
    """Found and named in `test_unet` and `test_training`; 50 gives the numbers of 49."""
    built = {int(m.id.split("-")[0]) for m in (*SLIPS, *AVERAGES)}
    assert built >= {int(number) for number in NETWORKS.split()}
    assert "mistake 50" in BY_ID["49"].words


def test_only_formulas_that_diffusers_shares_pass() -> None:
    passing = {"31", "73", "76"}
    assert passing <= set(SHARED)
    for bug in passing:
        assert verdict(BY_ID[bug], SHORT).passed


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


@pytest.mark.parametrize("bug", ["37", "49", "3"])
def test_one_percent_in_one_step_is_found(bug: str) -> None:
    """The power at the limit: a standard deviation that is 1 % off at a single t."""
    from dataclasses import replace

    import torch

    right = Oracle()

    def std(kind, level, out=None):
        size = right.std(kind, level, out)
        return torch.where(level.t == int(bug), size * 1.01, size)

    class_ = scheduler(replace(right, std=std))
    report = judge(class_, "quick", 0, beside=False, base=SHORT)
    assert not report.passed
    assert report.diagnoses[0].stage == "variance"
