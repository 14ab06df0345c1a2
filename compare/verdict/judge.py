"""One comparison from candidate to report: read the conventions, run the stages, name the fault."""

import difflib
import shlex
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from compare import stages
from compare.candidate import shared_state as shared
from compare.candidate.door.reading import Told, told_by
from compare.candidate.generators import seed_everything
from compare.candidate.load import Adapter, Unloadable, load
from compare.candidate.subject import NAMES, Subject
from compare.candidate.surroundings import Surroundings
from compare.candidate.text.ready import Ready, ready, unread
from compare.measure.check import Check
from compare.oracle import Setting
from compare.verdict import conventions
from compare.verdict.beside import SPECS, add, columns_begun, imported, set_beside
from compare.verdict.diffusers import gone
from compare.verdict.door.means import of_means
from compare.verdict.door.not_called import not_called
from compare.verdict.door.of_steps import of_steps
from compare.verdict.door.respaced import respaced
from compare.verdict.door.rivals import rivals, told
from compare.verdict.door.two_kinds import two_kinds
from compare.verdict.door.unknown import (
    continuous,
    counted_apart,
    other_embedding,
    without_table,
)
from compare.verdict.elsewhere import Begin, later
from compare.verdict.quiet import quiet
from compare.verdict.report import Report, by_stage, versions
from compare.verdict.staged import Progress, is_asked, judge_stages, kept, needed

# What a verdict says otherwise than its checks do, one after the other.
AMENDING: tuple[Callable[[Report, Subject], None], ...] = (
    two_kinds,
    of_means,
    of_steps,
    continuous,
    without_table,
    respaced,
    counted_apart,
    other_embedding,
)


def judge(
    candidate: Any,
    level: str,
    seed: int,
    only: str | None = None,
    progress: Progress | None = None,
    beside: bool = True,
    base: Setting | None = None,
    command: str = "",
    begin: Begin = later,
    reading: Told | None = None,
) -> Report:
    """The report on one candidate; never raises for what the candidate does.

    `only` is a stage or the id of a check. Without a candidate both backends are judged. `begin` is
    told what can be judged meanwhile (`elsewhere.begun`), and gives what its report is asked of.
    `reading` are facts of the candidate's door that are decided (`door.reading.told_by`).
    """
    began, both = time.perf_counter(), candidate is None
    candidate, name, itself = _called(candidate, beside)
    report = Report(name, [], level=level, seed=seed, versions=versions())
    own, before = Surroundings(settings=shared.Settings.now()), shared.shared_functions()
    adapter: Ready | None = None
    left: dict[str, list[str]] = {}
    with quiet():
        seed_everything(seed)
        with kept(report.checks, "load", "schedule"):
            if isinstance(candidate, str):
                candidate, own = load(candidate, own.settings)
            adapter = ready(candidate, name, NAMES)
            left = unread(candidate, adapter is None)
            candidate = candidate if adapter is None else adapter.make
            assumes = adapter is not None and adapter.assumes
            make = partial(Subject, candidate, name, level, seed, own, base, assumes)
            subject, others = _read(make, reading or {})
            _refuse_replacements(before)
            beside = beside and not subject.is_network
        if not report.checks:
            if beside:
                columns, models = columns_begun(begin, subject, itself, only, both)
            _judged_as_read(report, subject, others, only, progress)
            not_called(report, subject, left if only is None else {})
            report.gone = list(gone()) if itself == "diffusers" else []
            if beside:
                add(report, models, progress)
                set_beside(report, subject, itself, columns, both)
        report = _by_adapter(_trusted(report, before), adapter)
    return _finished(report, only, command, time.perf_counter() - began)


def _by_adapter(report: Report, adapter: Ready | None) -> Report:
    """The report, which says so if the candidate was judged by an adapter that was written here."""
    if adapter is None:
        return report
    told = f"by the adapter that `{adapter.command}` prints"
    evidence = "the names in its source"
    fact = {"value": adapter.command, "rank": "declared", "evidence": evidence, "others": []}
    report.readings = {"adapter": {**fact, "words": f"judged {told}"}, **report.readings}
    report.checks = [
        replace(c, message=f"{c.message}; it was tried {told}, to be edited")
        if c.id == "load" and c.status == "error"
        else c
        for c in report.checks
    ]
    return report


def _said_by(adapter: Adapter | None) -> Told:
    """What an adapter, handed over or made by a function, says of how it is called."""
    try:
        return told_by(() if adapter is None else adapter.reading, "the adapter")
    except ValueError as error:
        raise Unloadable(str(error).replace("--reading ", "its reading=", 1)) from None


def _called(candidate: Any, beside: bool) -> tuple[Any, str, str]:
    """The candidate, our own for none; its name; and which column of a report is its own. What
    stands beside it is imported first."""
    if candidate is None:
        return "scratch:DDPMScheduler", "scratch", "scratch"
    if beside:
        imported()
    name = candidate if isinstance(candidate, str) else _name_of(candidate)
    return candidate, name, SPECS.get(name, "candidate")


def _finished(report: Report, only: str | None, command: str, seconds: float) -> Report:
    """With the one check that is asked for alone, and how each is run alone."""
    if only is not None and "/" in only:
        _choose(report, only)
    if command:
        alone = [f"{command} --only {shlex.quote(check.id)}" for check in report.checks]
        report.checks = [replace(c, repro=r) for c, r in zip(report.checks, alone, strict=True)]
    return replace(report, seconds=seconds)


def _judged(report: Report, subject: Subject, only: str | None, progress: Progress | None) -> None:
    """The stages that are asked for, and of those before them what fails."""
    asked = [stage.name for stage in stages.ALL if is_asked(only, stage.name)]
    with kept(report.checks, "run", "schedule"):
        judge_stages(report, subject, needed(asked), _shown(only, progress))
    report.checks = [c for c in report.checks if is_asked(only, c.stage) or not c.passed]


def _read(make: Callable[[], Subject], reading: Told) -> tuple[Subject, list[Subject]]:
    """The candidate, its door and conventions read; and as it may be read as well."""

    def again(facts: Told) -> Subject:
        subject = make()
        conventions.read(subject, {**_said_by(subject.adapter), **reading, **facts})
        return subject

    return rivals(again({}), again)


def _judged_as_read(
    report: Report,
    subject: Subject,
    others: list[Subject],
    only: str | None,
    progress: Progress | None,
) -> None:
    """Judges it; and beside that what other readings of its door come to, if there are such."""
    _judged(report, subject, only, None if others else progress)
    reports = [replace(report, checks=[], diagnoses=[]) for _ in others]
    for other, read in zip(reports, others, strict=True):
        _judged(other, read, only, None)
    if others:
        told(report, subject, list(zip(others, reports, strict=True)))
    for amends in AMENDING:
        amends(report, subject)
    for stage, checks in by_stage(report.checks if others else []).items():
        if progress is not None:
            progress(stage, checks)


def _refuse_replacements(before: shared.Functions) -> None:
    found = shared.replacements(before)
    if found:
        raise Unloadable(shared.told(found))


def _trusted(report: Report, before: shared.Functions) -> Report:
    """The report, or why there is none where a function that we call was replaced meanwhile."""
    found = shared.replacements(before)
    if not found:
        return report
    shared.put_back(before)
    why = Check("load", "schedule", "error", shared.told(found))
    return Report(
        report.candidate, [why], level=report.level, seed=report.seed, versions=report.versions
    )


def _name_of(candidate: Any) -> str:
    """Its name, where that is a word: a property of a class is none, and one may raise."""
    for attribute in ("name", "__name__"):
        with suppress(Exception):
            said = getattr(candidate, attribute)
            if isinstance(said, str) and said:
                return said
    return "candidate"


def _shown(only: str | None, progress: Progress | None) -> Progress | None:
    """Reports a stage that is asked for, and of the others what fails."""

    def report(stage: str, checks: list[Check]) -> None:
        told = checks if is_asked(only, stage) else [c for c in checks if not c.passed]
        if told and progress is not None:
            progress(stage, told)

    return report


def _choose(report: Report, only: str) -> None:
    """Leaves one check of a report, and what fails before its stage can be judged."""
    stage, ids = only.partition("/")[0], [c.id for c in report.checks]
    found = [
        c for c in report.checks if c.id in (only, "load", "reading") or not is_asked(only, c.stage)
    ]
    judged = any(c.stage == stage and c.status != "note" for c in report.checks)
    if not found or (only not in ids and judged):
        near = difflib.get_close_matches(only, ids, 1)
        hint = f"; did you mean {near[0]}?" if near else "; `--json FILE` lists all"
        text = f"there is no check {only!r}{hint}"
        found, report.diagnoses = [Check("only", stage, "error", text)], []
    report.checks = found
    if report.passed:
        report.diagnoses = []
