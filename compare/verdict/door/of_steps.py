"""Steps and loops that cannot be judged: what is wrong in them is neither blamed nor passed."""

from contextlib import suppress

from compare.candidate.load import Broken
from compare.candidate.loop.look import look
from compare.candidate.replay import remembers
from compare.candidate.subject import Subject
from compare.measure.loop_steps import grain
from compare.oracle import Oracle
from compare.oracle.samplers import BY_NAME
from compare.stages.mean import BEFORE
from compare.verdict.report import Report

OF_STEPS = ("steps", "pictures", "distance", "correlation", "bent", "silent")
OF_ONE = ("prediction", "mean")  # stages of a single step
OF_VISITS = ("visits",)  # of a solver that asks twice at a t
OF_MEMORY = (
    "its steps go by the answer before as well, and not as those of DPM-Solver++(2M) do (Lu et al. "
    "2022, algorithm 2): those of other multistep solvers (Liu et al. 2022, PNDM), or of one that "
    "asks twice in a step (Karras et al. 2022, algorithm 1), are not judged"
)
OF_STEP = (
    "its step goes by the one before it, and not as that of DPM-Solver++(2M) does (Lu et al. 2022, "
    "algorithm 2), nor with a mistake that is known of it: those of other multistep solvers are "
    "not judged"
)
OF_HALF = (
    "it computes in half precision, whose rounding cannot be told from a coefficient that is off: "
    "run it in float32"
)


def of_steps(report: Report, subject: Subject) -> None:
    """Blames no loop, unless what is wrong has a name, for steps that are sums of this answer and
    the one before, or that are computed in half precision: what ends with its few digits."""
    named = any(d.bug or d.formula for d in report.diagnoses)
    if report.exit_status != 1 or named:
        return
    _of_a_step(report, subject)
    if report.exit_status != 1 or not subject.has("sample"):
        return
    open_ = [c for c in report.checks if not c.passed and c.id.startswith("sampling/loop/")]
    with suppress(Broken):
        run = look(subject, subject.scheduler().alpha_bars(Oracle()))
        remembered = run.drawn is None and remembers(run.x, run.out)
        left = OF_STEPS + OF_VISITS * remembered
        open_ = [c for c in open_ if c.id.split("/")[2].startswith(left)]
        if open_ and (remembered or (grain(run.x) and grain(run.result))):
            report.leave_open(open_, "sampling", OF_MEMORY if remembered else OF_HALF)
            still = {c.stage for c in report.checks if c.status == "differs"}
            report.diagnoses = [d for d in report.diagnoses if d.stage in still]


def _of_a_step(report: Report, subject: Subject) -> None:
    """The same of a step that remembers the one before it, and is not even with zeros before it one
    that the oracle knows."""
    if not (subject.has("step") and BY_NAME[subject.setting.sampler].remembers):
        return
    open_ = [c for c in report.checks if c.stage in OF_ONE and not c.passed]
    if {c.id for c in open_} - {BEFORE}:
        report.leave_open(open_, "step", OF_STEP)
        report.diagnoses = [d for d in report.diagnoses if d.stage not in OF_ONE]
