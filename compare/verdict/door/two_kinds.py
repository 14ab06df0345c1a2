"""A loss that trains a model on one thing, beside a loop that takes its answer for another.

Each may be right by itself, by its own reading: then nothing in either is wrong but that they do
not agree.
"""

import copy
from contextlib import suppress

from compare import stages
from compare.candidate.door.reading import SIGNED, UNIT, Fact
from compare.candidate.load import Broken
from compare.candidate.subject import Subject
from compare.formulas.naming import NOT_COMPUTABLE
from compare.mistakes import BY_ID, KIND_OF_LOSS
from compare.stages.stage import Stage
from compare.verdict.conventions.prediction import kind_shown
from compare.verdict.report import Diagnosis, Report

KINDS = {"epsilon": "the noise", "sample": "x_0", "v_prediction": "v"}
SAY_SO = ("26-loss", "26-v-loss", "27-loss")  # whose words are of the target's kind
FIX = "train the model on what the loop takes its answer for"


def two_kinds(report: Report, subject: Subject) -> None:
    """Says so of a report in which the loss or the loop is wrong, if no mistake of the kind has."""
    named = [BY_ID[d.bug] for d in report.diagnoses if d.bug]
    if any(m.stage == "prediction" or m.only in KIND_OF_LOSS or m.id in SAY_SO for m in named):
        return
    both = (stages.LOSS, stages.SAMPLING)
    if report.exit_status != 1:  # left open
        return
    wrong = {c.stage for c in report.checks if not c.passed} & {stage.name for stage in both}
    if not wrong or subject.has("step") or not all(stage.is_met(subject) for stage in both):
        return
    trained, taken = (_kind(subject, stage) for stage in both)
    if trained is None or taken is None or trained == taken:
        return
    words = f"the loss trains the model on {KINDS[trained]}, and the loop takes its answer for "
    found = Diagnosis(None, "prediction", words + KINDS[taken], FIX)
    names = {stage.name for stage in both} | {"prediction"}
    report.diagnoses = [d for d in report.diagnoses if d.stage not in names]
    report.diagnoses.insert(0, found)


def _kind(subject: Subject, stage: Stage) -> str | None:
    """What the model predicts with which all checks of a stage hold, in any range of pictures."""
    for pictures in (SIGNED, UNIT):
        other = copy.copy(subject)
        other.door = subject.door.told({"pictures": Fact(pictures)})
        with suppress(Broken, *NOT_COMPUTABLE):
            shown = kind_shown(other, stage)
            if shown is not None:
                return shown.setting.prediction_type
    return None
