"""A check: one thing that was looked at, and how it came out. Stages yield them, one by one.

Nothing here imports torch, so that the command line can speak of checks before a comparison runs.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from compare.candidate.load import Broken

Status = Literal["equal", "close", "differs", "known", "follows", "expected", "note", "error"]
EXACT = "nothing is rounded"  # why integers, masks and words may not be off at all


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; `measured` and `allowed` are those of the worst element.

    `whole`, asked for by `told` alone, is the check with all that a report says and a trial of a
    mistake has no need of. `right` is the formula, where it is not the stage's. `bug` is the id of
    the mistake that a note is about, or that a failing check shows by itself, `formula` what was
    read off in letters. `compared` gives the tensors behind it: what was measured, what should be,
    how far off it may be (`explains` in `measure/values.py`); words, masks and laws of random draws
    have none, and a report keeps none.
    """

    id: str
    stage: str
    status: Status
    message: str
    measured: float | None = None
    allowed: float | None = None
    input: str = ""
    reason: str = ""
    beside: dict[str, float | None] = field(default_factory=dict)
    repro: str = ""
    bug: str = ""
    formula: str = ""
    right: str = field(default="", compare=False)
    whole: Callable[[], "Check"] | None = field(default=None, repr=False, compare=False)
    compared: Callable[[], tuple[Any, ...]] | None = field(default=None, repr=False, compare=False)

    @property
    def passed(self) -> bool:
        """False for `differs` and `error`."""
        return self.status not in ("differs", "error")

    def told(self) -> "Check":
        """The check as a report has it: such as `follows`, where it holds only for the candidate's
        own earlier stages."""
        if self.whole is None:
            return self
        whole = self.whole()
        return whole if whole.right else replace(whole, right=self.right)

    def plain(self) -> dict[str, Any]:
        """Its fields for JSON."""
        names = ("id", "stage", "status", "passed", "measured", "allowed", "message")
        more = ("input", "reason", "beside", "repro", "bug", "formula")
        return {name: getattr(self, name) for name in (*names, *more)}

    @classmethod
    def of_plain(cls, plain: dict[str, Any]) -> "Check":
        """The check that `plain` gave the fields of."""
        return cls(**{name: value for name, value in plain.items() if name != "passed"})

    def line(self) -> str:
        """The check in one line."""
        figures = ""
        if self.measured is not None and self.allowed is not None:
            figures = f" (measured {self.measured:.3g}, allowed {self.allowed:.3g})"
        return f"{self.status:7} {self.id}: {self.message}{figures}"


def found(id: str, status: Status, message: str, **more: Any) -> Check:
    """A check of the stage that its id begins with."""
    more.setdefault("reason", EXACT)
    return Check(id, id.partition("/")[0], status, message, **more)


def note(id: str, message: str, **more: Any) -> Check:
    """Something to say that is no fault."""
    return found(id, "note", message, **more)


def yes_no(id: str, ok: bool, yes: str, no: str, **more: Any) -> Check:
    """A check that nothing rounds: `yes` or `no` is what it says."""
    return found(id, "equal" if ok else "differs", yes if ok else no, **more)


def within(id: str, off: float, allowed: float, message: str, **more: Any) -> Check:
    """A single number that may be off by `allowed` at most; NaN is off."""
    status: Status = "close" if off <= allowed else "differs"
    return found(id, status, message, measured=off, allowed=allowed, **more)


def owing(checks: Iterable[Check], duties: dict[str, str]) -> Iterator[Check]:
    """The checks, each with what should be in its place: the first of `duties` {beginning of the
    last word of its id: what is right} that is its own."""
    for check in checks:
        name = check.id.rpartition("/")[2]
        own = next((right for start, right in duties.items() if name.startswith(start)), "")
        yield replace(check, right=own) if own and not check.right else check


def guarded(id: str, checks: Iterable[Check], quiet: bool = False) -> Iterator[Check]:
    """The checks, and one in their place from where the candidate did not answer.

    `quiet` makes a note of it: another check says it.
    """
    try:
        yield from checks
    except Broken as broken:
        yield found(id, "note" if quiet else "error" if broken.raised else "differs", str(broken))
