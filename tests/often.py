"""Which of many cases `make test` judges: each takes seconds. `make test-long` has the others."""

from collections.abc import Iterable
from typing import Any

import pytest


def each(n: int, cases: Iterable[Any]) -> list[Any]:
    """Every nth case, and the others marked `long`; a tuple holds several arguments.

    >>> [len(case.marks) for case in each(2, "abc")]
    [0, 1, 0]
    """
    found = []
    for i, case in enumerate(cases):
        arguments = case if isinstance(case, tuple) else (case,)
        found.append(pytest.param(*arguments, marks=() if i % n == 0 else pytest.mark.long))
    return found
