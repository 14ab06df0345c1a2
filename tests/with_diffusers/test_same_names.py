"""Both backends have one face: names, order and defaults of every argument, read off signatures."""

import inspect
from inspect import Parameter
from typing import Any

import pytest
import torch

import scratch
import with_diffusers

CLASSES = tuple(name for name in scratch.__all__ if isinstance(getattr(scratch, name), type))
FUNCTIONS = ("chain_problem", "config_problem")
METHODS = {
    "DDPMScheduler": (
        "set_timesteps",
        "add_noise",
        "get_velocity",
        "scale_model_input",
        "previous_timestep",
        "step",
        "from_config",
        "save_pretrained",
        "save_config",
        "push_to_hub",
        "from_pretrained",
    ),
    "UNet2DModel": (
        "forward",
        "from_config",
        "save_pretrained",
        "push_to_hub",
        "from_pretrained",
    ),
    "DDPMPipeline": (
        "__call__",
        "to",
        "set_progress_bar_config",
        "save_pretrained",
        "push_to_hub",
        "from_pretrained",
    ),
}
METHODS["DDIMScheduler"] = METHODS["DDPMScheduler"]
ATTRIBUTES = {
    "DDPMScheduler": (
        "betas",
        "alphas",
        "alphas_cumprod",
        "timesteps",
        "config",
        "init_noise_sigma",
        "order",
        "compatibles",
    ),
    "UNet2DModel": ("config", "device", "dtype"),
    "DDPMPipeline": ("unet", "scheduler", "device", "dtype"),
}
ATTRIBUTES["DDIMScheduler"] = ATTRIBUTES["DDPMScheduler"]

# Where `scratch` offers more: {(class, method): arguments that Diffusers does not have there}.
MORE = {("DDIMScheduler", "set_timesteps"): {"timesteps"}}
# Methods that one class of Diffusers lacks.
OURS_ALONE = {("DDIMScheduler", "previous_timestep")}
# A default of ours where Diffusers wants the argument: the price of the argument above.
OURS_MAY_DEFAULT = {("DDIMScheduler", "set_timesteps", "num_inference_steps")}
VARIABLE = (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL)


def arguments(function: Any) -> dict[str, Parameter]:
    return {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "self"
        and parameter.kind not in (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL)
    }


def takes_anything(function: Any) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return any(parameter.kind in VARIABLE for parameter in parameters)


def test_the_same_four_classes_and_two_functions() -> None:
    assert sorted(with_diffusers.__all__) == sorted(scratch.__all__)
    assert sorted(scratch.__all__) == sorted([*CLASSES, *FUNCTIONS])
    for name in CLASSES:
        assert getattr(with_diffusers, name).__module__.startswith("diffusers.")
    for name in scratch.__all__:
        assert name in with_diffusers.__doc__, f"no line on {name}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_take_the_same_arguments(name: str) -> None:
    ours, theirs = getattr(scratch, name), getattr(with_diffusers, name)
    assert inspect.signature(ours) == inspect.signature(theirs)


@pytest.mark.parametrize("name", CLASSES)
def test_constructors_take_a_subset_in_the_same_order_with_the_same_defaults(name: str) -> None:
    ours = arguments(getattr(scratch, name))
    theirs = arguments(getattr(with_diffusers, name))
    assert [n for n in theirs if n in ours] == list(ours)
    for argument, parameter in ours.items():
        assert parameter.default == theirs[argument].default, argument


@pytest.mark.parametrize(
    ("name", "method"), [(name, method) for name in METHODS for method in METHODS[name]]
)
def test_methods_take_the_same_arguments(name: str, method: str) -> None:
    if (name, method) in OURS_ALONE:
        assert not hasattr(getattr(with_diffusers, name), method), "now there: compare it"
        ours = getattr(scratch, name)
        assert getattr(ours, method) is getattr(scratch.DDPMScheduler, method)
        return
    own = getattr(getattr(scratch, name), method)
    other = getattr(getattr(with_diffusers, name), method)
    ours, theirs = arguments(own), arguments(other)
    more = set(ours) - set(theirs)
    if takes_anything(other):
        ours = {n: p for n, p in ours.items() if n in theirs}
    else:
        assert more == MORE.get((name, method), set())
    assert [n for n in theirs if n in ours] == [n for n in ours if n not in more]
    for argument, parameter in ours.items():
        if argument in more or parameter.default is Parameter.empty:
            continue
        if (name, method, argument) in OURS_MAY_DEFAULT:
            assert theirs[argument].default is Parameter.empty
        else:
            assert parameter.default == theirs[argument].default, argument
    for argument in set(theirs) - set(ours):  # what we do not have can be left out there
        assert theirs[argument].default is not Parameter.empty, argument


@pytest.mark.parametrize("name", CLASSES)
def test_every_public_method_of_ours_is_one_of_these(name: str) -> None:
    """A method added to the face must be added here, and so compared."""
    ours = getattr(scratch, name)
    inherited = set(dir(torch.nn.Module)) if issubclass(ours, torch.nn.Module) else set()
    public = {
        attribute
        for attribute in dir(ours)
        if not attribute.startswith("_")
        and attribute not in inherited
        and callable(getattr(ours, attribute))
    }
    assert public <= {*METHODS[name], "forward"}


def test_attributes_are_there_and_alike() -> None:
    small = {
        "sample_size": 8,
        "down_block_types": ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",),
        "block_out_channels": (8,),
        "norm_num_groups": 4,
    }
    for package in (scratch, with_diffusers):
        unet = package.UNet2DModel(**small)
        made = {
            "UNet2DModel": unet,
            "DDPMScheduler": package.DDPMScheduler(),
            "DDIMScheduler": package.DDIMScheduler(),
            "DDPMPipeline": package.DDPMPipeline(unet, package.DDPMScheduler()),
        }
        for name, attributes in ATTRIBUTES.items():
            assert all(hasattr(made[name], attribute) for attribute in attributes), name
        for name in ("DDPMScheduler", "DDIMScheduler"):
            assert len(made[name]) == 1000
            assert made[name].alphas_cumprod.dtype == torch.float32
            assert made[name].timesteps.dtype == torch.int64
            assert (made[name].order, made[name].init_noise_sigma) == (1, 1.0)
        assert (unet.device.type, unet.dtype) == ("cpu", torch.float32)
        assert unet.config.sample_size == 8
