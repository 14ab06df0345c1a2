"""Readings of a door that are left open: which of them holds, and what is said if that is not all.

The contract's reading comes first; if it is right, no other is tried. A reading fits if every check
of every stage holds under it. What t counts from is decided so where `add_noise` and `step` agree;
an order of arguments, or a step alone, is not: there is a right and a wrong program with the same
numbers. Then both verdicts are told, with the word that decides.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice, product

from compare import stages
from compare.candidate.door.reading import (
    ALWAYS,
    CONTRACT,
    HALVES,
    LISTED,
    RANGES,
    Fact,
    Reading,
)
from compare.candidate.load import WHOLE, Broken
from compare.candidate.subject import Subject
from compare.formulas.naming import NOT_COMPUTABLE
from compare.measure.check import note
from compare.oracle import Oracle
from compare.verdict.report import Report

UNSURE = {
    "prediction": "what its model predicts is not sure",
    "pictures": "in what range its pictures are is not sure",
    "t_base": "what its t counts from is not sure",
}
HOLDS_SO = "every check holds so, and not by the contract"
NAMED_SO = "what is wrong has a name so, or less is wrong, than by the contract"
MOST = 7  # readings beside the contract's that are tried
Again = Callable[[dict[str, Fact]], Subject]  # the candidate anew, some facts decided


def rivals(first: Subject, again: Again) -> tuple[Subject, list[Subject]]:
    """The candidate under the reading that holds, and under others where values cannot choose.

    Args:
        first: the candidate under the contract's reading, as far as nothing else is known.
        again: builds it anew.
    """
    left_open = list(islice(_others(first.door), MOST))
    whole = any(f.others for f in (first.door.prediction, first.door.pictures)) or (
        bool(first.door.t_base.others) and not first.has("step")
    )
    if not left_open or _holds(first, whole):
        return first, []
    found = []
    for facts in left_open:  # and what one of them leaves open in turn
        with suppress(Broken):
            other = again(facts)
            if _holds(other, whole) and _is_shared(other, first):
                return other, []
            found.append(other)
            more = islice(_others(other.door), max(MOST - len(left_open), 0))
            left_open += [facts | each for each in more]
    fitting = [other for other in found if _holds(other, whole)]
    return first, fitting or found


def _others(door: Reading) -> Iterator[dict[str, Fact]]:
    """Every other combination of the values that are left open."""
    known = {name: (f.value, *f.others) for name, f in door.facts.items() if f.others}
    for values in islice(product(*known.values()), 1, None):
        chosen = dict(zip(known, values, strict=True))
        changed = {n: v for n, v in chosen.items() if v != getattr(door, n).value}
        yield {
            name: Fact(value, "behaviour", HOLDS_SO)
            if name in changed
            else replace(getattr(door, name), others=())
            for name, value in chosen.items()
        }


def _is_shared(other: Subject, first: Subject) -> bool:
    """True if only the count of t differs, and two methods agree on it; or which steps are visited,
    of which a list stands there."""
    before = first.door.facts
    changed = [n for n, fact in other.door.facts.items() if fact.value != before[n].value]
    if changed == ["visits"]:
        return True
    return changed == ["t_base"] and other.has("add_noise") and other.has("step")


def _holds(subject: Subject, whole: bool) -> bool:
    """True if every check of its single steps holds; the first that does not ends the reading.

    And, with `whole`, of its loss and its loop.
    """
    judged = [s for s in stages.ALL if whole or not (s.on_steps or {*s.needs} <= {*WHOLE})]
    with suppress(Broken, *NOT_COMPUTABLE):
        return all(c.passed for stage in judged for c in stage.of(subject, Oracle()))
    return False


def told(report: Report, first: Subject, others: list[tuple[Subject, Report]]) -> None:
    """Writes into the report on the first reading what other readings come to.

    If one of them is right, nothing is blamed and nothing passes. If all are wrong, it is the one
    whose faults have names, and of those the one with the fewest.
    """
    if report.passed:  # in the stages that are asked for
        return
    fitting = [pair for pair in others if pair[1].passed]
    if fitting:
        doors = [subject.door for subject, _ in fitting]
        stage = report.diagnoses[0].stage if report.diagnoses else "schedule"
        why = _undecided(report, first.door, doors)
        report.leave_open([c for c in report.checks if not c.passed], stage, why)
        report.diagnoses = []
        return
    by_first = report.said
    _, best = min([(None, report), *others], key=lambda pair: _faults(pair[1]))
    if best is not report:
        for name in ("checks", "diagnoses", "findings", "conventions", "not_offered", "readings"):
            setattr(report, name, getattr(best, name))
        report.readings = {
            name: fact | {"evidence": NAMED_SO} if fact["evidence"] == HOLDS_SO else fact
            for name, fact in report.readings.items()
        }
        text = f"by the contract's reading it is wrong too: {by_first}"
        report.checks.append(note(f"{report.checks[0].stage}/reading", text))


def _faults(report: Report) -> tuple[float, int, int]:
    """How many of its faults have no words at all, no name, and how many it has; none is worst."""
    found = report.diagnoses
    unnamed = [d for d in found if d.bug is None]
    silent = sum(d.formula is None or d.fitted for d in unnamed)
    return (silent if found else float("inf"), len(unnamed), len(found))


def _undecided(report: Report, first: Reading, doors: list[Reading]) -> str:
    """Both verdicts and the words that decide."""
    contract = {name: fact for door in doors for name, fact in _apart(first, door).items()}
    ways = [(replace(doors[0], **contract), report.said), *((d, "is right") for d in doors)]
    verdicts = "; ".join(f"{_way(door, [*contract])} it {verdict}" for door, verdict in ways)
    decides = " or ".join(_decides(door, [*contract]) for door, _ in ways)
    unsure = UNSURE.get(next(iter(contract), ""), "") if len(contract) == 1 else ""
    unsure = unsure or "neither its names nor its own calls say how it is called"
    return f"{unsure}: {verdicts}. Say {decides}"


def _apart(first: Reading, door: Reading) -> dict[str, Fact]:
    """The facts of the first reading where values chose others."""
    chosen = {n: f for n, f in door.facts.items() if f.rank == "behaviour"}
    return {n: first.facts[n] for n, f in chosen.items() if f.value != first.facts[n].value}


def _way(door: Reading, names: list[str]) -> str:
    """How it is called, as far as these facts say."""
    said = {"t_base": f"with t from {door.t_base.value}", "z": f"given {door.z.value}"}
    said["prediction"] = f"with a model that predicts {door.prediction.value}"
    said["visits"] = f"with {door.visits.value} visited"
    said["output"] = f"with {door.output.value},"
    said["pictures"] = f"with pictures in {door.pictures.value}"
    ways = [f"called as {door.call(n)}" if n in CONTRACT else said[n] for n in names]
    return ", ".join(ways)


def _decides(door: Reading, names: list[str]) -> str:
    """The words that make these facts sure."""
    said = {"t_base": f"t={door.t_base.value}", "z": f"z={int(door.z.value == ALWAYS)}"}
    said["prediction"] = f"prediction={door.prediction.value}"
    said["visits"] = f"visits={'listed' if door.visits.value == LISTED else 'all'}"
    said["output"] = next((f"output={k}" for k, v in HALVES.items() if v == door.output.value), "")
    said["pictures"] = next(f"pictures={k}" for k, v in RANGES.items() if v == door.pictures.value)
    words = [f"{n}={door.order(n)}" if n in CONTRACT else said[n] for n in names]
    return " ".join(f"--reading {word}" for word in words)
