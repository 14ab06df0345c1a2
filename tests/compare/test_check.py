"""How deviations become statuses, and what a candidate did instead of answering a check."""

from collections.abc import Iterator

import pytest
import torch

from compare.candidate.load import Broken
from compare.measure.check import Check, guarded, note, owing
from compare.measure.values import values


def judged(measured: list[float], pure: list[float] | None = None) -> Check:
    right, allowed = torch.ones(3), torch.full((3,), 0.1)
    return values(
        "mean/curve",
        "a_t",
        torch.tensor(measured),
        lambda: (right, allowed),
        pure=None if pure is None else lambda: (torch.tensor(pure), allowed),
        where=lambda at: f"t={at[0]}",
    )


@pytest.mark.parametrize(
    ("measured", "pure", "status"),
    [
        ([1.0, 1.0, 1.0], None, "equal"),
        ([1.0, 1.05, 1.0], None, "close"),
        ([1.0, 1.2, 3.0], None, "differs"),
        ([1.0, float("nan"), 1.0], None, "differs"),
        ([1.0, float("inf"), 1.0], None, "differs"),
        ([1.0, 1.0, 1.0], [2.0, 2.0, 2.0], "follows"),
        ([1.0, 1.0, 1.0], [1.0, 1.0, 1.0], "equal"),
        ([3.0, 3.0, 3.0], [3.0, 3.0, 3.0], "differs"),
    ],
)
def test_status_of_values(measured: list[float], pure: list[float] | None, status: str) -> None:
    check = judged(measured, pure).told()
    assert (check.id, check.stage, check.status) == ("mean/curve", "mean", status)


def test_what_follows_is_asked_for_by_the_report_alone() -> None:
    check = judged([1.0, 1.0, 1.0], [2.0, 2.0, 2.0])
    assert check.status == "equal"
    assert check.told().message == (
        "a_t is right for the candidate's own table and list (first seen at t=0)"
    )


def test_the_message_names_the_first_t_that_is_wrong_and_the_worst() -> None:
    checks = [judged([1.0, 1.2, 3.0]), judged([1.0, 1.0, 3.0])]
    first = "a_t is 1.2 at t=1, should be 1; furthest off, it is 3 at t=2, should be 1"
    assert [c.message for c in checks] == [first, "a_t is 3 at t=2, should be 1"]
    assert [c.measured for c in checks] == [2.0, 2.0]


@pytest.mark.parametrize(
    ("raised", "quiet", "status"),
    [(True, False, "error"), (False, False, "differs"), (True, True, "note")],
)
def test_what_is_no_answer_is_a_check_and_what_came_before_is_kept(
    raised: bool, quiet: bool, status: str
) -> None:
    def checks() -> Iterator[Check]:
        yield note("mean/first", "asked")
        raise Broken("step raises ValueError: boom", raised=raised)

    first, second = guarded("mean/all", checks(), quiet=quiet)
    assert first.id == "mean/first"
    assert (second.id, second.status) == ("mean/all", status)
    assert second.message == "step raises ValueError: boom"


def test_a_reader_may_stop() -> None:
    def checks() -> Iterator[Check]:
        yield note("mean/first", "asked")
        pytest.fail("nobody reads on")

    assert next(guarded("mean/all", checks())).id == "mean/first"


def test_a_check_owes_what_the_first_beginning_of_its_name_says() -> None:
    duties = {"steps-": "noise", "steps": "a mean"}
    names = ("steps-std", "steps", "start")
    told = owing((note(f"sampling/loop/{name}", "") for name in names), duties)
    assert [check.right for check in told] == ["noise", "a mean", ""]
