"""`training/history.json`: with what a run was made, and how long it was to be, from which step on.

A run that is gone on with by the same program, as long as it was to be, has one entry.
"""

import shutil
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from workbench.checksums import read_signed, write_signed
from workbench.config import TrainConfig

HISTORY = Path("training", "history.json")
ROOT = Path(__file__).parents[1]

Entry = dict[str, Any]


def note(folder: Path, step: int, config: TrainConfig) -> None:
    """Add an entry if the run is made otherwise, or is to be of another length, from `step` on."""
    entries = read(folder)
    now = {**program(), "steps": config.steps, "epochs": config.epochs}
    if not entries or {**entries[-1], **now} != entries[-1]:
        write_signed(folder / HISTORY, [*entries, {"from_step": step, **now}])


def read(folder: Path) -> list[Entry]:
    """The entries of a run, `from_step, version, commit, changed, steps, epochs`; none of an older
    version's.

    Raises:
        ValueError: the file is damaged.
    """
    if not (folder / HISTORY).exists():
        return []
    entries: list[Entry] = read_signed(folder / HISTORY)
    return entries


def other_program(folder: Path) -> str:
    """A line if this is not the program by which a run was last made; else nothing."""
    entries = read(folder)
    if not entries or {**entries[-1], **program()} == entries[-1]:
        return ""
    return f"{folder} was made with {_in_words(entries[-1])}; this is {_in_words(program())}"


@cache
def program() -> Entry:
    """Which version this is, and of a git checkout the commit, and whether files were changed."""
    try:
        number = version("ddpm-side-by-side")
    except PackageNotFoundError:
        number = "unknown"
    commit = _git("rev-parse", "HEAD")
    changed = bool(_git("status", "--porcelain", "--untracked-files=no")) if commit else None
    return {"version": number, "commit": commit, "changed": changed}


def _git(*words: str) -> str | None:
    """What git says of the folder that we lie in, if that is a checkout of ours."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        return None
    git = ["git", "--no-optional-locks", "-C", str(ROOT)]
    done = subprocess.run([*git, *words], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def _in_words(entry: Entry) -> str:
    said = f"version {entry['version']}"
    if entry["commit"]:
        said += f", commit {entry['commit'][:12]}" + ", with changes" * bool(entry["changed"])
    return said
