"""What of a loop is a choice of its own."""

from contextlib import suppress

from compare.candidate.load import Broken
from compare.candidate.loop.calls import COURSE, SHAPE, place_of_condition, sized
from compare.candidate.loop.look import look
from compare.candidate.subject import Subject
from compare.measure.loop_steps import visits
from compare.oracle import Oracle
from compare.stages.loop import ends, kind_of_list


def card_of_loop(subject: Subject) -> dict[str, str]:
    """{what: the value and how it is known} of a loop, where it is not the plain way."""
    card: dict[str, str] = {}
    if not subject.has("sample"):
        return card
    with suppress(Broken):  # the stage tells what it raises
        table = subject.scheduler().alpha_bars(Oracle())
        run = look(subject, table)
        if run.manner.learned is not None:
            half = run.learned
            what = "a pair" if run.manner.pair else "twice the channels"
            words = "the second is not judged" if half is None else half.words
            card["output"] = f"{what}: {words} (that of the loop's model)"
        condition = place_of_condition(subject, table)
        if condition:
            card["condition"] = f"{condition} x_t in the channels (that of the loop's model)"
        if run.manner.shape != SHAPE:
            card["pictures"] = f"{sized(run.manner.shape)} (those of the loop)"
        if subject.returned["sample"] == COURSE:
            card["returned"] = f"{COURSE}: the last are judged (those of the loop)"
        if run.mix is not None and run.mix.readable and not run.mix.varies:
            card["guidance"] = f"{run.mix.words} (read off the steps)"
        visited = visits(run, Oracle(), subject.setting, table)
        if visited.own:
            told = ends([int(t) for t in run.t.tolist()])
            card["list"] = f"{told}: {kind_of_list(visited.at)} (read off)"
    return card
