"""One comparison from candidate to report: read the conventions, run the stages, name the fault."""

import contextlib
import difflib
import io
import os
import platform
import random
import shlex
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch

from compare.backends import network as unet
from compare.backends import organ_swap as pipeline
from compare.backends import training
from compare.candidate.interrupts import Interrupted, interrupts_told
from compare.candidate.load import Unloadable, is_ours, load, our_line, raised
from compare.candidate.scheduler import Broken
from compare.candidate.shared_state import (
    Functions,
    Settings,
    put_back,
    replacements,
    shared_functions,
    told,
)
from compare.candidate.subject import Subject
from compare.candidate.surroundings import Surroundings
from compare.measure.probe import usable
from compare.mistakes import MISTAKES
from compare.oracle import Oracle, Setting
from compare.stages import forward, loss, mean, prediction, sampling, schedule, timesteps, variance
from compare.verdict import conventions, curves
from compare.verdict.diagnose import Stage, diagnose, kind_of, mark_known
from compare.verdict.diffusers import Finding, gone
from compare.verdict.report import Check, Report, with_command

STEPS: dict[str, Stage] = {
    "schedule": schedule.checks,
    "forward": forward.checks,
    "timesteps": timesteps.checks,
    "prediction": prediction.checks,
    "mean": mean.checks,
    "variance": variance.checks,
    "sampling": sampling.checks,
    "loss": loss.checks,
}
MODELS: dict[str, Callable[[str, int], list[Check]]] = {  # of both backends, without a candidate
    "unet": unet.checks,
    "training": training.checks,
    "pipeline": pipeline.checks,
}
SPECS = {
    f"{name}:{kind}Scheduler": name
    for name in ("scratch", "diffusers")
    for kind in ("DDPM", "DDIM")
}
Progress = Callable[[str, list[Check]], None]


class _Nowhere(io.TextIOBase):
    """Where a candidate prints to: it keeps nothing, however much comes."""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return len(text)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps the caller's state as it is, and a candidate's prints and warnings off the screen.

    Inside, torch has the settings that it starts with: what we compute does not depend on the
    caller's. A real Ctrl-C raises `Interrupted`.
    """
    folder, settings = os.getcwd(), Settings.now()
    with _same_random_state(), interrupts_told():
        Settings().put()
        try:
            with (
                torch.no_grad(),
                warnings.catch_warnings(),
                contextlib.redirect_stdout(_Nowhere()),
                contextlib.redirect_stderr(_Nowhere()),
            ):
                warnings.simplefilter("ignore")
                yield
        finally:
            settings.put()
            os.chdir(folder)


@contextlib.contextmanager
def _same_random_state() -> Iterator[None]:
    """Keeps every source of random numbers as it is, and the number of threads."""
    numpy_state = np.random.get_state()  # noqa: NPY002 (candidates draw from it)
    python_state = random.getstate()
    threads = torch.get_num_threads()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.set_num_threads(1)  # the probes are tiny: more threads only interfere
            yield
    finally:
        torch.set_num_threads(threads)
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)


def versions() -> dict[str, str]:
    """Versions that a report states."""
    found = {"python": platform.python_version(), "torch": torch.__version__}
    with contextlib.suppress(PackageNotFoundError):
        found["diffusers"] = version("diffusers")
    return found


def judge(
    candidate: Any,
    level: str,
    seed: int,
    only: str | None = None,
    progress: Progress | None = None,
    beside: bool = True,
    base: Setting | None = None,
    command: str = "",
) -> Report:
    """The report on one candidate; never raises for what the candidate does.

    `only` is a stage or the id of a check. Without a candidate both backends are judged.
    """
    began = time.perf_counter()
    backends = candidate is None
    candidate = "scratch:DDPMScheduler" if backends else candidate
    name = candidate if isinstance(candidate, str) else _name_of(candidate)
    itself = SPECS.get(name, "candidate")
    name = "scratch" if backends else name
    report = Report(name, [], level=level, seed=seed, versions=versions())
    own, before = Surroundings(settings=Settings.now()), shared_functions()
    with quiet():
        subject = None
        with _kept(report.checks, "load", "schedule"):
            if isinstance(candidate, str):
                candidate, own = load(candidate, own.settings)
            subject = Subject(candidate, name, level, seed, own, base)
            conventions.read(subject)
            _refuse_replacements(before)
        if subject is not None and not report.checks:
            stages = _needed([n for n in STEPS if _asked(only, n)])
            with _kept(report.checks, "run", "schedule"):
                _stages(report, subject, stages, _shown(only, progress))
            report.checks = [c for c in report.checks if _asked(only, c.stage) or not c.passed]
            if backends:
                _models(report, only, progress)
            if beside:
                failed: list[Check] = []
                with _kept(failed, "beside", "schedule"):
                    _beside(report, subject, itself, backends)
                report.checks += failed
        report = _trusted(report, before)
    if only is not None and "/" in only:
        _choose(report, only)
    if command:
        ids = [f"{command} --only {shlex.quote(c.id)}" for c in report.checks]
        report.checks = [with_command(c, text) for c, text in zip(report.checks, ids, strict=True)]
    report.seconds = time.perf_counter() - began
    return report


def _refuse_replacements(before: Functions) -> None:
    found = replacements(before)
    if found:
        raise Unloadable(told(found))


def _trusted(report: Report, before: Functions) -> Report:
    """The report, or why there is none where a function that we call was replaced meanwhile."""
    found = replacements(before)
    if not found:
        return report
    put_back(before)
    why = Check("load", "schedule", "error", told(found))
    return Report(
        report.candidate, [why], level=report.level, seed=report.seed, versions=report.versions
    )


def _name_of(candidate: Any) -> str:
    return getattr(candidate, "name", None) or getattr(candidate, "__name__", None) or "candidate"


def _asked(only: str | None, stage: str) -> bool:
    return only is None or only.partition("/")[0] == stage


def _needed(asked: Collection[str]) -> dict[str, Stage]:
    """The stages that are asked for; before sampling, which rests on the steps, all of theirs."""
    names = list(STEPS)
    before = names[: names.index("sampling")] if "sampling" in asked else []
    return {n: stage for n, stage in STEPS.items() if n in asked or n in before}


def _shown(only: str | None, progress: Progress | None) -> Progress | None:
    """Reports a stage that is asked for, and of the others what fails."""

    def report(stage: str, checks: list[Check]) -> None:
        told = checks if _asked(only, stage) else [c for c in checks if not c.passed]
        if told and progress is not None:
            progress(stage, told)

    return report


def _choose(report: Report, only: str) -> None:
    """Leaves one check of a report, and what fails before its stage can be judged."""
    found = [c for c in report.checks if c.id in (only, "load") or not _asked(only, c.stage)]
    if not found:
        near = difflib.get_close_matches(only, [c.id for c in report.checks], 1)
        hint = f"; did you mean {near[0]}?" if near else "; `--json FILE` lists all"
        text = f"there is no check {only!r}{hint}"
        found, report.diagnoses = [Check("only", only.partition("/")[0], "error", text)], []
    report.checks = found
    if report.passed:
        report.diagnoses = []


def _stages(
    report: Report, subject: Subject, stages: dict[str, Stage], progress: Progress | None
) -> None:
    oracle, judged = Oracle(), {}
    shared: dict[str, Finding] = {}
    finite = True
    for name, stage in stages.items():
        if not finite:
            break
        subject.steps_pass = all(c.passed for c in report.checks)
        checks = _guarded(name, stage, subject, oracle)
        shared |= {f.id: f for f in mark_known(subject, {name: stage}, checks, shared.values())}
        report.checks += checks
        judged[name] = stage
        if progress is not None and checks:
            progress(name, checks)
        if name == "schedule" and not _usable(subject):
            text = "alpha-bar is not finite or 1 - alpha-bar is 0: later stages are not judged"
            report.checks.append(Check("schedule/usable", name, "note", text))
            finite = False
    if not all(c.passed for c in report.checks):
        report.diagnoses = diagnose(subject, judged, report.checks, MISTAKES)
    report.findings = [f.plain() for f in shared.values()]
    report.conventions = subject.conventions
    report.not_offered = sorted(set(subject.not_offered))


def _models(report: Report, only: str | None, progress: Progress | None) -> None:
    """The stages that a scheduler alone does not have."""
    for name, stage in MODELS.items():
        if _asked(only, name):
            checks = _guarded(name, stage, report.level, report.seed)
            report.checks += checks
            if progress is not None:
                progress(name, checks)


def _guarded(name: str, stage: Callable[..., Iterable[Check]], *given: Any) -> list[Check]:
    """The checks of a stage; where one cannot be computed, those before it and an error."""
    checks: list[Check] = []
    with _kept(checks, f"{name}/run", name):
        for check in stage(*given):
            checks.append(check)  # not all at once: what a generator gives before it fails is kept
    return checks


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
        return usable(subject, subject.setting)
    except Broken:
        return True


@lru_cache
def _column(name: str, kind: str, level: str, seed: int, stages: tuple[str, ...]) -> Report:
    """The report on a backend, which stands beside others."""
    report = Report(name, [], level=level, seed=seed)
    subject = Subject(load(f"{name}:{kind.upper()}Scheduler")[0], name, level, seed)
    conventions.read(subject)
    _stages(report, subject, {stage: STEPS[stage] for stage in stages}, None)
    report.curves = {n: {name: values} for n, values in curves.measured(subject).items()}
    return report


def _beside(report: Report, subject: Subject, itself: str, backends: bool) -> None:
    """Puts what scratch and Diffusers measure in the same check beside it, and their curves.

    `itself` is the name of the backend that the report is about, or "candidate".
    """
    stages = tuple(_needed({c.stage for c in report.checks}))
    curves_of = {itself: {n: {itself: v} for n, v in curves.measured(subject).items()}}
    measured = {itself: {c.id: c.measured for c in report.checks}}
    for name in {"scratch", "diffusers"} - {itself}:
        column = _column(name, kind_of(subject), report.level, report.seed, stages)
        measured[name] = {c.id: c.measured for c in column.checks}
        curves_of[name] = column.curves
        if backends:
            _with_diffusers(report, column)
    report.checks = [
        replace(c, beside={name: measured[name].get(c.id) for name in ("scratch", "diffusers")})
        for c in report.checks
    ]
    for name, right in curves.expected(subject).items():
        report.curves[name] = {"oracle": right}
        for who in ("candidate", "scratch", "diffusers"):
            report.curves[name] |= curves_of.get(who, {}).get(name, {})
    report.gone = list(gone())


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
