"""How deviations become statuses, and what a candidate did instead of answering a check."""

import pytest
import torch

from compare.candidate.scheduler import Broken
from compare.measure.ledger import Ledger, Stop


def values(ledger: Ledger, measured: list[float], pure: list[float] | None = None) -> None:
    right, allowed = torch.ones(3), torch.full((3,), 0.1)
    ledger.values(
        "curve", "a_t", torch.tensor(measured), lambda: (right, allowed),
        pure=None if pure is None else lambda: (torch.tensor(pure), allowed),
        where=lambda at: f"t={at[0]}",
    )  # fmt: skip


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
    ledger = Ledger("mean")
    values(ledger, measured, pure)
    (check,) = ledger.checks
    assert (check.id, check.status) == ("mean/curve", status)


def test_the_message_names_the_first_t_that_is_wrong_and_the_worst() -> None:
    ledger = Ledger("mean")
    values(ledger, [1.0, 1.2, 3.0])
    values(ledger, [1.0, 1.0, 3.0])
    first = "a_t is 1.2 at t=1, should be 1; furthest off, it is 3 at t=2, should be 1"
    assert [c.message for c in ledger.checks] == [first, "a_t is 3 at t=2, should be 1"]
    assert [c.measured for c in ledger.checks] == [2.0, 2.0]


def test_a_mistake_that_is_tried_on_stops_at_the_first_new_fault() -> None:
    tolerant = Ledger("mean", strict=frozenset({"mean/curve"}))
    values(tolerant, [2.0, 2.0, 2.0])
    assert [c.status for c in tolerant.checks] == ["differs"]
    with pytest.raises(Stop):
        values(Ledger("mean", strict=frozenset()), [2.0, 2.0, 2.0])


@pytest.mark.parametrize(
    ("raised", "quiet", "status"),
    [(True, False, "error"), (False, False, "differs"), (True, True, "note")],
)
def test_what_is_no_answer(raised: bool, quiet: bool, status: str) -> None:
    ledger = Ledger("mean")
    with ledger.guard("all", quiet=quiet):
        raise Broken("step raises ValueError: boom", raised=raised)
    (check,) = ledger.checks
    assert (check.id, check.status, check.message) == (
        "mean/all", status, "step raises ValueError: boom"
    )  # fmt: skip
