"""The runs that pages sample from: made once, and by the command that the page shows."""

import re
from pathlib import Path

import book
import pytest

from ddpm import cli

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_page_on_labels_shows_the_command_of_its_run() -> None:
    page = (DOCS / "guidance.md").read_text(encoding="utf-8")
    shown = re.search(r"\$ ddpm train (--preset.*?) --output", page, re.DOTALL)
    assert shown is not None
    assert shown[1].replace("\\\n", " ").split() == book.RUNS["labels"].split()


def test_a_run_is_made_again_only_if_it_would_be_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(book, "GENERATED", tmp_path)
    monkeypatch.setattr(book, "digest", lambda *packages: "sources")
    monkeypatch.setattr(cli, "main", lambda words: asked.append(words) or 0)
    (tmp_path / "runs").mkdir()
    book.train("labels")
    book.train("labels")
    assert len(asked) == 1
    assert asked[0][:3] == ["train", "--preset", "digits"]
    monkeypatch.setitem(book.RUNS, "labels", "--preset digits")
    book.train("labels")
    assert asked[1] == [
        *("train", "--preset", "digits", "--device", "cpu", "--quiet"),
        *("--output", str(tmp_path / "runs" / "labels")),
    ]
    monkeypatch.setattr(cli, "main", lambda words: 1)
    monkeypatch.setattr(book, "digest", lambda *packages: "others")
    with pytest.raises(RuntimeError, match="the run labels that the pages sample from"):
        book.train("labels")
