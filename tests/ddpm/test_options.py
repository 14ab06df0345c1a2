"""Options: each reads what it should, and the table of options fits the configs."""

import argparse
import subprocess
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import pytest

from ddpm import options
from ddpm.cli import build_parser, main
from workbench.config import DiffusionConfig, ModelConfig, TrainConfig


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (options.whole, "12", 12),
        (options.from_zero, "0", 0),
        (options.numbers_from_zero, "3,0,5", [3, 0, 5]),
        (options.widths, "32,64", (32, 64)),
        (options.flags, "no,yes", (False, True)),
        (options.number, "1e-3", 0.001),
        (options.number_or_none, "none", None),
        (options.number_or_none, "0.5", 0.5),
    ],
)
def test_what_is_read(read: Callable[[str], Any], text: str, value: Any) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text"),
    [
        *[(options.whole, text) for text in ("0", "-1", "1.5", "1e3", "", "²", "nan")],
        *[(options.from_zero, text) for text in ("-1", "0.0", "")],
        *[(options.numbers_from_zero, text) for text in ("1,", "1, 2", "a")],
        *[(options.widths, text) for text in ("32,0", "32;64", "")],
        *[(options.number, text) for text in ("x", "", "1,5", "none")],
        (options.number_or_none, "None"),
        *[(options.flags, text) for text in ("true", "yes,", "Yes")],
    ],
)
def test_what_is_refused(read: Callable[[str], Any], text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="expected"):
        read(text)


@pytest.mark.parametrize(
    ("group", "config"),
    [
        (options.MODEL, ModelConfig),
        (options.DIFFUSION, DiffusionConfig),
        (options.TRAIN, TrainConfig),
    ],
)
def test_every_field_of_a_config_is_an_option(group: options.Options, config: type) -> None:
    assert sorted(name for name, *_ in group) == sorted(field.name for field in fields(config))


def test_an_option_that_is_not_given_leaves_no_trace() -> None:
    parser = options.Parser()
    options.add_options(parser, "diffusion", DiffusionConfig, options.DIFFUSION)
    given = parser.parse_args(["--no-clip-sample", "--beta-schedule", "sigmoid"])
    assert options.given(given, options.DIFFUSION) == {
        "beta_schedule": "sigmoid",
        "clip_sample": False,
    }
    assert options.given(parser.parse_args([]), options.DIFFUSION) == {}


def verbs(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Iterator[Any]:
    """Every verb that does something, in words, and its parser."""
    below = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    for action in below:
        for name, verb in action.choices.items():
            yield from verbs(verb, (*words, name))
    if not below:
        yield words, parser


EMPTY = [
    (*words, *([action.option_strings[-1]] if action.option_strings else []))
    for words, parser in verbs(build_parser())
    for action in parser._actions
    if action.nargs != 0
]


@pytest.mark.parametrize("words", EMPTY, ids=" ".join)
def test_an_empty_word_is_refused_wherever_it_stands(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    option = words[-1].startswith("--")
    forms = [[*words, ""], [*words, " "], *([[*words[:-1], f"{words[-1]}="]] if option else [])]
    for form in forms:
        with pytest.raises(SystemExit) as stopped:
            main(form)
        assert stopped.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("ddpm " + " ".join(w for w in words if not w.startswith("--")))


def test_every_verb_is_asked() -> None:
    assert {words[0] for words in EMPTY} >= {
        "train",
        "sample",
        "compare",
        "exercise",
        "plot",
        "tour",
    }


@pytest.mark.parametrize("word", ["", "--candidate="])
def test_python_m_compare_refuses_an_empty_word_too(word: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "compare", *(["--candidate", ""] if not word else [word])],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "ddpm compare: nothing is given after --candidate; see `ddpm compare --help`\n"
    )


def test_a_value_may_hold_an_equals_sign() -> None:
    assert build_parser().parse_args(["tour", "--output=a="]).output == "a="
