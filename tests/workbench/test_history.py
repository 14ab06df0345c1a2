"""What a run remembers of how it was made: one entry, and one more for each change."""

import subprocess
from pathlib import Path

import pytest

from workbench import history
from workbench.config import TrainConfig


def test_an_entry_is_added_only_for_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert history.read(tmp_path) == []
    config = TrainConfig(steps=5)
    for step in (0, 3):
        history.note(tmp_path, step, config)
        (entry,) = history.read(tmp_path)
        assert entry == {"from_step": 0, **history.program(), "steps": 5, "epochs": None}
    assert history.other_program(tmp_path) == ""
    history.note(tmp_path, 5, TrainConfig(steps=9))
    assert [(e["from_step"], e["steps"]) for e in history.read(tmp_path)] == [(0, 5), (5, 9)]

    later = {"version": "9.9", "commit": "0" * 40, "changed": True}
    monkeypatch.setattr(history, "program", lambda: later)
    told = history.other_program(tmp_path)
    assert "was made with version " in told
    assert told.endswith("; this is version 9.9, commit 000000000000, with changes")
    history.note(tmp_path, 7, TrainConfig(steps=9))
    assert [(e["from_step"], e["version"]) for e in history.read(tmp_path)][2] == (7, "9.9")


def test_a_damaged_one_is_refused(tmp_path: Path) -> None:
    history.note(tmp_path, 0, TrainConfig())
    path = tmp_path / history.HISTORY
    path.write_text(path.read_text().replace("600", "601"))
    with pytest.raises(ValueError, match=r"its history\.json is damaged"):
        history.read(tmp_path)


def test_the_commit_is_that_of_our_checkout_and_of_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package that lies in the environment of somebody's checkout is not of that commit."""
    if (history.ROOT / ".git").exists():
        ask = ["git", "-C", history.ROOT, "rev-parse", "HEAD"]
        head = subprocess.run(ask, capture_output=True, text=True).stdout.strip()
        assert history.program()["commit"] == (head or None)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    inside = tmp_path / "site-packages"
    inside.mkdir()
    history.program.cache_clear()
    monkeypatch.setattr(history, "ROOT", inside)
    found = history.program()
    history.program.cache_clear()
    assert (found["commit"], found["changed"]) == (None, None)
