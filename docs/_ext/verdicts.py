"""Pages written from what `compare` says: report, bounds, mistakes, kills, findings, exercises."""

import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from pair import GENERATED, digest

from compare import backends, stages

STAGE_PAGES = {stage.name: stage.page for stage in (*stages.ALL, *backends.ALL)}
STAGES = list(STAGE_PAGES)
# The numbers of the list of mistakes that some check can see, and so all of them must.
SEEN = {
    *(*range(1, 9), 10, 11, 13, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 34, 35, 36),
    *(*range(37, 50), *range(51, 61), 61, 62, 63, 64, 65, 67, 68, 69, 70, 71, 72, 73, 74, 76),
    *(78, 79, 80, 82, 83, 84, 88, 89, 90, 91, 92, 93, 94, 95, 96, 97, 100, 101, 106),
}


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
    from compare.mistakes import MISTAKES
    from compare.mistakes.average import AVERAGES
    from compare.mistakes.unet import SLIPS
    from ddpm.exercises.index import EXERCISES

    listed = {stage: [m for m in MISTAKES if m.stage == stage] for stage in STAGES}
    listed |= {"unet": list(SLIPS), "training": list(AVERAGES)}
    out = ["## The catalogue\n"]
    for stage in (stage for stage in STAGES if listed[stage]):
        exercises = ", ".join(f"`{e.id}`" for e in EXERCISES if e.stage == stage)
        out.append(f"### {stage.capitalize()}\n")
        more = f" To try them: exercises {exercises}." if exercises else ""
        out.append(f"The right formula is on [this page]({STAGE_PAGES[stage]}.md).{more}\n")
        rows = [(f"`{m.id}`", cell(m.words), cell(m.fix)) for m in listed[stage]]
        out.append(fitting(table(("", "what is wrong", "what to write"), rows)))
    return "\n".join(out)


def bounds_table() -> str:
    """How far a right program may be from the oracle, and why."""
    from compare.measure.tolerances import TOLERANCES

    rows = [tuple(cell(text) for text in t) for t in TOLERANCES.values()]
    return fitting(table(("quantity", "bound", "reason"), rows))


def exercises_table() -> str:
    """Every exercise with its formula, its page and how many mistakes can be made in it.

    Five columns, so that a phone shows them all.
    """
    from ddpm.exercises.index import EXERCISES

    rows = []
    for exercise in EXERCISES:
        what = (exercise.ours.__doc__ or "").splitlines()[0]
        rows.append(
            (
                f"`{exercise.id}`",
                f"{{func}}`~{exercise.module}.{exercise.function}`",
                cell(what),
                f"[{exercise.id[:-1]}]({exercise.page}.md)",
                str(len(exercise.wrong)),
            )
        )
    return table(("", "function", "what it computes", "page", "mistakes"), rows)


def findings_table() -> str:
    """Every finding, run now."""
    from compare.verdict.diffusers import FINDINGS, holds

    out = [f"{len(FINDINGS)} findings.\n"]
    for finding in FINDINGS:
        seen = "seen again now" if holds(finding) else "**no longer seen**"
        out.append(f"### {finding.id}\n")
        out.append(f"{cell(finding.title)}.\n")
        out.append(f"Right would be\n: {cell(finding.right)}\n")
        out.append(f"What it does to you\n: {cell(finding.effect)}\n")
        out.append(f"Versions\n: {cell(finding.versions)}, {seen}\n")
        command = finding.command.replace("; ", "\n")
        out.append(f"```python\n{command}  # {finding.shows}\n```\n")
    return "\n".join(out)


def begin_kill_table() -> Callable[[], str]:
    """Begins the kill table on a core of its own; what is returned waits for it and writes it out.

    It takes minutes, so it is kept in `_gen` until `compare` or `scratch` changes.
    """
    kept = GENERATED / f"kill-table-{digest('compare', 'scratch')}.json"
    if kept.exists():
        return lambda: kill_page(json.loads(kept.read_text()))
    for outdated in GENERATED.glob("kill-table-*.json"):
        outdated.unlink()
    from compare.mistakes import MISTAKES
    from compare.mistakes.average import AVERAGES
    from compare.mistakes.unet import SLIPS

    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    found = [
        *(pool.submit(kill, i) for i in range(len(MISTAKES))),
        *(pool.submit(kill_network, i) for i in range(len(SLIPS))),
        *(pool.submit(kill_average, i) for i in range(len(AVERAGES))),
    ]

    def finish() -> str:
        rows = [each.result() for each in found]
        pool.shutdown()
        kept.write_text(json.dumps(rows))
        return kill_page(rows)

    return finish


def kill_page(rows: list[dict[str, Any]]) -> str:
    """The kill table in words and figures, stage by stage.

    Raises:
        ValueError: a number of the list that a check can see has no row.
    """
    missing = SEEN - {int(row["mistake"].partition("-")[0]) for row in rows}
    if missing:
        raise ValueError(f"the kill table lacks the mistakes {sorted(missing)}")
    named = sum(row["mistake"] in row["named"] for row in rows)
    found = sum(bool(row["check"]) for row in rows)
    head = ("mistake", "first check that found it", "named as")
    out = [
        f"**{found} of {len(rows)} mistakes are found, {named} are named as themselves.** They are "
        f"{len(SEEN)} numbers of the list, some in several forms.\n"
    ]
    for stage in (s for s in STAGES if any(row["stage"] == s for row in rows)):
        lines = [
            (f"`{r['mistake']}`", f"`{r['check']}`", cell(", ".join(r["named"]) or "–"))
            for r in rows
            if r["stage"] == stage
        ]
        out.append(f":::::{{dropdown}} {stage.capitalize()}: {len(lines)} mistakes\n")
        out.append(fitting(table(head, lines)) + ":::::\n")
    return "\n".join(out)


def kill(index: int) -> dict[str, Any]:
    """The verdict on the mutant of one mistake."""
    from compare.mistakes import MISTAKES
    from compare.mistakes.from_oracle import mutant
    from compare.oracle import Setting
    from compare.verdict.judge import judge

    mistake, short = MISTAKES[index], Setting(num_train_timesteps=100, beta_end=0.2)
    report = judge(mutant(mistake, short), "quick", 0, beside=False, base=short)
    failing = [c.id for c in report.checks if not c.passed or c.status == "known"]
    named = [d.bug or "(unnamed)" for d in report.diagnoses] + [f["bug"] for f in report.findings]
    return row(mistake.id, mistake.stage, failing, named)


def kill_network(index: int) -> dict[str, Any]:
    """The verdict on a network with one mistake in its last block of that kind."""
    import diffusers

    import scratch
    from compare.backends.network import TINY, judge_network
    from compare.mistakes.unet import SLIPS, planted
    from compare.verdict.judge import quiet

    slip, options = SLIPS[index], {**TINY, "dropout": 0.1}
    with quiet():
        network = scratch.UNet2DModel(**options)
        place = [n for n, m in network.named_modules() if type(m).__name__ == slip.kind][-1]
        report = judge_network(planted(network, slip, {place}), diffusers.UNet2DModel(**options))
    failing = [c.id for c in report.checks if not c.passed]
    return row(slip.id, "unet", failing, [d.bug or "(unnamed)" for d in report.diagnoses])


def kill_average(index: int) -> dict[str, Any]:
    """The verdict on a moving average with one mistake; the check that fails is its name."""
    from compare.backends.training_alone import judge_average
    from compare.mistakes.average import AVERAGES

    wrong = AVERAGES[index]
    found = [c for c in judge_average("average/", wrong.average) if not c.passed]
    named = [wrong.id] if len(found) == 1 else []
    return row(wrong.id, "training", [c.id for c in found], named)


def row(mistake: str, stage: str, failing: list[str], named: list[str]) -> dict[str, Any]:
    """One row of the kill table."""
    return {
        "mistake": mistake,
        "stage": stage,
        "check": failing[0] if failing else "",
        "named": named,
    }


def write(folder: Path = GENERATED) -> None:
    """All of them, and `report.json`, which the pairs read their "checked by" line from."""
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
    (folder / "findings.md").write_text(findings_table())
