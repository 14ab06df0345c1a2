"""In which range the pictures of a loss and of a loop are: one, of both."""

from contextlib import suppress

import torch

from compare import stages
from compare.candidate.door.reading import BYTES, SIGNED, UNIT, UNMAPPED, Fact
from compare.candidate.load import Broken
from compare.candidate.loop.look import Run, look
from compare.candidate.loss.inside import look_inside
from compare.candidate.loss.look import look as look_at_loss
from compare.candidate.subject import Subject
from compare.measure.law import normal_bound
from compare.measure.tolerances import RATE
from compare.oracle import F64, Oracle
from compare.stages.loop.ending import CUT

HALF = 0.5  # the constant of (y + 1) / 2; that of y is near 0, whatever noise or clip is in it
FEWEST = 100  # pixels by which it is known


def read_pictures(subject: Subject) -> Fact:
    """[0, 1] or bytes if such pictures alone reach the model of a loss in [-1, 1], and a loop
    returns such; else [-1, 1].

    Pictures that one of the two maps alone are a mistake (34 to 36). A loop that clamps to [0, 1]
    without mapping may be made for data that are never mapped: that is left open, unless its loss
    maps them. So it is if the loop returns bytes, and the loss takes pictures in [0, 1], as many
    data sets that are kept in bytes give; and if there is no loop, and the loss takes bytes, or,
    where no adapter of the user's says otherwise, pictures in [0, 1].
    """
    cuts = subject.has("sample") and _cuts(subject)
    plain = Fact(SIGNED, others=(UNMAPPED,)) if cuts else Fact(SIGNED)
    if not subject.has("loss") or _takes(subject, SIGNED) is not False:
        return plain
    if not subject.has("sample"):
        open_ = (UNIT, BYTES) if subject.by_names else (BYTES,)
        either = next((each for each in open_ if _takes(subject, each)), None)
        return plain if either is None else Fact(SIGNED, others=(either,))
    taken = next((each for each in (UNIT, BYTES) if _takes(subject, each)), None)
    if cuts and taken:
        return Fact(taken, "behaviour", "its loss maps such")
    with suppress(Broken):
        run = look(subject, subject.scheduler().alpha_bars(Oracle()))
        in_bytes = run.result.dtype == torch.uint8
        if in_bytes and taken == UNIT:
            return Fact(SIGNED, others=(UNIT,))
        if in_bytes and taken == BYTES:
            return Fact(BYTES, "behaviour", "its loss maps such, and its loop returns such")
        if not in_bytes and (taken == UNIT or _shifts(subject)) and _ends_in_unit(run):
            maps = "its loss maps such, and " if taken else ""
            return Fact(UNIT, "behaviour", f"{maps}its loop returns such")
    return plain


def _takes(subject: Subject, pictures: str) -> bool | None:
    """Whether pictures in this range reach the model of a loss in [-1, 1]; None if it is not
    seen."""
    read = subject.reading()
    read.door = subject.door.told({"pictures": Fact(pictures)})
    with suppress(Broken):
        checks = stages.LOSS.of(read, Oracle())
        return next((check.passed for check in checks if check.id == "loss/range"), None)
    return None


def _shifts(subject: Subject) -> bool:
    """Whether a loss adds something to its pictures: those as bright as others are dark reach its
    model otherwise, whatever they are multiplied by."""
    read = subject.reading()
    read.door = subject.door.told({"pictures": Fact(SIGNED)})
    with suppress(Broken):
        table = read.scheduler().alpha_bars(Oracle())
        seen = look_at_loss(read, table, RATE)
        inside = look_inside(seen, table, Oracle(), normal_bound(RATE / 2), 0.0)
        return abs(inside.bright + inside.dark) > 2 * inside.allowed
    return False


def _cuts(subject: Subject) -> bool:
    """True if what a loop returns is its last step, clamped to [0, 1]."""
    ends = (c for c in stages.SAMPLING.of(subject, Oracle()) if c.id == "sampling/loop/pictures")
    with suppress(Broken):
        return any(CUT in end.message for end in ends)
    return False


def _ends_in_unit(run: Run) -> bool:
    """True if a loop returns (y + 1) / 2, clamped or not, of a sum y of x_t and the last output.

    The constant of that sum tells, whatever the coefficients are: a step may be wrong.
    """
    got = run.result.to(F64)
    columns = torch.stack([run.x[-1], run.out[-1], torch.ones_like(got)], dim=-1)
    inside = (got > got.min()) & (got < got.max()) & columns.isfinite().all(dim=-1)  # not clamped
    if int(inside.sum()) < FEWEST:  # it runs away
        return bool((got.min() >= 0) & (got.max() <= 1))
    found = torch.linalg.lstsq(columns[inside], got[inside].unsqueeze(1), driver="gelsd").solution
    return abs(float(found[2]) - HALF) < HALF / 2
