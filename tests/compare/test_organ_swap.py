"""The organ swap: eight combinations draw the same pictures, and a wrong part is named."""

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

import scratch
from compare import cli
from compare.backends import organ_swap as pipeline
from compare.backends.network import TINY, random_weights
from compare.backends.organ_swap import (
    ALL,
    ALLOWED,
    SETTINGS,
    judge_run,
    judge_swaps,
    organ_swap,
    organs_of,
    swaps,
)
from compare.backends.training import settings, small_sprites
from compare.mistakes import BY_ID
from compare.mistakes.network.unet import planted
from tests.often import each
from workbench import data as datasets
from workbench import trainer
from workbench.checkpoints import RunFiles
from workbench.config import DIGITS, RunConfig
from workbench.metrics import Metrics

WHOLE = ("diffusers",) * 3


def tiny() -> scratch.UNet2DModel:
    unet = scratch.UNet2DModel(**TINY)
    unet.load_state_dict(random_weights(unet, 0))
    return unet.eval()


def failing(organs: pipeline.Organs, steps: int = 10) -> dict[str, str]:
    checks = judge_swaps("", swaps(organs, steps, 0))
    return {c.id.split("/")[1]: c.message for c in checks if not c.passed}


def saved_run(folder: Path, config: RunConfig, steps: int, data: Any) -> Path:
    unet, scheduler = trainer.new_parts(config, data)
    state = trainer.new_state(unet, config.train)
    metrics = Metrics(config.train.batch_size, len(data.images))
    training = trainer.training_steps(state, scheduler, data, config.train, config.seed)
    for _ in range(steps):
        metrics.add(next(training))
    metrics.read()
    RunFiles(folder, config, data.fingerprint()).save(state, scheduler, metrics.rows())
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    config = settings("quick", 0)["plain"]
    return saved_run(tmp_path_factory.mktemp("runs") / "plain", config, 5, small_sprites())


# --- the same pictures ---


@pytest.mark.parametrize("seed", each(2, range(5)))
def test_all_combinations_draw_the_same_pictures(seed):
    checks = list(pipeline.checks("quick", seed))
    assert [c.line() for c in checks if not c.passed] == []
    assert len(checks) == len(ALL) == 8
    for check in checks:
        assert check.stage == "pipeline"
        assert check.measured <= check.allowed == ALLOWED
        assert check.reason


@pytest.mark.parametrize("name", sorted(SETTINGS.keys() - {"plain"}))
def test_full_draws_with_other_targets_and_ddim(name, monkeypatch):
    monkeypatch.setattr(pipeline, "SETTINGS", {name: SETTINGS[name]})
    checks = list(pipeline.checks("full", 0))
    assert [c.line() for c in checks if not c.passed] == []
    assert sum(c.id.startswith(f"pipeline/{name}/") for c in checks) == 8


def test_the_organ_swap_of_a_network_shows_each_difference():
    lines: list[str] = []
    found = organ_swap(tiny(), steps=3, show=lines.append)
    assert [swap.combination for swap in found] == list(ALL)
    assert len(lines) == 8
    assert lines[1].startswith("network scratch, scheduler scratch, pipeline diffusers: ")
    assert all(swap.largest <= ALLOWED and swap.grey_levels <= 1 for swap in found)
    assert dict(zip(ALL, found, strict=True))[WHOLE].largest == 0


def test_either_backends_network_may_be_given(capsys):
    theirs = diffusers.UNet2DModel(**TINY)
    theirs.load_state_dict(tiny().state_dict())
    assert organ_swap(theirs, steps=2) == organ_swap(tiny(), steps=2)
    assert len(capsys.readouterr().out.splitlines()) == 16


# --- a wrong part ---


class TooNoisy(scratch.DDPMScheduler):
    """Adds 1 % too much noise."""

    def step(self, model_output, timestep, sample, generator=None, return_dict=True):
        before = generator.get_state()
        right = super().step(model_output, timestep, sample, generator, return_dict)
        after = generator.get_state()
        generator.set_state(before)
        zero = torch.zeros_like(sample)
        noise = super().step(zero, timestep, zero, generator).prev_sample
        generator.set_state(after)
        return right._replace(prev_sample=right.prev_sample + 0.01 * noise)


class NotRescaled(scratch.DDPMPipeline):
    """Shows [0, 1] of what is in [-1, 1]."""

    def __call__(self, **given: Any) -> Any:
        images = super().__call__(**given).images
        return argparse.Namespace(images=(2 * images - 1).clip(0, 1))


def test_a_wrong_network_is_named():
    organs = organs_of(tiny())
    planted(organs["network"]["scratch"], BY_ID["91"])
    found = failing(organs)
    assert set(found) == {"+".join(c) for c in ALL if c[0] == "scratch"}
    assert all("with the network of scratch, and no others" in text for text in found.values())


def test_a_wrong_scheduler_is_named():
    organs = organs_of(tiny())
    organs["scheduler"]["scratch"] = TooNoisy()
    found = failing(organs)
    assert set(found) == {"+".join(c) for c in ALL if c[1] == "scratch"}
    assert all("with the scheduler of scratch, and no others" in text for text in found.values())


def test_a_wrong_pipeline_is_named():
    organs = organs_of(tiny())
    organs["pipeline"]["scratch"] = NotRescaled
    found = failing(organs)
    assert set(found) == {"+".join(c) for c in ALL if c[2] == "scratch"}
    assert all("with the pipeline of scratch, and no others" in text for text in found.values())


def test_two_wrong_parts_are_found_and_none_is_blamed_alone():
    organs = organs_of(tiny())
    organs["scheduler"]["scratch"] = TooNoisy()
    organs["pipeline"]["scratch"] = NotRescaled
    found = failing(organs)
    assert len(found) == 6
    assert not any("of scratch, and no others" in text for text in found.values())


def test_pictures_that_are_not_numbers_are_found():
    organs = organs_of(tiny())
    organs["network"]["scratch"].conv_out.bias.data.fill_(torch.nan)
    assert len(failing(organs)) == 4


# --- trained runs ---


def test_a_run_is_drawn_by_all_combinations(run):
    report = judge_run(run)
    assert report.passed
    assert report.candidate == str(run)
    assert {c.id.split("/")[1] for c in report.checks} == {"50-steps", "largest"}
    assert f"ddpm compare --run {run} --level quick" in report.checks[0].repro
    (line,) = (line for line in str(report).splitlines() if "largest difference of" in line)
    assert all("+".join(combination) in line for combination in ALL)
    found = organ_swap(run, steps=3, show=lambda line: None)
    assert len(found) == 8


def test_a_run_with_labels_is_told_none(tmp_path):
    config = settings("full", 0)["image"]
    folder = saved_run(tmp_path / "labels", config, 2, small_sprites())
    found = organ_swap(folder, steps=3, show=lambda line: None)
    assert max(swap.largest for swap in found) <= ALLOWED


def test_a_folder_that_is_no_run_cannot_be_judged(tmp_path):
    report = judge_run(tmp_path / "nothing")
    assert report.exit_status == 2
    assert "no run" in report.verdict
    with pytest.raises(ValueError, match="no run"):
        organ_swap(tmp_path / "nothing")


def test_the_command_line_judges_a_run(run, tmp_path):
    words = ["--run", str(run), "--json", str(tmp_path / "report.json")]
    done = subprocess.run(
        [sys.executable, "-m", "ddpm", "compare", *words], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{run} is right: 8 checks" in done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["passed"]
    assert len(report["checks"]) == 9


@pytest.mark.parametrize("other", [["--candidate", "a.py:A"], ["--backend", "scratch"]])
def test_a_run_and_a_candidate_exclude_each_other(other, capsys):
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["--run", "runs/a", *other])
    assert "not allowed with" in capsys.readouterr().err


def test_a_run_has_one_stage(run, capsys):
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    args = parser.parse_args(["--run", str(run), "--only", "mean"])
    assert cli.main(args) == 2
    assert "--run judges the stage pipeline alone" in capsys.readouterr().err


@pytest.mark.long
def test_500_steps_of_a_trained_digits_model_are_within_one_grey_level(tmp_path, capsys):
    config = replace(DIGITS, train=replace(DIGITS.train, steps=300))
    folder = saved_run(tmp_path / "digits", config, 300, datasets.load("digits"))
    for swap in organ_swap(folder):
        assert swap.largest <= ALLOWED, swap
        assert swap.grey_levels <= 1, swap
    assert capsys.readouterr().out.count("grey levels") == 8
