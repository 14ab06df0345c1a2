"""What a run may be, what is refused, and the way through JSON and back."""

import json
import math
from dataclasses import fields, replace
from typing import Any, get_args

import diffusers
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench import config as configs
from workbench.config import (
    PRESETS,
    CodeConfig,
    DiffusionConfig,
    ModelConfig,
    RunConfig,
    TrainConfig,
    seconds_in,
)
from workbench.fields import options_of


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name: str) -> None:
    preset = PRESETS[name]
    assert RunConfig.from_dict(json.loads(json.dumps(preset.to_dict()))) == preset


def test_an_older_run_says_its_precision_otherwise() -> None:
    for bf16, precision in ((True, "bf16"), (False, "float32")):
        older = RunConfig().to_dict()
        del older["train"]["precision"], older["train"]["accumulate"]
        older["train"]["bf16"] = bf16
        read = RunConfig.from_dict(older).train
        assert (read.precision, read.accumulate) == (precision, 1)


def test_accumulated_batches_are_one_step() -> None:
    train = TrainConfig(steps=None, epochs=2, batch_size=10, accumulate=3)
    assert train.images_a_step == 30
    assert train.total_steps(100) == 7  # of 200 images, in steps of 30


@settings(max_examples=25)
@given(
    st.builds(
        RunConfig,
        backend=st.sampled_from(["scratch", "diffusers"]),
        seed=st.integers(0, 2**40),
        labels=st.none() | st.text(),
        model=st.builds(
            ModelConfig,
            channels=st.just((8, 16, 24)),
            attention=st.tuples(*3 * [st.booleans()]),
            dropout=st.floats(0, 1, exclude_max=True),
        ),
        diffusion=st.builds(
            DiffusionConfig,
            beta_schedule=st.sampled_from(get_args(configs.BetaSchedule)),
            prediction_type=st.sampled_from(get_args(configs.PredictionType)),
            clip_sample=st.booleans(),
        ),
        scheduler_code=st.none()
        | st.builds(CodeConfig, name=st.text(), sha256=st.text(), told=st.just(("beta_end",))),
        unet_code=st.none() | st.builds(CodeConfig, called=st.just(("t counts from 1",))),
        train=st.builds(
            TrainConfig,
            steps=st.none(),
            epochs=st.floats(1e-6, 1e6),
            gradient_clip=st.none() | st.floats(1e-6, 1e6),
            ema_decay=st.none() | st.floats(0, 1, exclude_max=True),
        ),
    )
)
def test_any_run_survives_json(run: RunConfig) -> None:
    assert RunConfig.from_dict(json.loads(json.dumps(run.to_dict()))) == run


def test_the_tutorial_is_the_tutorials() -> None:
    """Every argument of its listing: two levels (128, 64) without attention but in the middle, two
    layers a block, pictures 16x16 of 3 channels, T = 500, batch 100, 32 epochs, Adam at 1e-4; all
    else as Diffusers has it."""
    run = PRESETS["tutorial"]
    listed = {
        "sample_size": 16,
        "in_channels": 3,
        "out_channels": 3,
        "layers_per_block": 2,
        "block_out_channels": (128, 64),
        "down_block_types": ("DownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D"),
    }
    with torch.device("meta"):
        theirs = diffusers.UNet2DModel(**listed)
        ours = diffusers.UNet2DModel(**run.model.unet_arguments((3, 16, 16), None))
    assert _said(ours) == _said(theirs)
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=500)
    ours_too = diffusers.DDPMScheduler(**run.diffusion.scheduler_arguments())
    assert _said(ours_too) == _said(scheduler)
    train = run.train
    assert (train.batch_size, train.epochs, train.learning_rate) == (100, 32, 1e-4)
    assert (train.optimizer, train.lr_schedule, train.weight_decay) == ("adam", "constant", 0)
    assert (train.ema_decay, train.gradient_clip, train.warmup_steps) == (None, None, 0)
    assert (train.flip, train.precision, train.class_conditional) == (False, "float32", False)
    assert train.total_steps(89_400) == 32 * 894


def _said(part: Any) -> dict[str, Any]:
    """A config of Diffusers without what it notes of how it was made."""
    return {name: value for name, value in part.config.items() if not name.startswith("_")}


def test_a_time_in_words() -> None:
    assert [seconds_in(text) for text in ("30s", "10min", "2h")] == [30, 600, 7200]


BAD: list[tuple[Any, dict[str, Any], str]] = [
    (ModelConfig, {"channels": (32, 64, 128)}, "one entry for each level"),
    (ModelConfig, {"channels": (), "attention": ()}, "one entry for each level"),
    (ModelConfig, {"channels": [32, 64]}, "channels must be a tuple, each a whole number"),
    (ModelConfig, {"channels": (32, 20)}, "must be multiples of norm_num_groups=8, got 20"),
    (ModelConfig, {"channels": (0, 8)}, "must be multiples of norm_num_groups=8, got 0"),
    (ModelConfig, {"attention": (0, 1)}, "attention must be a tuple, each True or False"),
    (ModelConfig, {"norm_num_groups": 0}, "norm_num_groups must be at least 1, got 0"),
    (ModelConfig, {"layers_per_block": 1.5}, "layers_per_block must be a whole number, got 1.5"),
    (ModelConfig, {"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
    (ModelConfig, {"dropout": math.nan}, "dropout must be a number, got nan"),
    (DiffusionConfig, {"num_train_timesteps": 0}, "must be at least 1, got 0"),
    (DiffusionConfig, {"num_train_timesteps": True}, "must be a whole number, got True"),
    (DiffusionConfig, {"beta_schedule": "cosine"}, "must be one of linear, scaled_linear, .*cosi"),
    (DiffusionConfig, {"prediction_type": "v"}, "must be one of epsilon, sample, v_prediction"),
    (DiffusionConfig, {"clip_sample": "no"}, "clip_sample must be True or False, got 'no'"),
    (DiffusionConfig, {"beta_end": "0.02"}, "beta_end must be a number, got '0.02'"),
    (TrainConfig, {"batch_size": 0}, "batch_size must be at least 1 and at most 1e.06, got 0"),
    (TrainConfig, {"steps": 0}, "steps must be positive and at most 1e.12, got 0"),
    (TrainConfig, {"steps": 2.5}, "steps must be a whole number or None, got 2.5"),
    (TrainConfig, {"steps": None}, "give steps or epochs, and not both; got None, None"),
    (TrainConfig, {"epochs": 1}, "give steps or epochs, and not both; got 600, 1"),
    (
        TrainConfig,
        {"steps": None, "epochs": 0.0},
        "epochs must be positive and at most 1e.09, got 0.0",
    ),
    (TrainConfig, {"learning_rate": 0}, "learning_rate must be at least 1e-12 and at most 1e"),
    (TrainConfig, {"learning_rate": math.inf}, "learning_rate must be a number, got inf"),
    (TrainConfig, {"gradient_clip": -1.0}, "gradient_clip must be positive, got -1.0"),
    (TrainConfig, {"ema_decay": 1.0}, "ema_decay must be at least 0 and below 1, got 1.0"),
    (TrainConfig, {"label_dropout": 1.1}, "label_dropout must be at least 0"),
    (TrainConfig, {"warmup_steps": -1}, "warmup_steps must be at least 0, got -1"),
    (TrainConfig, {"weight_decay": -0.1}, "weight_decay must be at least 0, got -0.1"),
    (TrainConfig, {"optimizer": "sgd"}, "optimizer must be one of adam, adamw, got 'sgd'"),
    (TrainConfig, {"draw_on": "gpu"}, "draw_on must be one of cpu, device"),
    (DiffusionConfig, {"beta_end": 0.1, "beta_start": 0.5}, "beta_start is 0.5, above beta_end=0"),
    (TrainConfig, {"steps": 5, "warmup_steps": 5}, "warmup_steps is 5 and the run has 5 steps"),
    (TrainConfig, {"batch_size": 10**20}, "batch_size must be at least 1 and at most 1e"),
    (TrainConfig, {"learning_rate": 1e-300}, "learning_rate must be at least 1e-12 and at most"),
    (TrainConfig, {"save_every": 0}, "save_every must be at least 1"),
    (TrainConfig, {"save_every": "10"}, "save_every must be steps, or a time such as 10min, got"),
    (TrainConfig, {"save_every": "0s"}, "save_every must be steps, or a time such as 10min, got"),
    (TrainConfig, {"save_every": "5 min"}, "save_every must be steps, or a time such as 10min"),
    (TrainConfig, {"sample_every": 0}, "sample_every must be positive"),
    (RunConfig, {"backend": "Diffusers"}, "backend must be one of scratch, diffusers"),
    (RunConfig, {"seed": -1}, "seed must be at least 0, got -1"),
    (RunConfig, {"model": {}}, "model must be ModelConfig, got {}"),
    (RunConfig, {"data": None}, "data must be text, got None"),
]


@pytest.mark.parametrize(("cls", "values", "message"), BAD, ids=lambda case: str(case)[:40])
def test_bad_values_are_refused(cls: Any, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        cls(**values)
    assert "\n" not in str(refused.value)
    assert list(values)[-1] in str(refused.value)  # the argument is named


def test_the_ends_of_every_range_are_allowed() -> None:
    ModelConfig(
        dropout=0.0, norm_num_groups=1, layers_per_block=1, channels=(1,), attention=(False,)
    )
    DiffusionConfig(num_train_timesteps=1)
    TrainConfig(batch_size=1, steps=1, ema_decay=0, label_dropout=1, warmup_steps=0, save_every=1)
    TrainConfig(label_dropout=0.0)


@pytest.mark.parametrize("config", [ModelConfig, DiffusionConfig, TrainConfig, RunConfig])
def test_every_field_says_what_it_is(config: Any) -> None:
    parts = {"model", "diffusion", "train", "scheduler_code", "unet_code"}
    parts = parts if config is RunConfig else set()
    said = options_of(config)
    assert said.keys() == {field.name for field in fields(config)} - parts
    assert all(option["help"] for option in said.values())


def changed(**changes: Any) -> dict[str, Any]:
    return {**RunConfig().to_dict(), **changes}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "this is no config of a run: it has no backend, data, model"),
        (changed(extra=1), "RunConfig has no entry extra; it has backend, data"),
        (changed(model={"width": 3}), "ModelConfig has no entry width; it has attention"),
        (changed(train=[1, 2]), r"TrainConfig must be an object with entries, got \[1, 2\]"),
        (changed(train={"batch_size": "128"}), "batch_size must be a whole number, got '128'"),
        (changed(model={"channels": "32,64"}), "channels must be a tuple, each a whole number"),
        (changed(seed=None), "seed must be a whole number, got None"),
    ],
)
def test_foreign_json_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RunConfig.from_dict(values)


def test_an_entry_that_an_older_run_lacks_has_its_default() -> None:
    values = RunConfig().to_dict()
    del values["train"]["sample_every"]
    assert RunConfig.from_dict(values) == RunConfig()


@given(st.floats(0.01, 50), st.integers(1, 5000), st.integers(1, 300))
def test_epochs_reach_their_last_image_and_not_a_step_further(
    epochs: float, images: int, batch: int
) -> None:
    steps = TrainConfig(steps=None, epochs=epochs, batch_size=batch).total_steps(images)
    slack = 1e-5 * batch  # fractions of a step that rounding may cost
    assert steps * batch >= epochs * images - slack
    assert (steps - 1) * batch < epochs * images + slack
    assert steps >= 1


@pytest.mark.parametrize(
    ("epochs", "images", "batch", "steps"), [(1.1, 1000, 100, 11), (3, 10, 4, 8)]
)
def test_steps_of_epochs(epochs: float, images: int, batch: int, steps: int) -> None:
    assert TrainConfig(steps=None, epochs=epochs, batch_size=batch).total_steps(images) == steps


def test_steps_are_steps_however_many_images_there_are() -> None:
    assert TrainConfig(steps=7).total_steps(3) == TrainConfig(steps=7).total_steps(10**6) == 7


@pytest.mark.parametrize(("height", "width"), [(6, 8), (8, 6), (7, 7)])
def test_pictures_that_the_unet_cannot_halve_are_refused(height: int, width: int) -> None:
    model = ModelConfig(channels=(8, 8, 8), attention=(False,) * 3)
    wrong = "height" if height % 4 else "width"
    with pytest.raises(ValueError, match=f"halves pictures 2 times, and {wrong} . is not a multi"):
        model.unet_arguments((1, height, width), None)


def test_unet_arguments() -> None:
    model = ModelConfig(channels=(8, 16), attention=(True, False), dropout=0.1)
    made = model.unet_arguments((3, 8, 8), None)
    assert made["sample_size"] == 8
    assert made["down_block_types"] == ("AttnDownBlock2D", "DownBlock2D")
    assert made["up_block_types"] == ("UpBlock2D", "AttnUpBlock2D")  # coarsest first
    assert made["num_class_embeds"] is None
    assert model.unet_arguments((3, 8, 16), 5)["num_class_embeds"] == 6  # and "no label"
    assert model.unet_arguments((3, 8, 16), 5)["sample_size"] == (8, 16)


def test_configs_cannot_be_changed_but_copied() -> None:
    run = RunConfig()
    for part in (run, run.model, run.diffusion, run.train):
        name = fields(part)[0].name
        with pytest.raises(AttributeError):
            setattr(part, name, getattr(part, name))
    assert replace(run, seed=3).seed == 3
