"""Pages written from what `compare` says: report, mistakes, kill table, findings, exercises."""

import hashlib
import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from pair import GENERATED, ROOT

from compare.report import STAGES

STAGE_PAGES = {
    "schedule": "schedule",
    "forward": "forward",
    "timesteps": "fewer-steps",
    "prediction": "prediction",
    "mean": "reverse-step",
    "variance": "variance",
    "sampling": "sampling",
    "loss": "loss",
    "unet": "unet",
    "training": "loss",
    "pipeline": "swap",
}


def cell(value: Any) -> str:
    """Text for one cell of a table: no pipes, no line breaks, nothing that Markdown reads."""
    text = "" if value is None else str(value)
    for mark in ("\\", "|", "*", "_", "<", "$", "[", "{"):
        text = text.replace(mark, "\\" + mark)
    return " ".join(text.split())


def figure(value: float | None) -> str:
    """A measured number in three digits; a dash where there is none."""
    return "–" if value is None else f"{value:.3g}"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


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
        fold = "" if bad else f":::{{dropdown}} The checks of stage {stage}\n"
        out.append(fold + table(head, rows) + (":::\n" if fold else ""))
    if report["conventions"]:
        out.append("## Conventions\n\nRead off the program; they differ between right programs.\n")
        rows = [(cell(name), cell(value)) for name, value in report["conventions"].items()]
        out.append(table(("convention", "value"), rows))
    return "\n".join(out)


def mistakes_page() -> str:
    """The catalogue by stage, in the words in which a diagnosis says it."""
    from compare.exercise import EXERCISES
    from compare.mistakes import MISTAKES

    out = ["## The catalogue\n"]
    for stage in STAGES:
        found = [m for m in MISTAKES if m.stage == stage]
        if not found:
            continue
        exercises = ", ".join(f"`{e.id}`" for e in EXERCISES if e.stage == stage)
        out.append(f"### {stage.capitalize()}\n")
        more = f" To try them: exercises {exercises}." if exercises else ""
        out.append(f"The right formula is on [this page]({STAGE_PAGES[stage]}.md).{more}\n")
        rows = [(f"`{m.id}`", cell(m.words), cell(m.fix)) for m in found]
        out.append(table(("", "what is wrong", "what to write"), rows))
    return "\n".join(out)


def exercises_table() -> str:
    """Every exercise with its formula, its page and how many mistakes can be made in it."""
    from compare.exercise import EXERCISES

    rows = []
    for exercise in EXERCISES:
        page = STAGE_PAGES[exercise.stage] if exercise.id[0] != "4" else "prediction"
        page = "fewer-steps" if exercise.id.startswith("11") else page
        what = (exercise.ours.__doc__ or "").splitlines()[0]
        rows.append(
            (
                f"`{exercise.id}`",
                f"{{func}}`{exercise.module}.{exercise.function}`",
                cell(what),
                f"[{page}]({page}.md)",
                exercise.stage,
                str(len(exercise.mistakes)),
            )
        )
    return table(("", "function", "what it computes", "page", "judged by", "mistakes"), rows)


def findings_table() -> str:
    """Every finding, run now."""
    from compare.findings import FINDINGS, holds

    out = [f"{len(FINDINGS)} findings.\n"]
    for finding in FINDINGS:
        seen = "seen again now" if holds(finding) else "**no longer seen**"
        out.append(f"## {finding.id}\n")
        out.append(f"{cell(finding.title)}.\n")
        out.append(f"Right would be\n: {cell(finding.right)}\n")
        out.append(f"What it does to you\n: {cell(finding.effect)}\n")
        out.append(f"Versions\n: {cell(finding.versions)}, {seen}\n")
        command = finding.command.replace("; ", "\n")
        out.append(f"```python\n{command}  # {finding.shows}\n```\n")
    return "\n".join(out)


def kill_table() -> str:
    """Each mistake built into a right scheduler: which check found it, and what it was named.

    It takes minutes, so it is kept in `_gen` until `compare` changes.
    """
    sources = b"".join(p.read_bytes() for p in sorted((ROOT / "compare").glob("*.py")))
    kept = GENERATED / f"kill-table-{hashlib.sha256(sources).hexdigest()[:16]}.json"
    if not kept.exists():
        from compare.mistakes import MISTAKES

        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            rows = list(pool.map(kill, range(len(MISTAKES))))
        kept.write_text(json.dumps(rows))
    rows = json.loads(kept.read_text())
    named = sum(row["mistake"] in row["named"] for row in rows)
    found = sum(bool(row["check"]) for row in rows)
    head = ("mistake", "stage", "first check that found it", "named as")
    lines = [
        (f"`{r['mistake']}`", r["stage"], f"`{r['check']}`", cell(", ".join(r["named"]) or "–"))
        for r in rows
    ]
    return (
        f"{found} of {len(rows)} mistakes are found, {named} are named as themselves.\n\n"
        ":::{dropdown} The table\n" + table(head, lines) + ":::\n"
    )


def kill(index: int) -> dict[str, Any]:
    """The verdict on the mutant of one mistake."""
    from compare.judge import judge
    from compare.mistakes import MISTAKES
    from compare.mutant import mutant
    from compare.oracle import Setting

    mistake, short = MISTAKES[index], Setting(num_train_timesteps=100, beta_end=0.2)
    report = judge(mutant(mistake, short), "quick", 0, beside=False, base=short)
    failing = [c.id for c in report.checks if not c.passed or c.status == "known"]
    return {
        "mistake": mistake.id,
        "stage": mistake.stage,
        "check": failing[0] if failing else "",
        "named": [d.bug or "(unnamed)" for d in report.diagnoses]
        + [f["bug"] for f in report.findings],
    }


def write(folder: Path = GENERATED) -> None:
    """All four, and `report.json`, which the pairs read their "checked by" line from."""
    import compare

    folder.mkdir(exist_ok=True)
    report = compare.run().to_dict()
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "report.md").write_text(report_page(report))
    (folder / "mistakes.md").write_text(mistakes_page())
    (folder / "exercises.md").write_text(exercises_table())
    (folder / "findings.md").write_text(findings_table())
    (folder / "kill-table.md").write_text(kill_table())
