"""Options: each reads what it should, and the table of options fits the configs."""

import argparse
import subprocess
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

import pytest

from ddpm import options
from ddpm.cli import build_parser, main
from workbench.config import DiffusionConfig, ModelConfig, RunConfig, TrainConfig
from workbench.parser import Parser


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (options.whole, "12", 12),
        (options.from_zero, "0", 0),
        (options.threads, "1024", 1024),
        (options.numbers_from_zero, "3,0,5", [3, 0, 5]),
        (options.widths, "32,64", (32, 64)),
        (options.flags, "no,yes", (False, True)),
        (options.number, "1e-3", 0.001),
        (options.or_none(options.number), "none", None),
        (options.or_none(options.number), "0.5", 0.5),
    ],
)
def test_what_is_read(read: Callable[[str], Any], text: str, value: Any) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text"),
    [
        *[(options.whole, text) for text in ("0", "-1", "1.5", "1e3", "", "²", "nan")],
        *[(options.from_zero, text) for text in ("-1", "0.0", "")],
        *[(options.threads, text) for text in ("0", "1025", "99999999999999999999")],
        *[(options.numbers_from_zero, text) for text in ("1,", "1, 2", "a")],
        *[(options.widths, text) for text in ("32,0", "32;64", "")],
        *[(options.number, text) for text in ("x", "", "1,5", "none")],
        (options.or_none(options.number), "None"),
        *[(options.flags, text) for text in ("true", "yes,", "Yes")],
    ],
)
def test_what_is_refused(read: Callable[[str], Any], text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="expected"):
        read(text)


@pytest.mark.parametrize("config", [ModelConfig, DiffusionConfig, TrainConfig])
def test_every_field_of_a_config_is_an_option(config: type) -> None:
    parser = Parser()
    options.add_options(parser.add_argument_group("all"), config)
    shown = parser.format_help()
    for field in fields(config):
        assert f"--{field.name.replace('_', '-')}" in shown


@pytest.mark.parametrize("config", [ModelConfig, DiffusionConfig, TrainConfig, RunConfig])
def test_a_default_said_on_the_command_line_changes_nothing(config: type) -> None:
    """So each option is read as its field wants it."""
    parser, said = Parser(), []
    options.add_options(parser, config)
    for name in options.options_of(config):
        value, flag = getattr(config(), name), "--" + name.replace("_", "-")
        if isinstance(value, tuple):
            words = {True: "yes", False: "no"} if isinstance(value[0], bool) else {}
            said += [flag, ",".join(str(words.get(item, item)) for item in value)]
        elif isinstance(value, bool):
            said.append(flag if value else f"--no{flag[1:]}")
        elif name != "labels":  # a file may be called `none`
            said += [flag, str(value).lower()]
    given = options.given(parser.parse_args(said), config)
    assert replace(config(), **given) == config()
    assert given.keys() | {"labels"} == options.options_of(config).keys() | {"labels"}


def test_an_option_that_is_not_given_leaves_no_trace() -> None:
    parser = Parser()
    options.add_options(parser, DiffusionConfig)
    given = parser.parse_args(["--no-clip-sample", "--beta-schedule", "sigmoid"])
    assert options.given(given, DiffusionConfig) == {
        "beta_schedule": "sigmoid",
        "clip_sample": False,
    }
    assert options.given(parser.parse_args([]), DiffusionConfig) == {}


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
        "explain",
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
