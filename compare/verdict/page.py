"""The report as one static page: no script, no request; disagreements first, curves in SVG."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from compare.measure.check import Check
from compare.verdict.report import Report, by_stage, scope, stage_line
from workbench.page import render

COLOURS = {
    "oracle": "#1b9e77",
    "candidate": "#d95f02",
    "scratch": "#7570b3",
    "diffusers": "#666666",
}
# Where lines lie on each other, dashes show both.
DASHES = {"oracle": "", "candidate": "6 3", "scratch": "2 3", "diffusers": "1 5"}


@dataclass(frozen=True)
class Stage:
    """A stage as the page shows it: failing checks first."""

    line: str
    checks: list[Check]
    passed: bool


@dataclass(frozen=True)
class Line:
    """One curve of a figure: who it is of, and where its points lie."""

    who: str
    points: str
    colour: str
    dashes: str


@dataclass(frozen=True)
class Plot:
    """Curves over t in one figure."""

    name: str
    low: float
    high: float
    lines: list[Line]


def page(report: Report) -> str:
    """The whole document."""
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return render(
        Path(__file__).with_name("report.html"),
        title=f"Comparison of {report.candidate}",
        report=report,
        departs=[fact for fact in report.readings.values() if fact["words"]],
        plots=list(_plots(report.curves)),
        stages=sorted(map(_stage, by_stage(report.checks).values()), key=lambda s: s.passed),
        scope=list(scope(report)),
        made=f"level {report.level}, seed {report.seed}, {report.seconds:.1f} s; {versions}",
    )


def _stage(checks: list[Check]) -> Stage:
    ordered = sorted(checks, key=lambda check: check.passed)
    return Stage(stage_line(checks[0].stage, checks), ordered, all(c.passed for c in checks))


def _plots(curves: dict[str, dict[str, list[float]]]) -> Iterator[Plot]:
    """Figures of what has numbers."""
    for name, series in curves.items():
        points = [value for values in series.values() for value in values if _is_drawn(value)]
        if points:
            low, high = min(points), max(points)
            lines = [
                Line(who, _points(values, low, high), COLOURS[who], DASHES[who])
                for who, values in series.items()
            ]
            yield Plot(name, low, high, lines)


def _points(values: list[float], low: float, high: float) -> str:
    step, span = 560 / max(len(values) - 1, 1), (high - low) or 1.0
    return " ".join(
        f"{60 + i * step:.1f},{190 - 170 * (value - low) / span:.1f}"
        for i, value in enumerate(values)
        if _is_drawn(value)
    )


def _is_drawn(value: float) -> bool:
    return abs(value) < 1e30  # NaN is not
