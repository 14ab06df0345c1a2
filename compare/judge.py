"""One comparison from candidate to report: read the conventions, run the stages, name the fault."""

import contextlib
import io
import platform
import random
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch

from compare import (
    conventions,
    curves,
    forward,
    loss,
    mean,
    pipeline,
    prediction,
    sampling,
    schedule,
    timesteps,
    training,
    unet,
    variance,
)
from compare.candidate import Namesakes, Unloadable, brief, load
from compare.diagnose import Stage, diagnose, kind_of, mark_known
from compare.findings import Finding
from compare.mistakes import MISTAKES
from compare.oracle import Oracle, Setting
from compare.probe import usable
from compare.report import Check, Report, with_command
from compare.subject import Broken, Subject

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
Progress = Callable[[str, list[Check]], None]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps the caller's random state, and a candidate's prints and warnings off the screen."""
    numpy_state = np.random.get_state()  # noqa: NPY002 (candidates draw from it)
    python_state = random.getstate()
    threads = torch.get_num_threads()
    try:
        with (
            torch.random.fork_rng(devices=[]),
            torch.no_grad(),
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
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
    """The report on one candidate; never raises for what the candidate does."""
    began = time.perf_counter()
    own: Namesakes | None = None
    backends = candidate is None
    candidate = "scratch:DDPMScheduler" if backends else candidate
    name = candidate if isinstance(candidate, str) else _name_of(candidate)
    report = Report(name, [], level=level, seed=seed, versions=versions())
    with quiet():
        try:
            if isinstance(candidate, str):
                candidate, own = load(candidate)
            subject = Subject(candidate, name, level, seed, own, base)
            conventions.read(subject)
        except (Unloadable, Broken) as error:
            report.checks = [Check("load", "schedule", "error", str(error))]
        except Exception as error:
            report.checks = [Check("load", "schedule", "error", f"cannot be read: {brief(error)}")]
        else:
            _stages(report, subject, only, progress)
            if backends:
                _models(report, only, progress)
            if beside:
                _beside(report, subject)
    if command:
        report.checks = [with_command(c, f"{command} --only {c.stage}") for c in report.checks]
    report.seconds = time.perf_counter() - began
    return report


def _name_of(candidate: Any) -> str:
    return getattr(candidate, "name", None) or getattr(candidate, "__name__", None) or "candidate"


def _stages(report: Report, subject: Subject, only: str | None, progress: Progress | None) -> None:
    stages = {n: s for n, s in STEPS.items() if only in (None, n)}
    oracle, judged = Oracle(), {}
    shared: dict[str, Finding] = {}
    finite = True
    for name, stage in stages.items():
        if not finite:
            break
        subject.steps_pass = all(c.passed for c in report.checks)
        checks = _guarded(name, stage, subject, oracle)
        shared |= {f.id: f for f in mark_known(subject, {name: stage}, checks)}
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
        if only in (None, name):
            checks = _guarded(name, stage, report.level, report.seed)
            report.checks += checks
            if progress is not None:
                progress(name, checks)


def _guarded(name: str, stage: Callable[..., list[Check]], *given: Any) -> list[Check]:
    try:
        return stage(*given)
    except Broken as broken:
        return [Check(f"{name}/run", name, "error", str(broken))]
    except Exception as error:
        return [Check(f"{name}/run", name, "error", f"cannot be judged: {brief(error)}")]


def _usable(subject: Subject) -> bool:
    """Later stages need a finite table with some noise at every t."""
    try:
        return usable(subject, subject.setting)
    except Broken:
        return True


@lru_cache
def _column(name: str, kind: str, level: str, seed: int) -> Report:
    """The report on a backend, which stands beside others."""
    spec = f"{name}:DDIMScheduler" if kind == "ddim" else f"{name}:DDPMScheduler"
    report = Report(name, [], level=level, seed=seed)
    subject = Subject(load(spec)[0], name, level, seed)
    conventions.read(subject)
    _stages(report, subject, None, None)
    report.curves = {n: {name: values} for n, values in curves.measured(subject).items()}
    return report


def _beside(report: Report, subject: Subject) -> None:
    """Puts what scratch and Diffusers measure in the same check beside it, and their curves."""
    kind = kind_of(subject)
    columns = {n: _column(n, kind, report.level, report.seed) for n in ("scratch", "diffusers")}
    measured = {name: {c.id: c.measured for c in r.checks} for name, r in columns.items()}
    report.checks = [
        replace(c, beside={name: found.get(c.id) for name, found in measured.items()})
        for c in report.checks
    ]
    own = curves.measured(subject)
    for name, right in curves.expected(subject).items():
        series = {"oracle": right} | ({"candidate": own[name]} if name in own else {})
        for column in columns.values():
            series |= column.curves.get(name, {})
        report.curves[name] = series
