"""Options: each reads what it should, and the table of options fits the configs."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

from ddpm import options
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
