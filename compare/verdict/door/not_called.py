"""Methods of a class that do what is judged, by their text, and that nobody could call; and words
of its schedule that it was not built with."""

from collections.abc import Mapping, Sequence

from compare.candidate.subject import Subject
from compare.measure.check import note
from compare.verdict.report import Report

DO = {  # {role: what its methods do}
    "sample": "asks a model step after step",
    "loss": "makes a loss of what a model answers",
    "step": "is called as a reverse step is, and adds noise",
    "add_noise": "makes something of pictures and alpha-bar",
}
JUDGED_BY = {"sample": ("step", "sample"), "loss": ("loss",), "step": ("step", "sample")}
JUDGED_BY |= {"add_noise": ("add_noise", "get_velocity")}
SAY = {
    "sample": "sample=lambda model, shape: ...",
    "loss": "loss=lambda model, x_0: ...",
    "step": "step=lambda out, t, x: ...",
    "add_noise": "add_noise=lambda x_0, noise, t: ...",
}


def not_called(report: Report, subject: Subject, left: Mapping[str, Sequence[str]]) -> None:
    """Passes no class of which no loop, or no loss, was judged where it has one; of another beside
    that which was judged it is said.

    Args:
        report: that is to be told so.
        subject: the class, as it was judged.
        left: {role: its methods that do so and were not called}; of a role that is not built yet,
            what it has of it.
    """
    first = report.checks[0].stage if report.checks else ""
    for role, names in left.items():
        if role == "schedule" and "beta_schedule" in subject.named:
            continue
        told = " and ".join(names[:3])
        if role not in DO or any(subject.has(each) for each in JUDGED_BY[role]):
            were = "were" if len(names) > 1 else "was"
            report.checks.append(note(f"{first}/left-out", f"{told} {were} not judged"))
        elif report.exit_status == 0:
            words = f"its {told}, which {DO[role]}, was not judged: say how it is called, in an "
            report.leave_open([], first, f"{words}Adapter({SAY[role]})")
