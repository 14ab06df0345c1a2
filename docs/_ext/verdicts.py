"""Pages written from what `compare` says: report, bounds, mistakes, findings, exercises."""

import json
import re
from pathlib import Path
from typing import Any

from pair import GENERATED

from compare import backends, stages
from compare.mistakes import Mistake

STAGE_PAGES = {stage.name: stage.page for stage in (*stages.ALL, *backends.ALL)}
STAGES = list(STAGE_PAGES)


# Mistakes whose right formula is on another page than that of their stage.
ELSEWHERE = {"68": "reverse-step", "68-divide": "reverse-step", "106": "randomness"}


def cell(value: Any) -> str:
    """Text for one cell of a table: no pipes, no line breaks, nothing that Markdown reads."""
    parts = " ".join(("" if value is None else str(value)).split()).split("`")
    for i in range(0, len(parts), 2):  # between backquotes text is code, where only a pipe ends it
        for mark in ("\\", "*", "_", "<", "$", "[", "{"):
            parts[i] = parts[i].replace(mark, "\\" + mark)
    return "`".join(parts).replace("|", "\\|")


def figure(value: float | None) -> str:
    """A measured number in three digits; a dash where there is none."""
    return "–" if value is None else f"{value:.3g}"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def fitting(text: str) -> str:
    """A table of sentences: it shrinks with the window, where others scroll."""
    return f"::::{{container}} fits\n\n{text}\n::::\n"


def dropdown(title: str, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A folded table of sentences."""
    return f":::::{{dropdown}} {title}\n" + fitting(table(head, rows)) + ":::::\n"


def report_page(report: dict[str, Any]) -> str:
    """The report on scratch, stage by stage; what differs is open, what holds is folded."""
    versions = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    out = [f"**{cell(report['verdict'])}** ({versions}; level {report['level']})\n"]
    for stage in STAGES:
        checks = [c for c in report["checks"] if c["stage"] == stage]
        if not checks:
            continue
        bad = [c for c in checks if not c["passed"]]
        out.append(f"(stage-{stage})=\n\n## Stage {stage}\n")
        held = len(checks) - len(bad)
        page = STAGE_PAGES[stage]
        out.append(
            f"{held} of {len(checks)} checks hold. The formula is on [its page]({page}.md); alone: "
            f"`ddpm compare --only {stage}`.\n"
        )
        rows = [
            (
                f"`{c['id'].partition('/')[2]}`",
                cell(c["status"]),
                figure(c["measured"]),
                figure(c["beside"].get("diffusers")),
                figure(c["allowed"]),
                cell(c["message"]),
            )
            for c in bad + [c for c in checks if c["passed"]]
        ]
        head = ("check", "status", "scratch", "Diffusers", "allowed", "what was found")
        whole = f"::::{{container}} figures\n\n{table(head, rows)}\n::::\n"
        if not bad:
            whole = f":::::{{dropdown}} The checks of stage {stage}\n{whole}:::::\n"
        out.append(whole)
    if report["conventions"]:
        out.append("## Conventions\n\nRead off the program; they differ between right programs.\n")
        rows = [(cell(name), cell(value)) for name, value in report["conventions"].items()]
        out.append(table(("convention", "value"), rows))
    return "\n".join(out)


def mistakes_page() -> str:
    """The catalogue by stage, in the words in which a diagnosis says it."""
    from compare.mistakes import ALL
    from ddpm.exercises.index import EXERCISES

    out = ["## The catalogue\n"]
    for stage in STAGES:
        listed = [mistake for mistake in ALL if mistake.stage == stage]
        if not listed:
            continue
        exercises = ", ".join(f"`{e.id}`" for e in EXERCISES if e.stage == stage)
        out.append(f"### {stage.capitalize()}\n")
        more = f" To try them: exercises {exercises}." if exercises else ""
        out.append(f"{where_right(stage, listed)}{more}\n")
        head = ("", "what is wrong", "what to write", "what you see")
        rows = [mistake_row(mistake) for mistake in listed]
        out.append(dropdown(f"{stage.capitalize()}: {len(rows)} mistakes", head, rows))
    return "\n".join(out)


def where_right(stage: str, listed: list[Mistake]) -> str:
    """Which page has the right formula; some of a stage's are on another than the rest."""
    said = f"The right formula is on [this page]({STAGE_PAGES[stage]}.md)"
    for page in dict.fromkeys(ELSEWHERE.values()):
        if here := [f"`{m.id}`" for m in listed if ELSEWHERE.get(m.id) == page]:
            said += f", that of {', '.join(here)} on [another]({page}.md)"
    return said + "."


def mistake_row(mistake: Mistake) -> tuple[str, ...]:
    """One entry of the catalogue: number and name, words, fix, effect and where it was seen."""
    effect = cell(mistake.effect)
    if mistake.seen_in:
        effect += f" (seen in {', '.join(map(seen_link, mistake.seen_in))})"
    return f"`{mistake.id}` {mistake.name}", cell(mistake.words), cell(mistake.fix), effect


def seen_link(place: str) -> str:
    """A link to an issue or a repository in which a mistake was seen."""
    issue, commit = re.search(r"#(\d+)", place), re.search(r"@(\w+)", place)
    where = f"https://github.com/{re.split('[ @#]', place)[0]}"
    if issue or commit:
        where += f"/issues/{issue[1]}" if issue else f"/commit/{commit[1]}"
    return f"[{cell(place)}]({where})"


def bounds_table() -> str:
    """How far a right program may be from the oracle, and why."""
    from compare.measure.tolerances import TOLERANCES

    rows = [tuple(cell(text) for text in t) for t in TOLERANCES.values()]
    return fitting(table(("quantity", "bound", "reason"), rows))


def exercises_table() -> str:
    """Every exercise with what it asks, its page and how many mistakes can be made in it.

    Five columns, so that a phone shows them all.
    """
    from ddpm.exercises.index import EXERCISES

    rows = []
    for exercise in EXERCISES:
        rows.append(
            (
                f"`{exercise.id}`",
                f"{{func}}`~{exercise.module}.{exercise.function}`",
                cell(exercise.asks),
                f"[{exercise.id[:-1]}]({exercise.page}.md)",
                str(exercise.hints),
            )
        )
    return table(("", "function", "what to compute", "page", "hints"), rows)


def findings_table() -> str:
    """Every finding, run now."""
    from compare.verdict.diffusers import FINDINGS, holds

    out = [f"{len(FINDINGS)} findings.\n"]
    for finding in FINDINGS:
        seen = "seen again now" if holds(finding) else "**no longer seen**"
        out.append(f"### {finding.id}\n")
        out.append(f"{cell(finding.title)}.\n")
        out.append(f":::{{dropdown}} What is right, what it does to you, and a command ({seen})\n")
        out.append(f"Right would be\n: {cell(finding.right)}\n")
        out.append(f"What it does to you\n: {cell(finding.effect)}\n")
        out.append(f"Versions\n: {cell(finding.versions)}, {seen}\n")
        command = finding.command.replace("; ", "\n")
        out.append(f"```python\n{command}  # {finding.shows}\n```\n:::\n")
    return "\n".join(out)


def write(folder: Path = GENERATED) -> None:
    """All of them, and `report.json`, which the pairs read their "checked by" line from."""
    import field
    import independent

    import compare

    folder.mkdir(exist_ok=True)
    report = compare.run().to_dict()
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "report.md").write_text(report_page(report))
    (folder / "bounds.md").write_text(bounds_table())
    (folder / "mistakes.md").write_text(mistakes_page())
    (folder / "exercises.md").write_text(exercises_table())
    (folder / "independent.md").write_text(independent.page())
    (folder / "field.md").write_text(field.page())
    (folder / "findings.md").write_text(findings_table())
