"""The tour at a tiny size, whole; and what it may delete."""

from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

import compare
from ddpm import tour
from workbench import runs
from workbench.config import RunConfig
from workbench.files import write_json


class Page(HTMLParser):
    """What a page shows, and what it would load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.pictures: list[dict[str, str | None]] = []
        self.links: list[str] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.pictures.append(dict(attrs))
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture(scope="module")
def report() -> compare.Report:
    """A verdict in a moment: nothing can be judged, and that is not a pass."""
    return compare.run("nowhere.py:Missing")


@pytest.fixture
def config(tiny: Callable[..., RunConfig]) -> RunConfig:
    return replace(tiny(steps=3, num_train_timesteps=4), data="digits")


def test_the_whole_tour(
    config: RunConfig,
    report: compare.Report,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "tour"
    index = tour.run(folder, config, shared_steps=2, judge=lambda: report)
    assert index == folder / "index.html"
    assert {path.name for path in folder.iterdir()} == tour.CONTENTS
    assert runs.load_config(folder / "model") == config
    assert len(runs.load_metrics(folder / "model")) >= 3  # it went on after the shared steps

    said = capsys.readouterr()
    assert "scratch: 100%" in said.err  # progress bars
    assert "diffusers: 100%" in said.err
    for line in said.out.splitlines():
        if "largest difference" in line:
            # Two steps and a chain of four: rounding alone, of numbers of size 1.
            assert float(line.split(":")[1].split(",")[0]) < 1e-4

    page = Page(index.read_text(encoding="utf-8"))
    assert len(page.pictures) == 5
    assert all(picture["alt"] for picture in page.pictures)
    assert all(link.startswith("data:image/") for link in page.links)  # nothing is loaded
    assert str(report) in page.words
    assert not report.passed
    assert "They are not the same" in page.words

    tour.prepare(folder)  # a second tour may replace it
    assert list(folder.iterdir()) == []


def test_what_is_no_tour_is_never_deleted(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "index.html").write_text("my homepage")
    with pytest.raises(ValueError, match="holds no tour"):
        tour.prepare(mine)
    (mine / "model" / "training").mkdir(parents=True)
    (mine / "model" / runs.CONFIG).write_text('{"my own": "config"}')
    with pytest.raises(ValueError, match=r"holds no tour.*no config of a run"):
        tour.prepare(mine)
    assert (mine / "index.html").read_text() == "my homepage"


def test_a_tour_that_holds_something_else_is_kept(config: RunConfig, tmp_path: Path) -> None:
    write_json(tmp_path / "model" / runs.CONFIG, config.to_dict())
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds notes\.txt, which no tour wrote"):
        tour.prepare(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    (tmp_path / "notes.txt").unlink()
    tour.prepare(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_refused_and_a_new_folder_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="is a file"):
        tour.prepare(tmp_path / "file")
    tour.prepare(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
