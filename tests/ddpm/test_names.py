"""Default names: what differs stands in them, so that a second thing does not meet the first."""

from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ddpm import figures, names, sample
from ddpm.cli import build_parser, main
from workbench import training_run
from workbench.backends import choose_device
from workbench.config import PRESETS, RunConfig
from workbench.data import Dataset
from workbench.fields import options_of


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("steps", 50, "steps50"),
        ("eta", 0.5, "eta0.5"),
        ("guidance", 2.0, "guidance2"),
        ("guidance", -1.5, "guidance--1.5"),
        ("class_labels", [3], "class-labels3"),
        ("class_labels", [3, 5], "class-labels3-5"),
        ("channels", (64, 128), "channels64-128"),
        ("attention", (False, True), "attention-no-yes"),
        ("flip", True, "flip"),
        ("clip_sample", False, "no-clip-sample"),
        ("ema_decay", None, "ema-decay-none"),
        ("spacing", "trailing", "spacing-trailing"),
        ("labels", "far/away/my labels.npy", "labels-my-labels.npy"),
        ("data", "pictures/", "data-pictures"),
        ("run", "runs/a_learning-rate0.002", "run-a_learning-rate0.002"),
    ],
)
def test_words(option: str, value: Any, said: str) -> None:
    assert names.word(option, value) == said


def test_long_names_stay_short_and_apart() -> None:
    """The labels of 64 pictures, two of which differ at the end."""
    one, two = ([*range(64), last] for last in (1, 2))
    named = [names.joined(["ddpm", names.word("class_labels", each)]) for each in (one, two)]
    assert named[0] != named[1]
    assert all(len(name) <= names.LONGEST for name in named)
    assert all(name.startswith("ddpm_class-labels0-1-2") for name in named)


def run_folder(words: str) -> str:
    from ddpm.train import run_config

    return names.run_folder(run_config(build_parser().parse_args(["train", *words.split()])))


@pytest.mark.parametrize(
    ("words", "folder"),
    [
        ("", "digits-scratch"),
        ("--backend diffusers", "digits-diffusers"),
        ("--preset sprites", "sprites-scratch"),
        ("--preset sprites --data sprites", "sprites-scratch"),
        ("--data sprites", "sprites-scratch_digits"),  # another network than the preset's
        ("--preset tutorial", "sprites-scratch_tutorial"),
        ("--preset tutorial --seed 3", "sprites-scratch_tutorial_seed3"),
        ("--class-conditional", "digits-scratch_class-conditional"),
        ("--steps 1000 --no-clip-sample", "digits-scratch_no-clip-sample_steps1000"),
        ("--data pictures/ --size 32", "pictures-scratch_size32"),
        ("--data a/b.npy --labels c.npy", "b-scratch_labels-c.npy"),
        ("--epochs 20", "digits-scratch_epochs20"),
    ],
)
def test_run_folders(words: str, folder: str) -> None:
    assert run_folder(words) == f"runs/{folder}"


def other(config: Any, name: str) -> Any:
    """Another value for an option of a config, that is right."""
    value, said = getattr(config, name), options_of(type(config))[name]
    if isinstance(value, bool):
        return not value
    words = {
        "backend": "diffusers", "data": "pictures", "labels": "labels.npy", "channels": (64, 128),
        "attention": (True, False), "optimizer": "adam", "lr_schedule": "constant",
        "draw_on": "device", "beta_schedule": "sigmoid", "prediction_type": "sample",
        "variance_type": "fixed_large", "timestep_spacing": "trailing", "norm_num_groups": 4,
        "beta_start": 0.001, "precision": "bf16",
    }  # fmt: skip
    if name in words:
        return words[name]
    return next(v for v in (3, 0.5) if v != value and v in said["range"])


def changed_by_one(config: RunConfig) -> list[RunConfig]:
    """The config with each of its options changed, one at a time."""
    found = [replace(config, **{name: other(config, name)}) for name in options_of(type(config))]
    for part in ("model", "diffusion", "train"):
        old = getattr(config, part)
        for name in options_of(type(old)):
            more = {"steps": None} if name == "epochs" else {}
            new = replace(old, **more, **{name: other(old, name)})
            found.append(replace(config, **{part: new}))
    return found


def test_no_two_runs_share_a_folder() -> None:
    configs = [*PRESETS.values(), *changed_by_one(RunConfig())]
    assert len(configs) > 35
    assert len({names.run_folder(config) for config in configs}) == len(configs)


SAMPLE = Namespace(
    sampler="ddpm", backend="scratch", seed=0, steps=None, spacing=None, eta=None,
    count=sample.COUNT, class_labels=None, guidance=1.0, precision="float32",
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "ddpm_scratch_seed0"),
        ({"steps": 500, "eta": 0.0, "class_labels": None}, "ddpm_scratch_seed0"),  # T is 500
        ({"steps": 50}, "ddpm_scratch_seed0_steps50"),
        ({"sampler": "ddim", "eta": 0.5}, "ddim_scratch_seed0_eta0.5"),
        ({"class_labels": [3], "guidance": 2.0}, "ddpm_scratch_seed0_class-labels3_guidance2"),
        ({"backend": "diffusers", "count": 4}, "ddpm_diffusers_seed0_count4"),
        ({"spacing": "trailing", "seed": 7}, "ddpm_scratch_seed7_spacing-trailing"),
        ({"precision": "bf16"}, "ddpm_scratch_seed0_precision-bf16"),
    ],
)
def test_names_of_grids(changes: dict[str, Any], name: str) -> None:
    args = Namespace(**{**vars(SAMPLE), **changes})
    assert sample.default_name(args, T=500) == f"{name}.png"


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("data", "data"),
        ("data --data digits --count 5", "data_data-digits_count5"),
        ("data --count 48", "data_count48"),
        ("losses runs/a runs/b/", "losses_a_b"),
        ("schedules --num-train-timesteps 500", "schedules"),
        ("schedules --num-train-timesteps 50", "schedules_num-train-timesteps50"),
        ("trajectory runs/a --seed 0 --steps 9", "trajectory_a_steps9"),
        ("noising --backend diffusers", "noising_backend-diffusers"),
    ],
)
def test_names_of_figures(words: str, name: str) -> None:
    args = build_parser().parse_args(["plot", *words.split()])
    assert figures.default_name(args) == f"{name}.png"


def test_a_second_picture_lies_beside_the_first(
    tiny: Callable[..., RunConfig], dataset: Dataset, tmp_path: Path
) -> None:
    config = tiny(class_conditional=True)
    training_run.train(config, tmp_path, dataset, device=choose_device("cpu"), progress=False)
    for words in (
        "",
        "--count 4",
        "--class-labels 1",
        "--class-labels 1 --guidance 2",
        "--steps 5",
        "--sampler ddim --steps 5",
        "--sampler ddim --steps 5 --eta 1",
        "--sampler ddim --steps 5 --spacing trailing",
    ):
        assert main(["sample", str(tmp_path), "--quiet", "--device", "cpu", *words.split()]) == 0
    assert len([*(tmp_path / "samples").iterdir()]) == 8
    assert main(["sample", str(tmp_path), "--quiet", "--device", "cpu", "--steps", "20"]) == 2  # T
