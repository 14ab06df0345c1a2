"""One comparison from candidate to report: read the conventions, run the stages, name the fault."""

import contextlib
import difflib
import shlex
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from functools import lru_cache, partial
from itertools import chain
from typing import Any

from compare import backends, stages
from compare.candidate.door.reading import Told
from compare.candidate.interrupts import Interrupted
from compare.candidate.load import Broken, Unloadable, is_ours, load, our_line, raised
from compare.candidate.shared_state import (
    Functions,
    Settings,
    put_back,
    replacements,
    shared_functions,
)
from compare.candidate.shared_state import told as told_of_functions
from compare.candidate.subject import Subject
from compare.candidate.surroundings import Surroundings
from compare.measure.check import Check, note
from compare.mistakes import MISTAKES
from compare.oracle import Oracle, Setting
from compare.oracle.samplers import ALL as SAMPLERS
from compare.oracle.samplers import BY_NAME
from compare.stages.stage import Stage
from compare.verdict import conventions, curves
from compare.verdict.diagnose import diagnose, mark_known
from compare.verdict.diffusers import Finding, gone
from compare.verdict.door.rivals import rivals, told, without_table
from compare.verdict.elsewhere import Work
from compare.verdict.quiet import quiet
from compare.verdict.report import Report, by_stage, versions

SPECS = {
    f"{name}:{sampler.backend}": name
    for name in ("scratch", "diffusers")
    for sampler in SAMPLERS
    if sampler.backend is not None
}
Progress = Callable[[str, list[Check]], None]
Curves = dict[str, dict[str, list[float]]]


def judge(
    candidate: Any,
    level: str,
    seed: int,
    only: str | None = None,
    progress: Progress | None = None,
    beside: bool = True,
    base: Setting | None = None,
    command: str = "",
    begin: Callable[[Work], Work] = lambda work: work,
    reading: Told | None = None,
) -> Report:
    """The report on one candidate; never raises for what the candidate does.

    `only` is a stage or the id of a check. Without a candidate both backends are judged. `begin` is
    told what can be judged meanwhile (`elsewhere.begun`), and gives what its report is asked of.
    `reading` are facts of the candidate's door that are decided (`door.reading.told_by`).
    """
    began = time.perf_counter()
    both = candidate is None
    candidate, name, itself = _called(candidate)
    report = Report(name, [], level=level, seed=seed, versions=versions())
    own, before = Surroundings(settings=Settings.now()), shared_functions()
    with quiet():
        with _kept(report.checks, "load", "schedule"):
            if isinstance(candidate, str):
                candidate, own = load(candidate, own.settings)
            make = partial(Subject, candidate, name, level, seed, own, base)
            subject, others = _read(make, reading or {})
            _refuse_replacements(before)
        if not report.checks:
            models = begin(lambda: _models(only, level, seed)) if both else None
            columns = _begun(begin, subject, itself, only) if beside else None
            _judged_as_read(report, subject, others, only, progress)
            _add(report, models, progress)
            report.gone = list(gone()) if itself == "diffusers" else []
            if columns is not None:
                _beside(report, subject, itself, columns, both)
        report = _trusted(report, before)
    _finish(report, only, command)
    return replace(report, seconds=time.perf_counter() - began)


def _called(candidate: Any) -> tuple[Any, str, str]:
    """The candidate, our own for none; its name; and which column of a report is its own."""
    if candidate is None:
        return "scratch:DDPMScheduler", "scratch", "scratch"
    name = candidate if isinstance(candidate, str) else _name_of(candidate)
    return candidate, name, SPECS.get(name, "candidate")


def _finish(report: Report, only: str | None, command: str) -> None:
    """Leaves the one check that is asked for, and says how each is run alone."""
    if only is not None and "/" in only:
        _choose(report, only)
    if command:
        alone = [f"{command} --only {shlex.quote(check.id)}" for check in report.checks]
        report.checks = [replace(c, repro=r) for c, r in zip(report.checks, alone, strict=True)]


def _judged(report: Report, subject: Subject, only: str | None, progress: Progress | None) -> None:
    """The stages that are asked for, and of those before them what fails."""
    asked = [stage.name for stage in stages.ALL if _asked(only, stage.name)]
    with _kept(report.checks, "run", "schedule"):
        _stages(report, subject, _needed(asked), _shown(only, progress))
    report.checks = [c for c in report.checks if _asked(only, c.stage) or not c.passed]


def _read(make: Callable[[], Subject], reading: Told) -> tuple[Subject, list[Subject]]:
    """The candidate, its door and conventions read; and as it may be read as well."""

    def again(facts: Told) -> Subject:
        subject = make()
        conventions.read(subject, {**reading, **facts})
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
        told(report, list(zip(others, reports, strict=True)))
    without_table(report, subject)
    for stage, checks in by_stage(report.checks if others else []).items():
        if progress is not None:
            progress(stage, checks)


def _refuse_replacements(before: Functions) -> None:
    found = replacements(before)
    if found:
        raise Unloadable(told_of_functions(found))


def _trusted(report: Report, before: Functions) -> Report:
    """The report, or why there is none where a function that we call was replaced meanwhile."""
    found = replacements(before)
    if not found:
        return report
    put_back(before)
    why = Check("load", "schedule", "error", told_of_functions(found))
    return Report(
        report.candidate, [why], level=report.level, seed=report.seed, versions=report.versions
    )


def _name_of(candidate: Any) -> str:
    return getattr(candidate, "name", None) or getattr(candidate, "__name__", None) or "candidate"


def _asked(only: str | None, stage: str) -> bool:
    return only is None or only.partition("/")[0] == stage


def _needed(asked: Collection[str]) -> tuple[Stage, ...]:
    """The stages that are asked for; before one that rests on the steps, all of theirs."""
    names = [stage.name for stage in stages.ALL]
    resting = [i for i, stage in enumerate(stages.ALL) if stage.on_steps and stage.name in asked]
    before = names[: max(resting, default=0)]
    return tuple(stage for stage in stages.ALL if stage.name in (*asked, *before))


def _shown(only: str | None, progress: Progress | None) -> Progress | None:
    """Reports a stage that is asked for, and of the others what fails."""

    def report(stage: str, checks: list[Check]) -> None:
        told = checks if _asked(only, stage) else [c for c in checks if not c.passed]
        if told and progress is not None:
            progress(stage, told)

    return report


def _choose(report: Report, only: str) -> None:
    """Leaves one check of a report, and what fails before its stage can be judged."""
    found = [
        c for c in report.checks if c.id in (only, "load", "reading") or not _asked(only, c.stage)
    ]
    if not found:
        near = difflib.get_close_matches(only, [c.id for c in report.checks], 1)
        hint = f"; did you mean {near[0]}?" if near else "; `--json FILE` lists all"
        text = f"there is no check {only!r}{hint}"
        found, report.diagnoses = [Check("only", only.partition("/")[0], "error", text)], []
    report.checks = found
    if report.passed:
        report.diagnoses = []


def _stages(
    report: Report, subject: Subject, asked: tuple[Stage, ...], progress: Progress | None
) -> None:
    """Reads the stages in order, marks what is known of Diffusers, and names what is left."""
    oracle, shared = Oracle(), dict[str, Finding]()
    report.absent = {s.name: s.lacking(subject) for s in asked if not s.is_met(subject)}
    for stage in asked:
        if stage.on_steps:
            subject.steps_pass = all(c.passed for c in report.checks)
        checks = _guarded(stage.name, stage.of(subject, oracle))
        shared |= {f.id: f for f in mark_known(subject, stage, checks, shared.values())}
        report.checks += checks
        if progress is not None and checks:
            progress(stage.name, checks)
        if stage is stages.SCHEDULE and not _usable(subject):
            unusable = "alpha-bar is not finite or 1 - alpha-bar is 0"
            later = {s.name: unusable for s in asked if s is not stage}
            report.absent = {**later, **report.absent}
            text = f"{unusable}: later stages are not judged"
            report.checks.append(note("schedule/usable", text, reason=""))
            asked = (stage,)
            break
    if not all(c.passed for c in report.checks):
        report.diagnoses = diagnose(subject, asked, report.checks, MISTAKES)
    report.checks = [replace(check, compared=None) for check in report.checks]
    report.findings = [f.plain() for f in shared.values()]
    report.readings = subject.door.plain()
    report.conventions = subject.conventions
    report.not_offered = sorted(set(subject.not_offered))


def _models(only: str | None, level: str, seed: int) -> Report:
    """The stages that a scheduler alone does not have."""
    asked = [stage for stage in backends.ALL if _asked(only, stage.name)]
    judged = [_guarded(stage.name, stage.checks(level, seed)) for stage in asked]
    return Report("models", list(chain.from_iterable(judged)))


def _add(report: Report, work: Work | None, progress: Progress | None) -> None:
    more = [] if work is None else work().checks
    report.checks += more
    for stage, checks in by_stage(more).items():
        if progress is not None:
            progress(stage, checks)


def _guarded(name: str, checks: Iterable[Check]) -> list[Check]:
    """What a stage yields, as a report tells it; what ends it is a check too."""
    told: list[Check] = []
    with _kept(told, f"{name}/run", name):
        for check in checks:
            # not all at once: what comes before a failure is kept
            told.append(check.told())
    return told


@contextlib.contextmanager
def _kept(checks: list[Check], name: str, stage: str) -> Iterator[None]:
    """Adds what fails inside as one more check, after those that there are."""
    try:
        yield
    except Interrupted:
        raise
    except BaseException as error:
        checks.append(_failed(name, stage, error))


def _failed(name: str, stage: str, error: BaseException) -> Check:
    """An error as a check: what the candidate did instead of answering, or a fault of ours."""
    if isinstance(error, Unloadable | Broken):
        text = str(error)
    elif is_ours(error):
        text = f"compare itself failed here ({our_line(error)}); please report it"
    else:
        text = f"it raises {raised(error)}"
    return Check(name, stage, "error", text)


def _usable(subject: Subject) -> bool:
    """Later stages need a finite table with some noise at every t."""
    try:
        return subject.scheduler().usable()
    except Broken:
        return True


@lru_cache
def _column(name: str, kind: str, level: str, seed: int, asked: tuple[Stage, ...]) -> Report:
    """The report on a backend, which stands beside others."""
    report = Report(name, [], level=level, seed=seed)
    subject = Subject(load(f"{name}:{kind}")[0], name, level, seed)
    conventions.read(subject)
    _stages(report, subject, asked, None)
    report.gone = list(gone()) if name == "diffusers" else []
    report.curves = {n: {name: values} for n, values in curves.measured(subject).items()}
    return report


def _begun(
    begin: Callable[[Work], Work], subject: Subject, itself: str, only: str | None
) -> dict[str, Work]:
    """What the backends that stand beside a candidate do in the stages that judge it."""
    names = [stage.name for stage in stages.ALL if _asked(only, stage.name)]
    asked = tuple(stage for stage in _needed(names) if stage.is_met(subject))
    asked = asked if _usable(subject) else (stages.SCHEDULE,)
    kind = BY_NAME[subject.setting.sampler].backend
    judged = partial(_column, kind=kind, level=subject.level, seed=subject.seed)
    others = {"scratch", "diffusers"} - {itself} if kind is not None else set()
    return {name: begin(partial(judged, name, asked=asked)) for name in sorted(others)}


def _beside(
    report: Report, subject: Subject, itself: str, columns: dict[str, Work], both: bool
) -> None:
    """Sets both backends beside the candidate; what fails in it is one more check."""
    failed: list[Check] = []
    with _kept(failed, "beside", "schedule"):
        found = {name: work() for name, work in columns.items()}
        measured = {itself: {c.id: c.measured for c in report.checks}}
        measured |= {name: {c.id: c.measured for c in r.checks} for name, r in found.items()}
        if both:
            _with_diffusers(report, found["diffusers"])
        names = ("scratch", "diffusers")
        report.checks = [
            replace(c, beside={n: measured.get(n, {}).get(c.id) for n in names})
            for c in report.checks
        ]
        report.curves = _curves(subject, itself, found)
        if "diffusers" in found:
            report.gone = found["diffusers"].gone
    report.checks += failed


def _curves(subject: Subject, itself: str, columns: dict[str, Report]) -> Curves:
    """The curves of the oracle, of the candidate or the backend `itself`, and of the others."""
    series = {name: column.curves for name, column in columns.items()}
    series[itself] = {n: {itself: v} for n, v in curves.measured(subject).items()}
    found: Curves = {}
    for name, right in curves.expected(subject).items():
        found[name] = {"oracle": right}
        for who in ("candidate", "scratch", "diffusers"):
            found[name] |= series.get(who, {}).get(name, {})
    return found


def _with_diffusers(report: Report, theirs: Report) -> None:
    """Adds to the report on scratch what Diffusers does, and where it departs."""
    report.findings = theirs.findings
    report.diagnoses += theirs.diagnoses
    wrong = [replace(c, id=f"{c.id}/diffusers") for c in theirs.checks if not c.passed]
    report.checks += wrong
    name = f"Diffusers {report.versions.get('diffusers', '')}".strip()
    if not wrong:
        known = f", but for {len(theirs.findings)} known findings" if theirs.findings else ""
        report.companion = f"{name} agrees too{known}."
