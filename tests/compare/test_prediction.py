"""Stage prediction: x0-hat as it is shown, or taken out of the step where it is hidden."""

import pytest

from compare.candidate.from_oracle import scheduler
from compare.mistakes import BY_ID
from compare.oracle import Oracle, Setting
from compare.verdict.judge import judge
from tests.often import each

SHORT = Setting(num_train_timesteps=30, beta_end=0.4)


def hidden(oracle: Oracle):
    """A scheduler that returns x_{t-1} alone."""
    shown = scheduler(oracle)

    class Hidden(shown):
        def step(self, model_output, timestep, sample, generator=None):
            return super().step(model_output, timestep, sample, generator).prev_sample

    return Hidden


def judged(candidate):
    return judge(candidate, "quick", 0, beside=False, base=SHORT)


@pytest.mark.parametrize("bug", each(2, ["24", "26", "42", "65", "34-clip"]))
def test_a_wrong_x_0_is_named_also_where_it_is_not_shown(bug) -> None:
    report = judged(hidden(BY_ID[bug].oracle()))
    assert [(d.bug, d.stage) for d in report.diagnoses] == [(bug, "prediction")], str(report)


def test_a_right_x_0_that_is_not_shown_is_judged_by_the_mean_that_sample_fixes() -> None:
    report = judged(hidden(Oracle()))
    assert report.passed, str(report)
    judged_x_0 = [c for c in report.checks if c.id == "prediction/epsilon"]
    assert [c.status for c in judged_x_0] == ["close"]


def test_a_range_that_is_a_little_too_wide() -> None:
    def limit(x_0, setting):
        return x_0.clamp(-1.01, 1.01) if setting.clip_sample else x_0

    report = judged(scheduler(Oracle(limit=limit)))
    failing = {c.id for c in report.checks if not c.passed and c.stage == "prediction"}
    assert "prediction/clip-epsilon" in failing
    assert "prediction/no-clip-epsilon" not in failing
    assert {d.stage for d in report.diagnoses} == {"prediction"}
