"""What stands beside a candidate: both backends in the stages that judge it, and their networks."""

from dataclasses import replace
from functools import lru_cache, partial
from itertools import chain

from compare import backends, stages
from compare.candidate.load import load
from compare.candidate.subject import Subject
from compare.measure.check import Check
from compare.oracle.samplers import ALL as SAMPLERS
from compare.oracle.samplers import BY_NAME
from compare.stages.stage import Stage
from compare.verdict import conventions, curves
from compare.verdict.diffusers import gone
from compare.verdict.elsewhere import Begin, Work
from compare.verdict.report import Report, by_stage
from compare.verdict.staged import (
    Progress,
    is_asked,
    judge_stages,
    kept,
    needed,
    read_stage,
    usable,
)

SPECS = {
    f"{name}:{sampler.backend}": name
    for name in ("scratch", "diffusers")
    for sampler in SAMPLERS
    if sampler.backend is not None
}
Curves = dict[str, dict[str, list[float]]]


def models_of_backends(only: str | None, level: str, seed: int) -> Report:
    """The stages that a scheduler alone does not have."""
    asked = [stage for stage in backends.ALL if is_asked(only, stage.name)]
    judged = [read_stage(stage.name, stage.checks(level, seed)) for stage in asked]
    return Report("models", list(chain.from_iterable(judged)))


def add(report: Report, work: Work | None, progress: Progress | None) -> None:
    """Adds the checks of what was judged meanwhile, if anything was."""
    more = [] if work is None else work().checks
    report.checks += more
    for stage, checks in by_stage(more).items():
        if progress is not None:
            progress(stage, checks)


def imported() -> None:
    """Diffusers' schedulers, before a candidate puts others in the place of modules that they look
    for."""
    from diffusers import DDIMScheduler, DDPMScheduler  # noqa: F401


def _imported_whole() -> None:
    """All of Diffusers that both backends are judged with."""
    from diffusers import UNet2DModel  # noqa: F401

    imported()


def columns_begun(
    begin: Begin, subject: Subject, itself: str, only: str | None, both: bool
) -> tuple[dict[str, Work], Work | None]:
    """What the backends that stand beside a candidate do in the stages that judge it, and with
    `both` what a scheduler alone does not have."""
    names = [stage.name for stage in stages.ALL if is_asked(only, stage.name)]
    asked = tuple(stage for stage in needed(names) if stage.is_met(subject))
    asked = asked if usable(subject) else (stages.SCHEDULE,)
    kind = BY_NAME[subject.setting.sampler].backend
    level, seed = subject.level, subject.seed
    judged = partial(_column, kind=kind, level=level, seed=seed, asked=asked)
    others = sorted({"scratch", "diffusers"} - {itself}) if kind is not None else []
    works: list[Work] = [partial(judged, name) for name in others]
    if both:
        works.append(partial(models_of_backends, only, level, seed))
    answers = begin(*works, first=_imported_whole if both else imported)
    return dict(zip(others, answers, strict=False)), answers[-1] if both else None


@lru_cache
def _column(name: str, kind: str, level: str, seed: int, asked: tuple[Stage, ...]) -> Report:
    """The report on a backend, which stands beside others."""
    report = Report(name, [], level=level, seed=seed)
    subject = Subject(load(f"{name}:{kind}")[0], name, level, seed)
    conventions.read(subject)
    judge_stages(report, subject, asked, None)
    report.gone = list(gone()) if name == "diffusers" else []
    report.curves = {n: {name: values} for n, values in curves.measured(subject).items()}
    return report


def set_beside(
    report: Report, subject: Subject, itself: str, columns: dict[str, Work], both: bool
) -> None:
    """Sets both backends beside the candidate; what fails in it is one more check."""
    failed: list[Check] = []
    with kept(failed, "beside", "schedule"):
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
