"""A model that predicts the mean of x_prev (Ho et al., section 3.2): a kind that is not judged."""

from collections.abc import Callable
from contextlib import suppress

from compare import stages
from compare.candidate.load import Broken
from compare.candidate.scheduler import Scheduler
from compare.candidate.subject import Subject
from compare.formulas.naming import NOT_COMPUTABLE
from compare.formulas.parts.loops import takes_means
from compare.formulas.parts.losses import trains_means
from compare.oracle import Oracle
from compare.stages.stage import Stage
from compare.verdict.conventions.prediction import kind_named
from compare.verdict.report import Report

# {stage: (whether it is of a model that predicts so, in words, the checks that hang on it)}
KINDS: dict[Stage, tuple[Callable[[Scheduler, Oracle], bool], str, tuple[str, ...]]] = {
    stages.SAMPLING: (
        takes_means,
        "its loop takes the model's answer for the mean of x_prev, and adds noise of a right size",
        ("sampling/loop/steps", "sampling/loop/pictures", "sampling/loop/weight-of"),
    ),
    stages.LOSS: (
        trains_means,
        "its loss trains the model on the mean of x_prev",
        ("loss/perfect",),
    ),
}
NOT_JUDGED = "(Ho et al. section 3.2): what a model predicts that way is not judged"
SAY = "show the loss beside it, or say by --reading prediction=... what else it predicts"


def of_means(report: Report, subject: Subject) -> None:
    """Blames no loss and no loop for a model that predicts the mean of x_prev in both; where there
    is a loop alone, unless it says that its model predicts something else."""
    if report.exit_status != 1 or subject.has("step"):
        return
    if subject.door.prediction.rank == "declared" or kind_named(subject) is not None:
        return
    there = [stage for stage in KINDS if stage.is_met(subject)]
    with suppress(Broken, *NOT_COMPUTABLE):
        scheduler = subject.scheduler()
        if there and all(KINDS[stage][0](scheduler, Oracle()) for stage in there):
            _leave_open(report, there)


def _leave_open(report: Report, there: list[Stage]) -> None:
    begins = tuple(id for stage in there for id in KINDS[stage][2])
    failing = [c for c in report.checks if not c.passed]
    left = {c.stage for c in failing if not c.id.startswith(begins)}
    words = ", and ".join(KINDS[stage][1] for stage in there)
    alone = "" if stages.LOSS in there else f"; {SAY}"
    open_ = [c for c in failing if c.id.startswith(begins)]
    report.leave_open(open_, there[0].name, f"{words} {NOT_JUDGED}{alone}")
    report.diagnoses = [d for d in report.diagnoses if d.stage in left]
