"""The report as one static page: no script, no request; disagreements first, curves in SVG."""

from html import escape

from compare.verdict.report import STAGES, Check, Report, stage_line

COLOURS = {
    "oracle": "#1b9e77",
    "candidate": "#d95f02",
    "scratch": "#7570b3",
    "diffusers": "#666666",
}
DASHES = {"oracle": "", "candidate": "6 3", "scratch": "2 3", "diffusers": "1 5"}
STYLE = """
:root{color-scheme:light dark;--line:#8884;--bad:#c0392b;--good:#1e7b45}
body{font:16px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem}h2{font-size:1.15rem;margin-top:2rem}
.verdict{border-left:.4rem solid var(--good);padding:.6rem 1rem;background:#8881}
.verdict.bad{border-color:var(--bad)}
table{border-collapse:collapse;width:100%;font-size:.85rem}
th,td{text-align:left;vertical-align:top;padding:.3rem .5rem;border-bottom:1px solid var(--line)}
td.n{font-variant-numeric:tabular-nums;white-space:nowrap}
.differs,.error{color:var(--bad);font-weight:600}
code{font-size:.85em;overflow-wrap:anywhere}details{margin:.4rem 0}summary{cursor:pointer}
figure{margin:1rem 0}svg{width:100%;height:auto;max-width:40rem}.wide{overflow-x:auto}
"""


def page(report: Report) -> str:
    """The whole document."""
    bad = "" if report.passed else " bad"
    parts = [
        f"<p class='verdict{bad}'>{escape(report.verdict)}</p>",
        _diagnoses(report),
        _curves(report),
        _stages(report),
        _findings(report),
        _card(report),
    ]
    version = ", ".join(f"{k} {v}" for k, v in report.versions.items())
    title = f"Comparison of {report.candidate}"
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{escape(title)}</h1>{''.join(parts)}"
        f"<p><small>level {report.level}, seed {report.seed}, {report.seconds:.1f} s; "
        f"{escape(version)}</small></p></main></body></html>\n"
    )


def _diagnoses(report: Report) -> str:
    if not report.diagnoses:
        return ""
    rows = "".join(
        f"<li><strong>{escape(d.stage)}</strong>: {escape(d.explanation)} "
        f"[{escape(d.label)}]<br>Fix: {escape(d.fix)}</li>"
        for d in report.diagnoses
    )
    return f"<h2>What is wrong</h2><ol>{rows}</ol>"


def _stages(report: Report) -> str:
    """Failing stages first and open, passing ones folded."""
    found = []
    for stage in STAGES:
        checks = [c for c in report.checks if c.stage == stage]
        if checks:
            found.append((all(c.passed for c in checks), stage, checks))
    found.sort(key=lambda row: row[0])
    return "<h2>Every check</h2>" + "".join(_stage(*row) for row in found)


def _stage(passed: bool, stage: str, checks: list[Check]) -> str:
    checks = sorted(checks, key=lambda c: c.passed)
    rows = "".join(_row(check) for check in checks)
    names = ("check", "status", "measured", "allowed", "beside")
    head = f"<tr>{''.join(f'<th>{n}</th>' for n in names)}</tr>"
    return (
        f"<details{'' if passed else ' open'}>"
        f"<summary>{escape(stage_line(stage, checks))}</summary>"
        f"<div class='wide' tabindex='0'><table>{head}{rows}</table></div></details>"
    )


def _row(check: Check) -> str:
    beside = ", ".join(f"{k} {_number(v)}" for k, v in check.beside.items() if v is not None)
    notes = [
        ("input", check.input),
        ("allowed because", check.reason),
        ("alone", check.repro),
    ]
    more = "".join(f"<br><small>{k}: <code>{escape(v)}</code></small>" for k, v in notes if v)
    return (
        f"<tr><td>{escape(check.id)}: {escape(check.message)}{more}</td>"
        f"<td class='{check.status}'>{check.status}</td>"
        f"<td class='n'>{_number(check.measured)}</td>"
        f"<td class='n'>{_number(check.allowed)}</td><td class='n'>{escape(beside)}</td></tr>"
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _findings(report: Report) -> str:
    if not report.findings:
        return ""
    rows = "".join(
        f"<li><strong>{escape(f['id'])}</strong>: {escape(f['title'])}. {escape(f['effect'])}. "
        f"Diffusers {escape(f['versions'])}.<br><code>{escape(f['command'])}</code></li>"
        for f in report.findings
    )
    whose = "in" if report.companion else "shared with"
    return f"<h2>Findings {whose} Diffusers</h2><ul>{rows}</ul>"


def _card(report: Report) -> str:
    if not report.conventions:
        return ""
    rows = "".join(
        f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in report.conventions.items()
    )
    not_offered = escape("; ".join(report.not_offered))
    more = f"<p>Not offered: {not_offered}</p>" if not_offered else ""
    return f"<h2>Conventions</h2><table>{rows}</table>{more}"


def _curves(report: Report) -> str:
    if not report.curves:
        return ""
    return "<h2>Curves</h2>" + "".join(_plot(name, s) for name, s in report.curves.items())


def _plot(name: str, series: dict[str, list[float]]) -> str:
    """One figure over t; where lines lie on each other, dashes show both."""
    points = [v for values in series.values() for v in values if v == v and abs(v) < 1e30]
    if not points:
        return ""
    low, high = min(points), max(points)
    span = (high - low) or 1.0
    lines = []
    for who, values in series.items():
        step = 560 / max(len(values) - 1, 1)
        at = " ".join(
            f"{60 + i * step:.1f},{190 - 170 * (v - low) / span:.1f}"
            for i, v in enumerate(values)
            if v == v and abs(v) < 1e30
        )
        lines.append(
            f"<polyline points='{at}' fill='none' stroke='{COLOURS[who]}' stroke-width='2' "
            f"stroke-dasharray='{DASHES[who]}'/>"
        )
    legend = "".join(
        f"<text x='{70 + 130 * i}' y='222' fill='{COLOURS[who]}' font-size='13'>{who}</text>"
        for i, who in enumerate(series)
    )
    axes = (
        "<path d='M60 20V190H620' fill='none' stroke='currentColor'/>"
        + _text(55, 26, f"{high:.3g}", "end")
        + _text(55, 192, f"{low:.3g}", "end")
        + _text(620, 206, "t = T-1", "end")
        + _text(60, 206, "t = 0", "start")
    )
    label = escape(f"{name} over t, from {low:.3g} to {high:.3g}, of {', '.join(series)}")
    return (
        f"<figure><figcaption>{escape(name)}</figcaption>"
        f"<svg viewBox='0 0 640 230' role='img' aria-label='{label}'>{axes}{''.join(lines)}{legend}"
        "</svg></figure>"
    )


def _text(x: int, y: int, text: str, anchor: str) -> str:
    place = f"x='{x}' y='{y}' text-anchor='{anchor}'"
    return f"<text {place} font-size='11' fill='currentColor'>{text}</text>"
