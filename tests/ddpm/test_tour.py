"""The tour at a tiny size, whole; and what it may delete."""

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

import compare
from ddpm import tour
from workbench import progress_bar, runs
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
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress_bar, "EVERY", 0.0)
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
        if "largest difference of" in line:
            # Two steps and a chain of four: rounding alone, of numbers of size 1.
            assert float(line.split(":")[1]) < 1e-4
    assert "2 steps by Diffusers and 3 by scratch, from one start" in said.out
    assert "16 digits from the run of 3 steps" in said.out
    # Told before the bar of the first training: twenty steps or fewer are enough for it.
    (told,) = re.findall("the whole tour takes about (.*) here, by its first steps", said.out)
    assert re.fullmatch(r"\d+ (seconds|minutes)", told)

    page = Page(index.read_text(encoding="utf-8"))
    assert len(page.pictures) == 5
    assert all(picture["alt"] for picture in page.pictures)
    assert all(link.startswith("data:image/") for link in page.links)  # nothing is loaded
    assert "Scratch went on alone, to 3 steps." in page.words
    assert "x after 4 of the steps, from t = 3 to t = 0" in page.words  # below the moving picture
    assert tour.wrapped(str(report)) in page.words
    assert not report.passed
    assert "They are not the same" in page.words

    tour.prepare(folder)  # a second tour may replace it
    assert list(folder.iterdir()) == []


def test_a_verdict_is_wrapped_and_no_word_of_it_is_lost() -> None:
    """A real one, and every line of it begins where it began."""
    mine = Path(__file__).parents[2] / "docs" / "examples" / "my_scheduler.py"
    verdict = str(compare.run(f"{mine}:MyScheduler"))
    assert max(map(len, verdict.splitlines())) > 2 * tour.WIDTH
    shown = tour.wrapped(verdict)
    assert shown.split() == verdict.split()
    paths = max(map(len, verdict.split()))  # a long path is not broken
    assert max(map(len, shown.splitlines())) <= max(tour.WIDTH, paths + 4)
    for line in verdict.splitlines():
        if len(line) <= tour.WIDTH:
            assert line in shown.splitlines()
    assert tour.wrapped(shown) == shown


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3, "10 seconds"), (64, "60 seconds"), (89, "90 seconds"), (90, "2 minutes"),
     (89 * 60, "89 minutes")],
)  # fmt: skip
def test_estimates_in_words(seconds: float, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    tour.estimate(seconds)
    assert f"takes about {words} here" in capsys.readouterr().out


def test_an_estimate_counts_what_is_trained_and_drawn() -> None:
    assert tour.cost(100, 10) - tour.cost(40, 10) == pytest.approx(60)
    assert tour.cost(100, 500) - tour.cost(100, 400) == pytest.approx(200 * tour.DRAWN)


def test_nobody_need_read_what_a_tour_says(
    config: RunConfig, report: compare.Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("stdout", "stderr"):
        stream = (tmp_path / name).open("w")
        stream.close()
        monkeypatch.setattr(sys, name, stream)
    index = tour.run(tmp_path / "tour", config, shared_steps=2, judge=lambda: report)
    assert index.exists()


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
