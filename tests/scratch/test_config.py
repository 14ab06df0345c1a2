"""Configs: read-only, copied, saved, and exchanged with Diffusers in both directions."""

import copy
import json
import pickle
import re

import diffusers
import numpy as np
import pytest
import torch

import scratch
from scratch.compat.config import Config

NAMES = ["DDPMScheduler", "DDIMScheduler"]
OTHER = {
    "num_train_timesteps": 77,
    "beta_end": 0.03,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "prediction_type": "v_prediction",
    "thresholding": True,
    "dynamic_thresholding_ratio": 0.9,
    "clip_sample_range": 2.0,
    "sample_max_value": 1.5,
    "timestep_spacing": "trailing",
    "steps_offset": 1,
    "rescale_betas_zero_snr": True,
}


@pytest.mark.parametrize("name", NAMES)
def test_config_holds_every_argument_and_the_class(name: str) -> None:
    config = getattr(scratch, name)(**OTHER).config
    assert {key: config[key] for key in OTHER} == OTHER
    assert all(getattr(config, key) == value for key, value in OTHER.items())
    assert (config._class_name, config["_diffusers_version"]) == (name, "0.42.1")
    theirs = getattr(diffusers, name)(**OTHER).config
    assert set(config) == set(theirs) - {"_use_default_values"} | {
        "_class_name",
        "_diffusers_version",
    }


def test_config_is_read_only_in_depth_and_can_be_copied() -> None:
    config = scratch.DDPMScheduler(num_train_timesteps=2, trained_betas=[0.1, 0.2]).config
    for change in (
        lambda: config.__setitem__("beta_end", 1),
        lambda: setattr(config, "beta_end", 1),
        lambda: config.pop("beta_end"),
        lambda: config.popitem(),
        lambda: config.update(beta_end=1),
        lambda: config.setdefault("new", 1),
        lambda: config.__delitem__("beta_end"),
        lambda: delattr(config, "beta_end"),
        lambda: config.clear(),
        lambda: config.__ior__({"beta_end": 1}),
    ):
        with pytest.raises(TypeError, match=r"read-only; make a new object with from_config\("):
            change()
    with pytest.raises(TypeError, match="item assignment"):
        config.trained_betas[0] = 0.5
    with pytest.raises(AttributeError, match="config has no entry 'beta'"):
        _ = config.beta
    for twin in (
        copy.copy(config),
        copy.deepcopy(config),
        pickle.loads(pickle.dumps(config)),
    ):
        assert type(twin) is Config
        assert twin == config
        assert twin.beta_end == 0.02
    assert type(config | {"beta_end": 1}) is dict


def test_a_scheduler_can_be_copied_with_its_state() -> None:
    scheduler = scratch.DDPMScheduler()
    scheduler.set_timesteps(10)
    twin = copy.deepcopy(scheduler)
    scheduler.set_timesteps(5)
    assert len(twin.timesteps) == 10
    assert twin.previous_timestep(900) == 800


@pytest.mark.parametrize("options", [{}, OTHER], ids=["defaults", "everything else"])
@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("source", NAMES)
def test_all_four_moves_between_the_libraries(source: str, target: str, options: dict) -> None:
    for origin, goal in ((scratch, diffusers), (diffusers, scratch), (scratch, scratch)):
        config = getattr(origin, source)(**options).config
        moved = getattr(goal, target).from_config(config)
        for key, value in options.items():
            assert moved.config[key] == value, (origin.__name__, key)
        back = getattr(origin, source).from_config(moved.config)
        for key in options:
            assert back.config[key] == config[key], (origin.__name__, key)


def test_what_only_one_sampler_has_is_left_behind() -> None:
    ddpm = scratch.DDPMScheduler(variance_type="fixed_large")
    ddim = scratch.DDIMScheduler.from_config(ddpm.config, set_alpha_to_one=False)
    assert "variance_type" not in ddim.config
    assert scratch.DDPMScheduler.from_config(ddim.config).config.variance_type == "fixed_small"
    # Diffusers carries it along in the config of its DDIM scheduler; ours takes it up again there.
    theirs = diffusers.DDIMScheduler.from_config(ddpm.config)
    assert scratch.DDPMScheduler.from_config(theirs.config).config.variance_type == "fixed_large"


def test_changes_win_over_the_config() -> None:
    config = scratch.DDPMScheduler(num_train_timesteps=500).config
    moved = scratch.DDPMScheduler.from_config(config, beta_end=0.5, clip_sample=False)
    assert (len(moved), moved.config.beta_end, moved.config.clip_sample) == (500, 0.5, False)
    assert moved.betas[-1] == 0.5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"betas": 3}, "has no argument 'betas' (value 3); remove it"),
        ({"timesteps": 500}, "has no argument 'timesteps' (value 500); remove it"),
        ({"predict_epsilon": False}, "only with predict_epsilon=True, got predict_epsilon=False"),
        ({"tensor_format": "np"}, "is built here only with tensor_format='pt'"),
        ({"beta_schedule": "laplace"}, "beta_schedule must be one of linear"),
    ],
)
def test_unknown_and_unbuilt_entries_are_refused_by_name(name, entries: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        getattr(scratch, name).from_config(entries)
    with pytest.raises(ValueError, match=re.escape(message)):
        getattr(scratch, name).from_config({}, **entries)


@pytest.mark.parametrize(
    ("argument", "only", "refused"),
    [
        ("time_embedding_type", "positional", "fourier"),
        ("time_embedding_dim", None, 128),
        ("downsample_type", "conv", "resnet"),
        ("upsample_type", "conv", "resnet"),
        ("act_fn", "silu", "gelu"),
        ("class_embed_type", None, "timestep"),
        ("num_train_timesteps", None, 1000),
    ],
)
def test_what_the_unet_does_not_build(argument: str, only, refused) -> None:
    small = {
        "block_out_channels": (8,),
        "down_block_types": ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",),
        "norm_num_groups": 2,
    }
    config = diffusers.UNet2DModel(**small).config
    assert config[argument] == only  # Diffusers' default, and accepted
    assert scratch.UNet2DModel.from_config(config).config.block_out_channels == (8,)
    message = f"UNet2DModel is built here only with {argument}={only!r}, got {argument}={refused!r}"
    with pytest.raises(ValueError, match=message):
        scratch.UNet2DModel.from_config({**config, argument: refused})


def test_not_a_config() -> None:
    with pytest.raises(ValueError, match=r"takes a config \(a mapping\), got str"):
        scratch.DDPMScheduler.from_config("scheduler_config.json")


def test_a_config_of_2022() -> None:
    """Entries that schedulers took then, as public checkpoints still carry them."""
    old = json.loads(
        '{"_class_name": "DDPMScheduler", "_diffusers_version": "0.1.1", "beta_end": 0.02, '
        '"beta_schedule": "linear", "beta_start": 0.0001, "clip_sample": true, '
        '"num_train_timesteps": 1000, "timestep_values": null, "trained_betas": null, '
        '"tensor_format": "pt", "predict_epsilon": true, "variance_type": "fixed_large"}'
    )
    for name in NAMES:
        assert len(getattr(scratch, name).from_config(old)) == 1000
    assert scratch.DDPMScheduler.from_config(old).config.variance_type == "fixed_large"


def test_arrays_and_tensors_become_plain() -> None:
    betas = [np.float32(0.5), torch.tensor(0.25), 0.125]
    config = scratch.DDPMScheduler(num_train_timesteps=3, trained_betas=betas).config
    assert config.trained_betas == (0.5, 0.25, 0.125)
    assert all(type(beta) is float for beta in config.trained_betas)
    assert json.loads(json.dumps(config))["trained_betas"] == [0.5, 0.25, 0.125]
