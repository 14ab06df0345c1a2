"""Pieces of the command line: a parser with one-line errors, readers of values, a run's options."""

import argparse
import sys
from collections.abc import Callable
from typing import Any, NoReturn, get_args, get_type_hints


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and whose help keeps its line breaks."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kept = {
            "formatter_class": argparse.RawDescriptionHelpFormatter,
            "allow_abbrev": False,
        }
        super().__init__(*args, **{**kept, **kwargs})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuses an empty or unknown argument where it stands: the error points to its verb.

        No option means anything by an empty word: a variable of a script was not set.
        """
        words = sys.argv[1:] if args is None else list(args)
        known, unknown = super().parse_known_args(words, namespace)
        for before, word in zip([self.prog, *words], words, strict=False):
            option, has_value, value = word.partition("=")
            if not word.strip() or (option.startswith("-") and has_value and not value.strip()):
                self.error(f"nothing is given after {option.strip() or before}")
        if unknown:
            self.error(f"unknown argument {unknown[0]}")
        return known, unknown

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`\n")


def whole(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")
    return int(text)


def from_zero(text: str) -> int:
    """A whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {text!r}")
    return int(text)


def numbers_from_zero(text: str) -> list[int]:
    """`3,5` -> [3, 5]."""
    return [from_zero(part) for part in text.split(",")]


def widths(text: str) -> tuple[int, ...]:
    """`32,64` -> (32, 64)."""
    return tuple(whole(part) for part in text.split(","))


def flags(text: str) -> tuple[bool, ...]:
    """`no,yes` -> (False, True)."""
    known = {"no": False, "yes": True}
    parts = text.split(",")
    if not set(parts) <= set(known):
        raise argparse.ArgumentTypeError(f"expected yes or no for each level, got {text!r}")
    return tuple(known[part] for part in parts)


def number(text: str) -> float:
    """A number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None


def number_or_none(text: str) -> float | None:
    """`none` -> None, else a number."""
    return None if text == "none" else number(text)


# Each option of a run: its name, how it is read (None: a switch, or the choices of the config's
# field), and its help.
Options = tuple[tuple[str, Callable[[str], Any] | None, str], ...]
MODEL: Options = (
    ("channels", widths, "width of each level, finest first, such as 32,64"),
    ("layers_per_block", whole, "residual blocks a level"),
    ("attention", flags, "which levels have attention, such as no,yes"),
    ("norm_num_groups", whole, "groups of each GroupNorm"),
    ("dropout", number, "dropout probability"),
)
DIFFUSION: Options = (
    ("num_train_timesteps", whole, "T, how many noise levels"),
    ("beta_schedule", None, "how beta grows"),
    ("beta_start", number, "the first beta"),
    ("beta_end", number, "the last beta"),
    ("prediction_type", None, "what the network predicts"),
    ("variance_type", None, "the variance of a reverse step"),
    ("clip_sample", None, "clip the prediction of x_0 to [-1, 1]"),
    ("timestep_spacing", None, "which timesteps a shorter chain visits"),
    ("rescale_betas_zero_snr", None, "make the last noise level pure noise"),
)
TRAIN: Options = (
    ("batch_size", whole, "images a step"),
    ("steps", whole, "optimizer steps"),
    ("epochs", number, "passes through the data, instead of --steps"),
    ("optimizer", None, "which optimizer"),
    ("learning_rate", number, "the highest learning rate"),
    ("weight_decay", number, "the optimizer's weight decay"),
    ("lr_schedule", None, "constant, or falling along half a cosine"),
    ("warmup_steps", from_zero, "steps over which the rate rises"),
    ("gradient_clip", number_or_none, "largest norm of the gradient, or none"),
    ("ema_decay", number_or_none, "decay of the averaged weights, or none"),
    ("bf16", None, "run the network under bfloat16 autocast"),
    ("flip", None, "mirror half of the images"),
    ("class_conditional", None, "tell the network the labels"),
    ("label_dropout", number, "how often it is not told"),
    ("draw_on", None, "which generator draws noise"),
    ("save_every", whole, "steps between checkpoints"),
    ("sample_every", whole, "steps between sample grids"),
)


def add_options(
    parser: argparse.ArgumentParser, title: str, config: type, options: Options
) -> None:
    """Add one argument for each option of a config; one that is not given leaves no trace."""
    group = parser.add_argument_group(title, argument_default=argparse.SUPPRESS)
    hints = get_type_hints(config)
    for name, read, text in options:
        flag = "--" + name.replace("_", "-")
        if read is not None:
            group.add_argument(flag, type=read, help=text)
        elif hints[name] is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, help=text)
        else:
            group.add_argument(flag, choices=get_args(hints[name]), help=text)


def given(args: argparse.Namespace, options: Options) -> dict[str, Any]:
    """The options of a group that were given on the command line."""
    return {name: vars(args)[name] for name, *_ in options if name in args}
