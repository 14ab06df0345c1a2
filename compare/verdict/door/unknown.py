"""What the verdict says where the report alone would blame, and cannot know: a table that nobody
shows, a time that is none of steps, an embedding of another kind, t counted apart."""

from contextlib import suppress

import torch

from compare.candidate.load import Broken
from compare.candidate.subject import Subject
from compare.stages.embedding import DIMS
from compare.stages.loop import ends
from compare.verdict.report import Diagnosis, Report

OF_STEPS = ("sampling/loop/steps", "sampling/loop/weight-of")  # beginnings of ids
MOMENTS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of a time from 0 to 1
WHOLE, GONE = 0.9, 0.1  # of the image: at least, at t = 0; at most, at the end of such a time
EARLY, THROWN = "2-early", "79-thrown"


def without_table(report: Report, subject: Subject) -> None:
    """Blames nothing in what shows no table, and may be right by another than the usual one.

    What has a name or a formula by the usual one is told: by another it would hardly have. Then of
    a loop's steps nothing is blamed, if they have none. By a table that is not sure nothing is.
    """
    seen = subject.seen
    if not (subject.table_is_assumed or seen) or report.exit_status != 1:
        return
    wrong, named = [c for c in report.checks if not c.passed], []
    stage = next(c.stage for c in wrong if c.status == "differs")
    if stage == "embedding":  # which no table is needed for
        return
    unsure = seen is not None and not seen.sure
    unnamed = [
        d for d in report.diagnoses if unsure or (d.bug is None and (d.formula is None or d.fitted))
    ]
    message = next(c.message for c in wrong if c.status == "differs")
    fitted = f"differs from the papers in {stage}: {message}"
    words = fitted if any(d.fitted for d in unnamed) else report.said
    if len(unnamed) < len(report.diagnoses):
        named = [d for d in report.diagnoses if d not in unnamed]
        unnamed = [d for d in unnamed if d.stage == "sampling"]
        wrong = [c for c in wrong if c.id.startswith(OF_STEPS)]
        if not unnamed or not wrong:
            return
        words = f"differs from the papers in sampling: {unnamed[0].explanation}"
    setting = subject.setting
    betas = f"betas {setting.beta_start:g}..{setting.beta_end:g}"
    assumed = f"the usual one, linear {betas} with T = {setting.num_train_timesteps}"
    by = assumed if seen is None else seen.where
    text = "no table is shown under a name such as alphas_cumprod, alpha_bar or ab, and by "
    text += f"{by}, it {words}. If your code goes by another alpha-bar, say it in an Adapter "
    text += "(`ddpm adapt` prints one): alpha_bar=lambda: YOURS, (T,) numbers for t = 0..T-1"
    report.leave_open(wrong, stage, text)
    report.diagnoses = named


def continuous(report: Report, subject: Subject) -> None:
    """Neither blames nor passes a program whose t is a time from 0 to 1."""
    if report.exit_status == 2 or not subject.has("add_noise"):
        return
    one = torch.ones(len(MOMENTS), 1, 2, 3)
    with suppress(Broken):
        own = subject.scheduler().table()
        if own is not None and not bool((own[1:] < GONE).all()):
            return
        at = torch.tensor(MOMENTS) - subject.t_base
        kept = subject.scheduler().noised(one, 0 * one, at)[:, 0, 0, 0]
        if kept[0] < WHOLE or kept[-1] > GONE or not bool((kept.diff() < 0).all()):
            return
        said = ", ".join(f"{ab:.3g} at t={t:g}" for ab, t in zip(kept**2, MOMENTS, strict=True))
        text = f"its t is a time from 0 to 1: alpha-bar is {said}. Continuous time is not judged. "
        text += "An Adapter may show its steps at the n times of its loop: alpha_bar=lambda: "
        text += "YOURS, (n,) numbers, and sample=..."
        report.leave_open(report.checks, "schedule", text)
        report.diagnoses = []


def other_embedding(report: Report, subject: Subject) -> None:
    """Blames nothing in an embedding of another kind: no sinusoids by any convention or mistake."""
    named = any(d.bug for d in report.diagnoses if d.stage == "embedding")
    if named or not subject.has("embedding"):
        return
    wrong = [c for c in report.checks if c.stage == "embedding" and not c.passed]
    narrow = f"embedding/{min(DIMS)}/"  # for layers above sinusoids it may be too narrow
    others = [c.id for c in wrong if not c.id.startswith(narrow)]
    if not wrong or any(not id.endswith("/waves") for id in others or [c.id for c in wrong]):
        return
    text = "its embedding is no table of sinusoids of t, 10000^(-i / half), by any convention or "
    text += f"mistake that is known: {wrong[0].message}. Fourier features and learned vectors are "
    report.leave_open(wrong, "embedding", text + "not judged")
    report.diagnoses = [d for d in report.diagnoses if d.stage != "embedding"]


def counted_apart(report: Report, subject: Subject) -> None:
    """Says of a loop that reads entry t of a table behind a 1, and tells its model t = 0..T-1, that
    the two counts do not agree; that its first step is none, and its last one lost, follows."""
    bugs = [d.bug for d in report.diagnoses]
    if subject.door.entry.value != 1 or EARLY not in bugs or not subject.has("sample"):
        return
    T = subject.setting.num_train_timesteps
    told, should = ends([*range(T)][::-1]), ends([*range(1, T + 1)][::-1])
    words = f"the model is asked at {told}, should be {should}: the loop counts t from 0, the "
    words += "table from 1, where the noise begins"
    right = "t from T down to 1, as in the table, the model told the same t; or entry t + 1"
    left = [d for d in report.diagnoses if d.bug not in (EARLY, THROWN)]
    report.diagnoses = [Diagnosis(None, "sampling", words, f"should be {right}"), *left]
