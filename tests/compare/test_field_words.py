"""Programs as strangers write them: what is not there, schedules of one's own, float32, words."""

from pathlib import Path

import pytest

from compare import Adapter
from compare.candidate.from_oracle import sample_of, scheduler
from compare.oracle import Oracle, Setting
from compare.verdict.judge import judge
from compare.verdict.report import Report
from tests.often import each

FIELD = Path(__file__).parent / "field"
SHORT = Setting(num_train_timesteps=30, beta_end=0.4)
STEP = ["prediction", "mean", "variance", "sampling"]


def judged(name: str) -> Report:
    return judge(f"{FIELD}/{name}", "quick", 0, beside=False)


RIGHT = {  # {program: the stages that are judged}
    "forward_only.py:OnlyForward": ["schedule", "forward"],
    "one_method.py:Table": ["schedule"],
    "one_method.py:Hidden": ["schedule", "forward"],
    "one_method.py:Step": ["schedule", *STEP],
    "one_method.py:TableAndStep": ["schedule", *STEP],
    "cosine_tables.py:Floor": ["schedule", "forward"],
    "own_schedules.py:AnyLength": ["schedule", "forward"],
    "own_schedules.py:OneLength": ["schedule", "forward"],
    "own_schedules.py:ItsDefault": ["schedule", "forward"],
    "own_schedules.py:ScaledEnds": ["schedule", "forward"],
    "own_schedules.py:OwnWord": ["schedule", "forward"],
    "own_schedules.py:AnyWord": ["schedule", "forward"],
    "float32.py:Cosine32": ["schedule", "forward"],
    "float32.py:CosineDirect32": ["schedule", "forward"],
    "float32.py:Scaled32": ["schedule", "forward"],
    "float32.py:CastsWhatItReads": ["schedule", "forward"],
    "conventions.py:DDIM": ["schedule", "forward", "timesteps", *STEP],
    "conventions.py:Rederives": ["schedule", "forward", "timesteps", *STEP],
    "conventions.py:AlwaysRederives": ["schedule", "forward", "timesteps", *STEP],
    "conventions.py:Quadratic": ["schedule", "forward", "timesteps", *STEP],
    "conventions.py:FromTheEnd": ["schedule", "forward", "timesteps", *STEP],
    "conventions.py:NotFlattened": ["schedule", "forward", "timesteps", *STEP],
}


@pytest.mark.parametrize("name", each(2, RIGHT))
def test_a_right_program_is_right_and_says_what_was_judged(name: str) -> None:
    report = judged(name)
    assert report.exit_status == 0, str(report)
    assert report.judged == RIGHT[name]
    ends = str(report).splitlines()[-2:]
    assert ends[0] == f"judged: {', '.join(RIGHT[name])}"
    assert ends[1].startswith("not judged: ")
    assert "loss, as there is no loss" in ends[1]


WRONG = {  # {program: (stage, number in the catalogue, words)}
    "cosine_tables.py:OneMore": ("schedule", "1-leading-one", "starts at 1"),
    "cosine_tables.py:FromStart": ("schedule", "10-start", "read one step early"),
    "cosine_tables.py:NoClamp": ("schedule", "11", "not capped at 0.999"),
    "equal_roots.py:Scheduler": (
        "forward",
        None,
        "your noise has sqrt(ab_t), should have sqrt(1 - ab_t) ",
    ),
    "own_schedules.py:IgnoresT": ("schedule", None, "has 200 entries, should have 1000"),
    "own_schedules.py:NotItsBetas": ("schedule", "4-root", "sqrt(alpha-bar_t)"),
    "own_schedules.py:OwnWordIsLinear": ("schedule", "10-linear", "betas are linear"),
    "float32.py:LowCap32": ("schedule", None, "beta is "),
    "float32.py:CastForGood": ("forward", None, "leaves the table in bfloat16 for good"),
    "float32.py:CastPrivately": ("forward", None, "leaves the table in bfloat16 for good"),
    "conventions.py:TooMany": ("timesteps", "74", "more than n entries"),
}


@pytest.mark.parametrize("name", each(2, WRONG))
def test_a_wrong_program_is_told_by_what_is_wrong(name: str) -> None:
    stage, bug, words = WRONG[name]
    report = judged(name)
    assert report.exit_status == 1, str(report)
    assert (report.diagnoses[0].stage, report.diagnoses[0].bug) == (stage, bug), str(report)
    assert words in report.verdict


def test_no_signal_at_the_end_is_no_fault_of_betas_in_float32() -> None:
    report = judged("float32.py:Rescaled32")
    assert not [c for c in report.checks if not c.passed], str(report)
    assert [c.stage for c in report.checks if c.stage == "forward"]  # and judged at that t too


def test_one_wrong_coefficient_is_one_failing_line() -> None:
    report = judged("equal_roots.py:Scheduler")
    assert [c.id for c in report.checks if not c.passed] == ["forward/add_noise/coefficients"]
    assert sum(c.status == "follows" for c in report.checks) == 9
    assert "at t=1, 500, 999 it is" in report.verdict
    assert "x_0" not in report.diagnoses[0].explanation


def test_what_was_judged_before_an_error_is_said() -> None:
    report = judged("one_method.py:Raises")
    assert report.exit_status == 2
    said = report.verdict
    assert "step(model_output, t, x_t) raises RuntimeError: no step yet (one_method.py" in said
    assert said.endswith("(judged and right: schedule)")
    assert report.not_judged["forward"] == "there is no add_noise or get_velocity"


def test_a_convention_is_said() -> None:
    again = judged("conventions.py:Rederives").conventions["direction"]
    assert again == "eps derived anew from the clipped x0-hat (read off)"
    assert judged("conventions.py:Quadratic").conventions["spacing"] == "own (read off)"
    words = judged("own_schedules.py:OwnWord").conventions["beta_schedule"]
    assert words.startswith("takes any word: linear, scaled_linear, sigmoid give what")
    length = judged("own_schedules.py:OneLength").conventions["num_train_timesteps"]
    assert length == "num_train_timesteps changes nothing: 200 steps of its own are judged"


def test_a_t_that_is_not_flattened_is_a_note() -> None:
    notes = [c for c in judged("conventions.py:NotFlattened").checks if c.status == "note"]
    assert any("mistake 22" in c.message for c in notes)


def test_a_fix_speaks_of_what_failed() -> None:
    class Deaf(scheduler(Oracle())):
        def step(self, model_output, timestep, sample, generator=None):
            return super().step(model_output, timestep, sample)

    (found,) = judge(Deaf, "quick", 0, beside=False, base=SHORT).diagnoses
    assert "not on what is given alone" in found.explanation
    assert found.fix.startswith("should be torch.randn(x_t.shape, generator=generator)")

    right = sample_of(Oracle(), SHORT)
    stretched = Adapter(
        alpha_bar=lambda: Oracle().alpha_bar(SHORT),
        sample=lambda model, shape, generator: right(model, shape, generator) * 3,
    )
    found = judge(stretched, "quick", 0, beside=False).diagnoses[-1]
    if found.bug is None:
        assert found.fix.startswith("should be the last step as it is")
