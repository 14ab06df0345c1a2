"""The protocol of a stage: who reads it may stop, and nothing that it says depends on who reads."""

import copy
import warnings
from collections.abc import Iterator

import pytest
import torch

from compare import backends, stages
from compare.candidate.load import Broken
from compare.candidate.subject import Subject
from compare.measure.check import Check, guarded, note
from compare.mistakes import BY_ID, MISTAKES, mutant
from compare.oracle import Oracle, Setting
from compare.stages.stage import Stage
from compare.verdict import conventions
from compare.verdict.quiet import quiet
from tests.often import each

SHORT = Setting(num_train_timesteps=16, beta_end=0.7)
WRONG = ("5", "43", "49", "32-first", "61-loop")  # a forward, a mean, a variance, a loss and a loop


def subject_of(bug: str) -> Subject:
    subject = Subject(mutant(BY_ID[bug], SHORT), bug, base=SHORT)
    conventions.read(subject)
    return subject


def told(checks: Iterator[Check]) -> list[dict]:
    return [check.told().plain() for check in checks]


@pytest.mark.parametrize("bug", each(3, WRONG))
def test_what_a_stage_says_does_not_depend_on_what_was_read_before(bug: str) -> None:
    """All stages on one subject; each alone and the last first on fresh ones; check by check."""
    with quiet():
        together = subject_of(bug)
        expected = {s.name: told(s.of(together, Oracle())) for s in stages.ALL}
        assert sum(map(len, expected.values())) > 10
        alone = {s.name: told(s.of(subject_of(bug), Oracle())) for s in reversed(stages.ALL)}
        assert alone == expected
        for stage in stages.ALL:
            subject = subject_of(bug)
            assert one_by_one(stage, subject, len(expected[stage.name])) == expected[stage.name]


def one_by_one(stage: Stage, subject: Subject, count: int) -> list[dict]:
    """Every check from a reading of its own that ends there, the last one first."""
    found = []
    for i in reversed(range(count)):
        reading = stage.of(subject, Oracle())
        for _ in range(i):
            next(reading)
        found.append(next(reading).told().plain())
        reading.close()
    return found[::-1]


@pytest.mark.parametrize("bug", each(2, WRONG))
def test_a_second_reading_calls_the_candidate_no_more(
    bug: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with quiet():
        subject = subject_of(bug)
        for stage in stages.ALL:
            told(stage.of(subject, Oracle()))
        answers = copy.copy(subject.answers)

        def refuse(*given: object) -> None:
            pytest.fail("the candidate was called again")

        monkeypatch.setattr("compare.candidate.scheduler.Scheduler._call", refuse)
        for other in WRONG:
            for stage in stages.ALL:
                told(stage.of(subject, BY_ID[other].oracle()))
    assert {k for k in subject.answers if k[0] == "build"} == {
        k for k in answers if k[0] == "build"
    }


def state() -> tuple:
    """What a context that is left open would have changed."""
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        id(warnings.filters),  # `catch_warnings` puts another list in its place
        warnings.showwarning,
    )


@pytest.mark.parametrize("bug", WRONG)
def test_no_context_is_open_while_a_reader_looks_at_a_check(bug: str) -> None:
    with quiet():
        subject, before = subject_of(bug), state()
        for stage in stages.ALL:
            for check in stage.of(subject, Oracle()):
                assert state() == before, check.id
                check.told()
                assert state() == before, check.id


def test_no_context_is_open_in_the_stages_of_both_backends() -> None:
    with quiet():
        before = state()
        for stage in (backends.ALL[0], backends.ALL[2]):
            for check in stage.checks("quick", 0):
                assert state() == before, check.id


def test_what_cannot_be_computed_is_a_check_and_the_others_still_come() -> None:
    class Half:
        """`step` answers for the plain betas alone, add_noise never."""

        def __init__(self, num_train_timesteps=30, beta_end=0.5, prediction_type="epsilon"):
            right = Oracle()
            self.kind = prediction_type
            setting = Setting(num_train_timesteps=num_train_timesteps, beta_end=beta_end)
            self.alphas_cumprod = right.alpha_bar(setting)

        def add_noise(self, x_0, noise, t):
            raise RuntimeError("never")

        def step(self, out, t, x_t):
            if self.kind != "epsilon":
                raise RuntimeError("not this kind")
            return x_t

    with quiet():
        subject = Subject(Half, "half", base=SHORT)
        conventions.read(subject)
        checks = [c for stage in stages.ALL for c in stage.of(subject, Oracle())]
    errors = {c.id for c in checks if c.status == "error"}
    assert {"forward/add_noise/coefficients", "mean/sample", "mean/v_prediction"} <= errors
    assert "mean/epsilon" in {c.id for c in checks} - errors


def test_an_exception_of_the_candidate_ends_one_check_alone() -> None:
    def first() -> Iterator[Check]:
        raise Broken("step raises ValueError")
        yield

    def second() -> Iterator[Check]:
        yield note("mean/second", "still here")

    checks = [*guarded("mean/first", first()), *guarded("mean/second", second())]
    assert [(c.id, c.status) for c in checks] == [("mean/first", "error"), ("mean/second", "note")]


@pytest.mark.parametrize("bug", each(2, ["5", "43", "32-first", "61-loop"]))
def test_a_stage_says_the_same_of_formulas_that_it_does_not_see(bug: str) -> None:
    """With a mistake of the catalogue in each formula that is none of those that it names."""
    with quiet():
        subject, compared = subject_of(bug), 0
        for stage in (stage for stage in stages.ALL if stage.is_met(subject)):
            right = statuses(stage, subject, Oracle())
            unseen = {
                frozenset(m.seams): m.oracle()
                for m in MISTAKES
                if m.stage in stages.BY_NAME and not {*m.seams} & {*stage.sees}
            }
            assert unseen or not stage.sees, stage.name
            for oracle in unseen.values() if stage.sees else ():
                assert statuses(stage, subject, oracle) == right
                compared += 1
        assert compared > 10


def statuses(stage: Stage, subject: Subject, oracle: Oracle) -> list[tuple]:
    return [(c.id, c.status, c.measured, c.allowed) for c in stage.of(subject, oracle)]
