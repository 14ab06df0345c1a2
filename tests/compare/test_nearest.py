"""Where nothing fits exactly, the nearest mistake is a hint: it is told, and never named as it."""

import pytest
import torch

from compare.candidate.from_oracle import scheduler
from compare.mistakes import BY_ID
from compare.oracle import Level, Oracle, Setting
from compare.verdict.judge import judge
from compare.verdict.report import Diagnosis
from tests.often import each

SHORT = Setting(num_train_timesteps=30, beta_end=0.4)


def diagnosis(stage: str, **seams) -> Diagnosis:
    """Of a scheduler with these formulas in the place of the oracle's, by one stage."""
    candidate = scheduler(Oracle(**seams))
    report = judge(candidate, "quick", 0, only=stage, beside=False, base=SHORT)
    (only,) = report.diagnoses
    assert only.bug is None
    return only


def nearly(bug: str, field: str, share: float):
    """Between the right formula and a mistake's, at every third t a little nearer to the right one:
    it has no formula of its own."""
    wrong, right = BY_ID[bug].seams[field], getattr(Oracle(), field)

    def formula(*given):
        levels = [part for part in given if isinstance(part, Level)]
        t = levels[0].t if levels else torch.ones(())
        if field == "add_noise":
            t = given[-1].reshape(-1, 1, 1, 1)  # (b, 1, 1, 1)
        of_wrong = torch.where(t % 3 == 0, share - 0.02, share)
        return (1 - of_wrong) * right(*given) + of_wrong * wrong(*given)

    return formula


@pytest.mark.parametrize(
    ("bug", "field", "stage"),
    each(
        2,
        [
            ("45", "mean", "mean"),
            ("38", "mean", "mean"),
            ("54", "std", "variance"),
            ("5", "add_noise", "forward"),
            ("7", "betas", "schedule"),
        ],
    ),
)
def test_a_curve_near_that_of_a_mistake_is_told(bug, field, stage):
    found = diagnosis(stage, **{field: nearly(bug, field, 0.9)})
    assert found.stage == stage
    assert f"nearest in the catalogue, though not the same: mistake {bug}, " in found.fix
    assert BY_ID[bug].words in found.fix
    assert "% of the difference" in found.fix


def test_a_few_wrong_steps_are_pointed_at():
    def std(kind, level, out=None):
        return Oracle().std(kind, level, out) * torch.where(level.t == 17, 1.01, 1.0)

    found = diagnosis("variance", std=std)
    assert found.stage == "variance"
    assert "as it should, but not everywhere: at t=17 it is" in found.explanation
    assert " at t=17 too: x_prev = " in found.fix


def test_a_law_near_that_of_a_mistake_is_told_by_its_checks():
    def draw(shape, generator, dtype):
        return torch.randn((*shape[:-1], 1), generator=generator).expand(shape)  # one z a row

    found = diagnosis("variance", draw=draw)
    assert "mistake 62-channel, " in found.fix
    assert "which fits all but" in found.fix


def test_what_is_like_no_mistake_gets_no_hint():
    def mean(x_0, x_t, level):
        return 1.03 * Oracle().mean(x_0, x_t, level)

    found = diagnosis("mean", mean=mean)
    assert found.stage == "mean"
    assert "nearest" not in found.fix
