"""The exercises of the book, as data: which formula, which checks, which wrong answers."""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NOT_ASKED = "not part of this exercise"
FOLDER = Path(__file__).resolve().parent.parent / "docs" / "exercises"


@dataclass(frozen=True)
class Exercise:
    """One formula to write.

    Attributes:
        id: page of the book and a letter.
        module: the file of `scratch` that holds our answer.
        function: its name, and the name of the reader's.
        stage: the stage of `compare` that judges it.
        mistakes: those of the catalogue that can be made in this formula by itself.
        scheduler: the class of `scratch` that uses it, unless the stage is *unet*.
        used_in: the only file of `scratch` where the answer takes the place of ours; all if empty.
        variance: the only `variance_type` that the scheduler offers here, if another would not use
            the formula.
    """

    id: str
    module: str
    function: str
    stage: str
    mistakes: tuple[str, ...] = ()
    scheduler: str = "DDPMScheduler"
    variance: str = ""
    used_in: str = ""

    @property
    def ours(self) -> Callable[..., Any]:
        """The function of `scratch`."""
        found: Callable[..., Any] = getattr(importlib.import_module(self.module), self.function)
        return found

    @property
    def stub(self) -> Path:
        """The file that the reader edits."""
        here = Path("docs", "exercises", f"ex_{self.id}.py")  # in the clone that one stands in
        return here if here.exists() else FOLDER / here.name

    @property
    def solution(self) -> str:
        """Our function, as it stands in the file."""
        return inspect.getsource(self.ours)


OF_A_STD = ("49", "53", "54", "54-previous", "58", "59", "59-root", "50-unlogged", "49-beta")

EXERCISES = (
    Exercise("2a", "scratch.schedule", "linear", "schedule", ("7", "8", "8-tenfold")),
    Exercise(
        "2b",
        "scratch.schedule",
        "cosine",
        "schedule",
        ("10-square", "10-offset", "10-linear", "10-early", "10-cap", "11"),
    ),
    Exercise("2c", "scratch.schedule", "zero_terminal_snr", "schedule"),
    Exercise("2d", "scratch.schedule", "scaled_linear", "schedule", ("7-inverse",)),
    Exercise("2e", "scratch.schedule", "sigmoid", "schedule"),
    Exercise(
        "3a",
        "scratch.forward",
        "add_noise",
        "forward",
        ("5", "6", "5-6", "5-swapped", "17-forward", "18-forward", "31"),
    ),
    Exercise(
        "4a",
        "scratch.reverse",
        "x_0_from_eps",
        "prediction",
        ("26", "42", "6-x0", "47-x0", "42-bracket", "42-minus-one"),
    ),
    Exercise("4b", "scratch.reverse", "x_0_from_v", "prediction", ("24", "25", "26-v")),
    Exercise(
        "4c",
        "scratch.reverse",
        "eps_from_x_0",
        "mean",
        ("28", "28-root"),
        scheduler="DDIMScheduler",
        used_in="scratch.reverse",
    ),
    Exercise("4d", "scratch.forward", "velocity", "forward", ("24-velocity", "25-velocity")),
    Exercise("4e", "scratch.reverse", "eps_from_v", "mean", scheduler="DDIMScheduler"),
    Exercise(
        "6a",
        "scratch.reverse",
        "posterior_mean",
        "mean",
        ("37", "38", "39", "40", "41", "40-unshifted", "37-beta", "41-root", "39-alpha-bar"),
    ),
    Exercise("6b", "scratch.reverse", "dynamic_threshold", "prediction", ("68", "68-divide")),
    Exercise(
        "7a",
        "scratch.reverse",
        "posterior_variance",
        "variance",
        OF_A_STD,
        variance="fixed_small",
    ),
    Exercise(
        "9a",
        "scratch.unet",
        "timestep_embedding",
        "unet",
        (
            "88",
            "88-shift",
            "88-both",
            "88-period",
            "88-exponent",
            "88-alternating",
            "88-scaled",
            "89",
            "89-integer",
        ),
    ),
    Exercise("11a", "scratch.timesteps", "leading", "timesteps", ("74",)),
    Exercise("11b", "scratch.timesteps", "linspace", "timesteps"),
    Exercise("11c", "scratch.timesteps", "trailing", "timesteps", ("73",)),
    Exercise(
        "11d",
        "scratch.ddim",
        "ddim_sigma",
        "variance",
        OF_A_STD,
        scheduler="DDIMScheduler",
    ),
    Exercise(
        "11e",
        "scratch.ddim",
        "ddim_mean",
        "mean",
        ("82", "82-square", "83"),
        scheduler="DDIMScheduler",
    ),
    Exercise(
        "12a",
        "scratch.noise",
        "draw_noise",
        "variance",
        ("61", "62", "62-channel", "63", "63-centred"),
        variance="fixed_small",
    ),
)


BY_ID = {exercise.id: exercise for exercise in EXERCISES}
