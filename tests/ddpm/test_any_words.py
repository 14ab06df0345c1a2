"""Whatever words the command line is given: it does something, or one line says what is wrong.

Nothing long is started: `train` only looks ahead, `sample` draws two pictures by a chain of three
steps, `compare` is only asked for its list.
"""

import argparse
import contextlib
import io
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ddpm.cli import build_parser, main

TINY = """train --channels 8,8 --norm-num-groups 4 --layers-per-block 1 --attention no,no --steps 2
--batch-size 4 --num-train-timesteps 3 --quiet --device cpu --output"""
USUAL = {
    "train": ["--dry-run", "--device", "cpu"],
    "sample": ["run", "--count", "2", "--device", "cpu", "--quiet", "--force"],
    "plot": ["losses", "run", "--output", "losses.png", "--force"],
    "compare": ["--list"],
    "explain": [],
    "adapt": ["m.py:S"],
}
NUMBERS = ["0", "1", "2", "3", "-1", "99999999999999999999", "1e38", "1e-300", "nan", "inf", "0.5"]
WORDS = ["none", "x", "yes", "3,5", "8,8", "8,", "yes,no", "10min", "0min", "linear", "cpu", "\0"]
FILES = ["run", "nowhere", "a.txt", "{}.json", "deep.json", ".", "a.txt/b", "a.npy", "m.py:S", "~"]
ANY = st.sampled_from([*NUMBERS, *WORDS, *FILES, "", " ", "é", "--", "digits", "n:S", "hub:a/b"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny run, and with files that are none."""
    folder = tmp_path_factory.mktemp("words")
    with contextlib.redirect_stdout(io.StringIO()):
        assert main([*TINY.split(), str(folder / "run")]) == 0
    (folder / "a.txt").write_text("hello")
    (folder / "{}.json").write_text("{}")
    (folder / "deep.json").write_text("[" * 50_000)
    (folder / "a.npy").write_bytes(b"\x93NUMPY")
    (folder / "m.py").write_text("class S:\n    pass\n")
    return folder


def options_of(verb: str) -> list[argparse.Action]:
    (verbs,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    options = [action for action in verbs.choices[verb]._actions if action.option_strings]
    return [option for option in options if option.dest != "help"]


def more_words(verb: str) -> st.SearchStrategy[list[str]]:
    """Up to three options, with a value of theirs or any other, and now and then a stray word."""

    def said(option: argparse.Action) -> st.SearchStrategy[list[str]]:
        name = st.sampled_from(option.option_strings).map(lambda word: [word])
        if option.nargs == 0:
            return name
        value = ANY | st.sampled_from(list(option.choices)) if option.choices else ANY
        return st.builds(lambda word, value: [*word, value], name, value)

    some = st.sampled_from(options_of(verb) or [None]).flatmap(
        lambda option: ANY.map(lambda word: [word]) if option is None else said(option)
    )
    stray = st.lists(ANY, max_size=1)
    words = st.builds(
        lambda several, last: [*chain(*several), *last], st.lists(some, max_size=3), stray
    )
    return words if verb != "plot" else st.lists(ANY, min_size=1, max_size=3)


def said_by(words: list[str]) -> tuple[int, str]:
    """Exit status and stderr."""
    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        try:
            status = main(words)
        except SystemExit as ended:
            status = int(ended.code or 0)
    return status, errors.getvalue()


@pytest.mark.parametrize("verb", ["train", "sample"])
def test_every_option_with_a_number_that_no_machine_holds(
    verb: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    for option in options_of(verb):
        if option.nargs == 0 or option.choices:
            continue
        for value in ("99999999999999999999", "1e308"):
            words = [verb, *USUAL[verb], option.option_strings[-1], value]
            status, errors = said_by(words)
            assert status in (0, 2), (words, errors)
            assert errors.count("\n") <= 1, (words, errors)


@pytest.mark.parametrize(
    ("verb", "count"),
    [("train", 120), ("sample", 25), ("plot", 40), ("compare", 40), ("explain", 20), ("adapt", 40)],
)
def test_any_words(verb: str, count: int, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    before = {path for path in place.rglob("*") if "samples" not in path.parts}

    @settings(
        max_examples=count,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(more_words(verb))
    def tried(more: list[str]) -> None:
        status, errors = said_by([verb, *USUAL[verb], *more])
        assert status in (0, 2), errors
        if status == 2:
            assert errors.count("\n") == 1, errors
            assert errors.startswith("ddpm ")
            assert "Traceback" not in errors

    tried()
    if verb in ("train", "compare", "explain"):  # which write nothing so
        assert {p for p in place.rglob("*") if "samples" not in p.parts} == before
