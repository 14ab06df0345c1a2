"""In which range the pictures of a loss and of a loop are: one, of both."""

from compare import stages
from compare.candidate.door.reading import SIGNED, UNIT, Fact
from compare.candidate.load import Broken
from compare.candidate.subject import Subject
from compare.oracle import Oracle
from compare.stages.ending import UNIT_FORM
from compare.stages.stage import Stage


def read_pictures(subject: Subject) -> Fact:
    """[0, 1] if a loss is right with such pictures alone, and a loop returns such; else [-1, 1].

    Pictures that one of the two maps alone are a mistake (34 to 36).
    """
    if not (subject.has("loss") and subject.has("sample")) or _holds(subject, stages.LOSS):
        return Fact(SIGNED)
    read = subject.reading()
    read.door = subject.door.told({"pictures": Fact(UNIT)})
    if _holds(read, stages.LOSS) and _ends_in_unit(read):
        return Fact(UNIT, "behaviour", "its loss is right with such, and its loop returns such")
    return Fact(SIGNED)


def _holds(subject: Subject, stage: Stage) -> bool:
    try:
        return all(check.passed for check in stage.of(subject, Oracle()))
    except Broken:
        return False


def _ends_in_unit(subject: Subject) -> bool:
    """True if what a loop returns is its last step in [0, 1]."""
    ends = (c for c in stages.SAMPLING.of(subject, Oracle()) if c.id == "sampling/loop/pictures")
    return any(end.passed and UNIT_FORM in end.message for end in ends)
