"""What `compare` finds wrong with code that is used all the same, in one line."""

import shlex
from collections.abc import Sequence
from typing import Any

from compare.candidate.door.reading import told_by
from compare.verdict.judge import judge


def warning(candidate: Any, shown: str, reading: Sequence[str] = ()) -> str:
    """A line on what `compare` says of a candidate; "" if it is right.

    Args:
        candidate: as for `compare.run`; judged in this process.
        shown: what the command that tells more calls it.
        reading: as for `compare.run`.
    """
    report = judge(candidate, "quick", 0, beside=False, reading=told_by(reading))
    if report.passed:
        return ""
    words = "".join(f" --reading {shlex.quote(word)}" for word in reading)
    more = f"it is used all the same; see: ddpm compare --candidate {shlex.quote(shown)}{words}"
    failing = [check for check in report.checks if check.status == "differs"]
    name = shown.rpartition(":")[2]
    if not failing:
        return f"compare could not judge {name}; {more}"
    first = failing[0].id
    what = f"in {first}" if len(failing) == 1 else f"in {len(failing)} checks, first {first}"
    return f"compare finds {name} wrong {what}; {more}"
