"""The tables of the field report, from what `docs/field` keeps of each program and its verdict."""

import json
import runpy
from pathlib import Path
from typing import Any

import verdicts
from verdicts import cell

FIELD = Path(__file__).resolve().parent.parent / "field"
run = runpy.run_path(str(FIELD / "run.py"))


def page(folder: Path = FIELD) -> str:
    """What the page includes, in Markdown: the count, the table, and what is true of each."""
    programs = run["programs_of"](folder)
    results = {
        name: json.loads((folder / "results" / f"{name}.json").read_text())
        for name, program in programs.items()
        if "left_out" not in program
    }
    right = {name: run["is_right"](programs[name], result) for name, result in results.items()}
    repositories = {programs[name]["repository"] for name in results}
    count = (
        f"**{len(results)} of {len(programs)} programs were judged, from {len(repositories)} "
        f"repositories; {sum(right.values())} verdicts are right.**\n"
    )
    rows = [_row(name, programs[name], results.get(name), right.get(name)) for name in programs]
    head = ("", "program", "kind", "verdict", "right?", "statements", "seconds")
    told = [_told(name, programs[name], results.get(name)) for name in programs]
    table = f"::::{{container}} programs\n\n{verdicts.table(head, rows)}\n::::\n"
    return "\n".join([count, table, *told])


def _row(
    name: str, program: dict[str, Any], result: dict[str, Any] | None, right: bool | None
) -> tuple[str, ...]:
    where = f"https://github.com/{program['repository']}/blob/{program['commit']}"
    link = f"[{cell(program['repository'])}]({where}/{program['file']})"
    if result is None:
        return f"`{name}`", link, program["kind"], "left out", "–", "–", "–"
    blamed = ", ".join(f"`{word}`" for word in run["named"](result))
    said = blamed or ("right" if result["exit_status"] == 0 else "undecided")
    figures = str(result["statements"]), f"{result['seconds']:.0f}"
    return f"`{name}`", link, program["kind"], said, "yes" if right else "**no**", *figures


def _told(name: str, program: dict[str, Any], result: dict[str, Any] | None) -> str:
    """What was read and computed beforehand, what was said then, and what it means."""
    parts = [
        f":::{{dropdown}} {cell(name)}: {cell(program['repository'])}, {cell(program['file'])}",
        f"Commit `{program['commit']}`; from: {cell(program['source'])}.\n",
        f"*Read and computed beforehand.* {cell(program['truth'])}\n",
    ]
    if result is None:
        parts.append(f"*Left out.* {cell(program['left_out'])}\n")
    else:
        parts.append(f"*Said by `compare`.* {cell(result['verdict'])}\n")
        parts += [f"- {cell(d['explanation'])}" for d in result["diagnoses"][1:]]
    parts.append(f"\n*For who copies it.* {cell(program['means'])}\n")
    if "report" in program:
        parts.append(f"*For its maintainer.* {cell(program['report'])}\n")
    parts.append(":::\n")
    return "\n".join(parts)
