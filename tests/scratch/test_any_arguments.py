"""Whatever a public constructor or method is given: it works, or one line names the argument."""

import inspect
import warnings
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import scratch
from tests.scratch.small import SMALL

ODD = [
    *(None, True, False, 0, 1, -1, 2, 3, 8, 10**20, -(10**20), 2**31, 0.5, -0.0, 1e-300, 1e308),
    *(float("nan"), float("inf"), -float("inf"), 1j, Fraction(1, 2), Decimal("0.5")),
    *("", "x", "3", b"x", "epsilon", "sample", "linear", "sigmoid", "squaredcos_cap_v2"),
    *("trailing", "fixed_large", "learned_range", "scale_shift", "UNetMidBlock2D"),
    *([], (), [1], (8, 16), [8, True], [8.0], ["x"], [None], [[8]], {}, {5: 1}, {1, 2}, range(3)),
    *(["DownBlock2D", "DownBlock2D"], ("UpBlock2D", "AttnUpBlock2D"), [0.1, 2.0], "ab"),
    *([10**20, 10**20], object(), int, np.int64(3), np.float64("nan"), np.array([0.1, 0.2])),
]


def odd_tensors() -> list[torch.Tensor]:
    made = [torch.tensor(value) for value in (3, [1, 2], float("nan"), True, [0.5, 0.5])]
    return [*made, torch.zeros(2, 1, 8, 8), torch.zeros(1, 1, 8, 8, dtype=torch.float64)]


ANYTHING = st.sampled_from(ODD) | st.deferred(lambda: st.sampled_from(odd_tensors()))
MANY = settings(max_examples=60, deadline=None)


def names_of(function: Callable[..., Any]) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


def changes(function: Callable[..., Any], without: tuple[str, ...] = ()) -> Any:
    """One to three arguments, each anything."""
    names = [name for name in names_of(function) if name not in without]
    some = st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True)
    return some.flatmap(lambda chosen: st.fixed_dictionaries(dict.fromkeys(chosen, ANYTHING)))


def called(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """What it returns; None if it refuses one of its arguments, by name and in one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(**arguments)
    except ValueError as error:
        said = str(error)
        assert "\n" not in said, said
        assert any(name in said for name in names_of(function)), said
        return None


SCHEDULERS = pytest.mark.parametrize("kind", ["DDPMScheduler", "DDIMScheduler"])
SWITCHES = ("return_dict", "use_clipped_model_output", "device")  # true or false of anything


@SCHEDULERS
def test_schedulers(kind: str) -> None:
    make = getattr(scratch, kind)

    @MANY
    @given(changes(make))
    def tried(given: dict[str, Any]) -> None:
        scheduler = called(make, {"num_train_timesteps": 10, **given})
        if scheduler is not None:
            x = torch.zeros(2, 1, 8, 8)
            called(scheduler.set_timesteps, {"num_inference_steps": 1})
            t = int(scheduler.timesteps[0])
            assert called(scheduler.step, {"model_output": x, "timestep": t, "sample": x})

    tried()


@SCHEDULERS
@pytest.mark.parametrize("method", ["set_timesteps", "add_noise", "get_velocity", "step"])
def test_what_schedulers_are_called_with(kind: str, method: str) -> None:
    scheduler = getattr(scratch, kind)(num_train_timesteps=10)
    function = getattr(scheduler, method)
    x = torch.zeros(2, 1, 8, 8)
    usual = {
        "set_timesteps": {},
        "add_noise": {"original_samples": x, "noise": x, "timesteps": torch.tensor([1, 2])},
        "get_velocity": {"sample": x, "noise": x, "timesteps": torch.tensor([1, 2])},
        "step": {"model_output": x, "timestep": 9, "sample": x},
    }[method]

    @MANY
    @given(changes(function, SWITCHES))
    def tried(given: dict[str, Any]) -> None:
        scheduler.set_timesteps(10)
        called(function, {**usual, **given})

    tried()


@settings(max_examples=150, deadline=None)
@given(changes(scratch.UNet2DModel))
def test_networks(given: dict[str, Any]) -> None:
    """On no device, so that large ones cost nothing."""
    with torch.device("meta"):
        called(scratch.UNet2DModel, {**SMALL, **given})


def test_what_networks_are_called_with() -> None:
    plain = scratch.UNet2DModel(**SMALL)
    labelled = scratch.UNet2DModel(**SMALL, num_class_embeds=3)
    usual = {"sample": torch.zeros(2, 1, 8, 8), "timestep": 1}

    @MANY
    @given(changes(plain.forward, SWITCHES), st.booleans())
    def tried(given: dict[str, Any], classes: bool) -> None:
        called(labelled.forward if classes else plain.forward, {**usual, **given})

    tried()
