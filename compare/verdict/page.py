"""The report as one static page: no script, no request; disagreements first, curves in SVG."""

from compare.measure.check import Check
from compare.verdict.report import Diagnosis, Report, by_stage, scope, stage_line
from workbench.page import (
    BREAK,
    Html,
    aside,
    details,
    document,
    figure,
    joined,
    listed,
    number,
    pairs,
    section,
    table,
    tag,
    text,
    verdict,
)

COLOURS = {
    "oracle": "#1b9e77",
    "candidate": "#d95f02",
    "scratch": "#7570b3",
    "diffusers": "#666666",
}
DASHES = {"oracle": "", "candidate": "6 3", "scratch": "2 3", "diffusers": "1 5"}


def page(report: Report) -> str:
    """The whole document."""
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    made = f"level {report.level}, seed {report.seed}, {report.seconds:.1f} s; {versions}"
    return document(
        f"Comparison of {report.candidate}",
        verdict(report.verdict, report.passed),
        *_readings(report),
        *_diagnoses(report),
        *_curves(report),
        _stages(report),
        *_findings(report),
        *_card(report),
        *map(text, scope(report)),
        aside(made),
    )


def _readings(report: Report) -> list[Html]:
    """How it is called, where that is not as in the contract."""
    departs = [fact for fact in report.readings.values() if fact["words"]]
    lines = [f"{fact['words']} ({fact['rank']}: {fact['evidence']})" for fact in departs]
    return [section("How it is called", listed(lines))] if lines else []


def _diagnoses(report: Report) -> list[Html]:
    if not report.diagnoses:
        return []
    return [section("What is wrong", listed(map(_diagnosis, report.diagnoses), ordered=True))]


def _diagnosis(found: Diagnosis) -> Html:
    said = f": {found.explanation} [{found.label}]"
    formula = (BREAK, f"Formula: {found.beside}") if found.beside else ()
    return joined(tag("strong", found.stage), said, *formula, BREAK, f"Fix: {found.fix}")


def _stages(report: Report) -> Html:
    """Failing stages first and open, passing ones folded."""
    ordered = sorted(by_stage(report.checks).values(), key=_all_passed)
    return section("Every check", *map(_stage, ordered))


def _all_passed(checks: list[Check]) -> bool:
    return all(check.passed for check in checks)


def _stage(checks: list[Check]) -> Html:
    rows = map(_row, sorted(checks, key=lambda check: check.passed))
    return details(
        stage_line(checks[0].stage, checks),
        table(("check", "status", "measured", "allowed", "beside"), rows),
        shown=not _all_passed(checks),
    )


def _row(check: Check) -> tuple[str, ...]:
    beside = ", ".join(f"{k} {_digits(v)}" for k, v in check.beside.items() if v is not None)
    notes = [
        ("input", check.input),
        ("allowed because", check.reason),
        ("alone", check.repro),
    ]
    more = [joined(BREAK, tag("small", f"{k}: ", tag("code", v))) for k, v in notes if v]
    return (
        joined(f"{check.id}: {check.message}", *more),
        tag("span", check.status, class_=check.status),
        number(_digits(check.measured)),
        number(_digits(check.allowed)),
        number(beside),
    )


def _digits(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _findings(report: Report) -> list[Html]:
    if not report.findings:
        return []
    whose = "in" if report.companion else "shared with"
    return [section(f"Findings {whose} Diffusers", listed(map(_finding, report.findings)))]


def _finding(found: dict[str, str]) -> Html:
    said = f": {found['title']}. {found['effect']}. Diffusers {found['versions']}."
    return joined(tag("strong", found["id"]), said, BREAK, tag("code", found["command"]))


def _card(report: Report) -> list[Html]:
    if not report.conventions:
        return []
    not_offered = "; ".join(report.not_offered)
    more = [text(f"Not offered: {not_offered}")] if not_offered else []
    return [section("Conventions", pairs(report.conventions.items()), *more)]


def _curves(report: Report) -> list[Html]:
    drawn = [_plot(name, series) for name, series in report.curves.items()]
    return [section("Curves", *filter(None, drawn))] if drawn else []


def _plot(name: str, series: dict[str, list[float]]) -> Html | None:
    """One figure over t; where lines lie on each other, dashes show both."""
    points = [v for values in series.values() for v in values if _is_drawn(v)]
    if not points:
        return None
    low, high = min(points), max(points)
    lines = [_line(who, values, low, high) for who, values in series.items()]
    legend = [
        tag("text", who, x=f"{70 + 130 * i}", y="222", fill=COLOURS[who], font_size="13")
        for i, who in enumerate(series)
    ]
    axes = (
        tag("path", d="M60 20V190H620", fill="none", stroke="currentColor"),
        _label(55, 26, f"{high:.3g}", "end"),
        _label(55, 192, f"{low:.3g}", "end"),
        _label(620, 206, "t = T-1", "end"),
        _label(60, 206, "t = 0", "start"),
    )
    said = f"{name} over t, from {low:.3g} to {high:.3g}, of {', '.join(series)}"
    attributes = {"viewBox": "0 0 640 230", "role": "img", "aria-label": said}
    return figure(tag("svg", *axes, *lines, *legend, **attributes), name, above=True)


def _is_drawn(value: float) -> bool:
    return abs(value) < 1e30  # NaN is not


def _line(who: str, values: list[float], low: float, high: float) -> Html:
    step, span = 560 / max(len(values) - 1, 1), (high - low) or 1.0
    at = " ".join(
        f"{60 + i * step:.1f},{190 - 170 * (v - low) / span:.1f}"
        for i, v in enumerate(values)
        if _is_drawn(v)
    )
    return tag(
        "polyline",
        points=at,
        fill="none",
        stroke=COLOURS[who],
        stroke_width="2",
        stroke_dasharray=DASHES[who],
    )


def _label(x: int, y: int, words: str, anchor: str) -> Html:
    place = {"x": f"{x}", "y": f"{y}", "text_anchor": anchor}
    return tag("text", words, font_size="11", fill="currentColor", **place)
