"""The kill table: every mistake of the catalogue built into something right, found and named.

A verdict takes seconds, all of them minutes. So each is kept in `_gen` until `compare` or `scratch`
changes: the tests keep those that they judge, and the book judges what is missing.
"""

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

from pair import GENERATED, digest
from verdicts import dropdown

from compare import backends, stages
from compare.mistakes import ALL, AVERAGES, BY_ID, NETWORKS, SEEN, Mistake, mutant
from compare.oracle import Setting
from compare.verdict.report import Report

STAGES = [stage.name for stage in (*stages.ALL, *backends.ALL)]

SHORT = Setting(num_train_timesteps=100, beta_end=0.2)


def judged(mistake: Mistake, setting: Setting | None = None) -> Report:
    """The report on a scheduler, loop, loss or embedding with this mistake and no other.

    With a hundred steps unless it is said; of an embedding a thousand, as bfloat16 has every whole
    number up to 256.
    """
    from compare.verdict.judge import judge

    setting = setting or (Setting() if mistake.only == "embedding" else SHORT)
    return judge(mutant(mistake, setting), "quick", 0, beside=False, base=setting)


def row(mistake: Mistake, report: Report) -> dict[str, Any]:
    """What the table says of a mistake: the checks that fail, in order, and the names given.

    A note that names a mistake counts as found: it may be one, and who reads it knows.
    """
    notes = [c for c in report.checks if c.bug and c.passed]
    return {
        "mistake": mistake.id,
        "stage": mistake.stage,
        "failing": [c.id for c in report.checks if not c.passed or c.status == "known" or c.bug],
        "named": [d.bug or "(unnamed)" for d in report.diagnoses]
        + [f["bug"] for f in report.findings]
        + [c.bug for c in notes],
        "noted": [c.bug for c in notes],
    }


def kill(id: str) -> dict[str, Any]:
    """The row of a mistake, judged now."""
    mistake = BY_ID[id]
    if mistake in NETWORKS:
        return kill_network(mistake)
    return kill_average(mistake) if mistake in AVERAGES else row(mistake, judged(mistake))


def kill_network(mistake: Mistake) -> dict[str, Any]:
    """The row of a network with this mistake in its last block of that kind."""
    import diffusers

    import scratch
    from compare.backends.network import TINY, judge_network
    from compare.mistakes.network.unet import planted
    from compare.verdict.quiet import quiet

    options = {**TINY, "dropout": 0.1}
    with quiet():
        network = scratch.UNet2DModel(**options)
        place = [n for n, m in network.named_modules() if type(m).__name__ in mistake.seams][-1]
        reference = diffusers.UNet2DModel(**options)
        return row(mistake, judge_network(planted(network, mistake, {place}), reference))


def kill_average(mistake: Mistake) -> dict[str, Any]:
    """The row of a moving average with this mistake."""
    from compare.backends.training_alone import SYMPTOMS, judge_average
    from workbench.ema import EMA

    checks = judge_average("average/", mistake.seams["EMA"](EMA))
    failing = [c.id for c in checks if not c.passed]
    named = [SYMPTOMS[id.rpartition("/")[2]] for id in failing]
    return {"mistake": mistake.id, "stage": "training", "failing": failing, "named": named}


@lru_cache
def place() -> Path:
    """The folder of what was judged by these very sources; what others judged is removed."""
    folder = GENERATED / f"kills-{digest('compare', 'scratch')}"
    folder.mkdir(parents=True, exist_ok=True)
    for other in GENERATED.glob("kills-*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    return folder


def keep(found: dict[str, Any]) -> None:
    """Keep a row, whole or not at all."""
    path = place() / f"{found['mistake']}.json"
    part = path.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(found))
    part.replace(path)


def begin(pool: ProcessPoolExecutor) -> Callable[[], str]:
    """Begins what is missing in the processes of a pool; what is returned waits for it and writes
    it out.

    Averages take no time, and are made by `workbench` too: they are never kept.
    """
    kept = {path.stem: json.loads(path.read_text()) for path in place().glob("*.json")}
    left = [m for m in ALL if m.id not in kept or m in AVERAGES]
    found = [pool.submit(kill, mistake.id) for mistake in left]

    def finish() -> str:
        for each in found:
            made = each.result()
            kept[made["mistake"]] = made
            keep(made)
        return page([kept[mistake.id] for mistake in ALL])

    return finish


def page(rows: list[dict[str, Any]]) -> str:
    """The kill table in words and figures, stage by stage, by mistake and by check.

    Raises:
        ValueError: a number of the list that a check can see has no row.
    """
    missing = SEEN - {int(row["mistake"].partition("-")[0]) for row in rows}
    if missing:
        raise ValueError(f"the kill table lacks the mistakes {sorted(missing)}")
    named = sum(row["mistake"] in row["named"] for row in rows)
    found = sum(bool(row["failing"]) for row in rows)
    out = [
        f"**{found} of {len(rows)} mistakes are found, {named} are named as themselves.** They are "
        f"{len(SEEN)} numbers of the list, some in several forms.\n"
    ]
    noted = [row["mistake"] for row in rows if row["mistake"] in row.get("noted", ())]
    if noted:
        out.append(f"Named in a note, as such code may be right: {codes(noted)}.\n")
    for stage in STAGES:
        lines = [by_mistake(row) for row in rows if row["stage"] == stage]
        if lines:
            head = ("mistake", "first check that found it", "named as")
            out.append(dropdown(f"{stage.capitalize()}: {len(lines)} mistakes", head, lines))
    out.append("The same by check: a check that nothing fails would prove nothing.\n")
    for stage in STAGES:
        lines = by_check([row for row in rows if row["failing"]], stage)
        if lines:
            head = ("check", "the first to find", "fails by, too")
            out.append(dropdown(f"{stage.capitalize()}: {len(lines)} checks", head, lines))
    return "\n".join(out)


def by_mistake(row: dict[str, Any]) -> tuple[str, ...]:
    """One mistake: its number, what found it, what it was named."""
    first = f"`{row['failing'][0]}`" if row["failing"] else "–"
    return f"`{row['mistake']}`", first, codes(row["named"])


def by_check(rows: list[dict[str, Any]], stage: str) -> list[tuple[str, ...]]:
    """Each check of a stage that some mistake fails: those it was the first to find, the others."""
    checks = {id for row in rows for id in row["failing"] if id.partition("/")[0] == stage}
    lines = []
    for check in sorted(checks):
        first = [row["mistake"] for row in rows if row["failing"][0] == check]
        too = [row["mistake"] for row in rows if check in row["failing"][1:]]
        lines.append((f"`{check}`", codes(first), codes(too)))
    return lines


def codes(words: list[str]) -> str:
    """Words as code, in one cell."""
    return ", ".join(f"`{word}`" for word in words) or "–"
