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
from compare.measure.check import Check, note
from compare.oracle import Oracle
from compare.stages.embedding import DIMS
from compare.stages.loop import ends
from compare.verdict.report import Diagnosis, Report

UNSURE = {
    "prediction": "what its model predicts is not sure",
    "pictures": "in what range its pictures are is not sure",
    "t_base": "what its t counts from is not sure",
}
OF_STEPS = ("sampling/loop/steps", "sampling/loop/weight-of")  # beginnings of ids
EARLY, THROWN = "2-early", "79-thrown"
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
    for facts in left_open:
        with suppress(Broken):
            other = again(facts)
            if _holds(other, whole) and _is_shared(other, first):
                return other, []
            found.append(other)
    fitting = [other for other in found if _holds(other, whole)]
    return first, fitting or found


def _others(door: Reading) -> Iterator[dict[str, Fact]]:
    """Every other combination of the values that are left open."""
    known = {name: (f.value, *f.others) for name, f in door.facts.items() if f.others}
    for values in islice(product(*known.values()), 1, None):
        chosen = dict(zip(known, values, strict=True))
        changed = {n: v for n, v in chosen.items() if v != getattr(door, n).value}
        yield {
            name: Fact(value, "behaviour", "every check holds so, and not by the contract")
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
        undecided = _undecided(report, first.door, doors)
        report.checks = [c for c in report.checks if c.passed] + [undecided]
        report.diagnoses = []
        return
    by_first = _words(report)
    _, best = min([(None, report), *others], key=lambda pair: _faults(pair[1]))
    if best is not report:
        for name in ("checks", "diagnoses", "findings", "conventions", "not_offered", "readings"):
            setattr(report, name, getattr(best, name))
        text = f"by the contract's reading it is wrong too: {by_first}"
        report.checks.append(note(f"{report.checks[0].stage}/reading", text))


def without_table(report: Report, subject: Subject) -> None:
    """Blames nothing in what shows no table, and may be right by another than the usual one.

    What has a name or a formula by the usual one is told: by another it would hardly have. Then of
    a loop's steps nothing is blamed, if they have none.
    """
    if not subject.table_is_assumed or report.exit_status != 1:
        return
    wrong, named = [c for c in report.checks if not c.passed], []
    stage = next(c.stage for c in wrong if c.status == "differs")
    if stage == "embedding":  # which no table is needed for
        return
    unnamed = [d for d in report.diagnoses if d.bug is None and (d.formula is None or d.fitted)]
    message = next(c.message for c in wrong if c.status == "differs")
    fitted = f"differs from the papers in {stage}: {message}"
    words = fitted if any(d.fitted for d in unnamed) else _words(report)
    if len(unnamed) < len(report.diagnoses):
        named = [d for d in report.diagnoses if d not in unnamed]
        unnamed = [d for d in unnamed if d.stage == "sampling"]
        wrong = [c for c in wrong if c.id.startswith(OF_STEPS)]
        if not unnamed or not wrong:
            return
        words = f"differs from the papers in sampling: {unnamed[0].explanation}"
    setting = subject.setting
    betas = f"betas {setting.beta_start:g}..{setting.beta_end:g}"
    text = "no table is shown under a name such as alphas_cumprod, alpha_bar or ab, and by the "
    text += f"usual one, linear {betas} with T = {setting.num_train_timesteps}, it {words}. "
    text += "If your code goes by another alpha-bar, say it in an Adapter (`ddpm adapt` prints "
    text += "one): alpha_bar=lambda: YOURS, (T,) numbers for t = 0..T-1"
    undecided = Check("reading", stage, "error", text)
    report.checks = [c for c in report.checks if c not in wrong] + [undecided]
    report.diagnoses = named


def other_embedding(report: Report) -> None:
    """Blames nothing in an embedding of another kind: no sinusoids by any convention or mistake."""
    if any(d.bug for d in report.diagnoses if d.stage == "embedding"):
        return
    wrong = [c for c in report.checks if c.stage == "embedding" and not c.passed]
    narrow = f"embedding/{min(DIMS)}/"  # for layers above sinusoids it may be too narrow
    others = [c.id for c in wrong if not c.id.startswith(narrow)]
    if not wrong or any(not id.endswith("/waves") for id in others or [c.id for c in wrong]):
        return
    text = "its embedding is no table of sinusoids of t, 10000^(-i / half), by any convention or "
    text += f"mistake that is known: {wrong[0].message}. Fourier features and learned vectors are "
    undecided = Check("reading", "embedding", "error", text + "not judged")
    report.checks = [c for c in report.checks if c not in wrong] + [undecided]
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


def _faults(report: Report) -> tuple[float, int]:
    """How many of its faults have no name, and how many it has; none at all is worst."""
    found = report.diagnoses
    return (sum(d.bug is None for d in found) if found else float("inf"), len(found))


def _undecided(report: Report, first: Reading, doors: list[Reading]) -> Check:
    """Both verdicts and the words that decide, as a check that could not be run."""
    contract = {name: fact for door in doors for name, fact in _apart(first, door).items()}
    ways = [(replace(doors[0], **contract), _words(report)), *((d, "is right") for d in doors)]
    verdicts = "; ".join(f"{_way(door, [*contract])} it {verdict}" for door, verdict in ways)
    decides = " or ".join(_decides(door, [*contract]) for door, _ in ways)
    unsure = UNSURE.get(next(iter(contract), ""), "") if len(contract) == 1 else ""
    unsure = unsure or "neither its names nor its own calls say how it is called"
    text = f"{unsure}: {verdicts}. Say {decides}"
    stage = report.diagnoses[0].stage if report.diagnoses else "schedule"
    return Check("reading", stage, "error", text)


def _words(report: Report) -> str:
    return report.verdict.removeprefix(f"{report.candidate} ")


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
