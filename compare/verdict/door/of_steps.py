"""A loop whose steps go by earlier answers as well, as DPM-Solver++'s do: a kind not judged."""

from contextlib import suppress

from compare.candidate.load import Broken
from compare.candidate.loop.look import look
from compare.candidate.replay import remembers
from compare.candidate.subject import Subject
from compare.oracle import Oracle
from compare.verdict.report import Report

OF_STEPS = ("steps", "pictures", "distance", "correlation", "bent", "silent")
WORDS = (
    "its steps go by the answer before as well, as those of a multistep solver do (Lu et al. 2022, "
    "DPM-Solver++): they are not judged"
)


def of_memory(report: Report, subject: Subject) -> None:
    """Blames no loop for steps that are sums of this answer and the one before, unless what is
    wrong has a name."""
    named = any(d.bug or d.formula for d in report.diagnoses)
    if report.exit_status != 1 or named or not subject.has("sample"):
        return
    open_ = [c for c in report.checks if not c.passed and c.id.startswith("sampling/loop/")]
    open_ = [c for c in open_ if c.id.split("/")[2].startswith(OF_STEPS)]
    with suppress(Broken):
        run = look(subject, subject.scheduler().alpha_bars(Oracle()))
        if open_ and run.drawn is None and remembers(run.x, run.out):
            report.leave_open(open_, "sampling", WORDS)
            still = {c.stage for c in report.checks if c.status == "differs"}
            report.diagnoses = [d for d in report.diagnoses if d.stage in still]
