"""Two runs are the same to rounding; anything more, and the trainer's own mistakes, are found."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import diffusers
import pytest
import torch
from torch import nn

from compare.backends import training
from compare.backends.trained import Trained, train
from compare.backends.training import (
    BY_HAND,
    judge_losses,
    judge_runs,
    losses_by_hand,
    settings,
    small_sprites,
)
from compare.backends.training_alone import (
    SYMPTOMS,
    judge_average,
    judge_sampling_mode,
    judge_trainer,
)
from compare.measure.check import Check
from compare.mistakes import AVERAGES
from workbench import ema, one_step
from workbench.ema import EMA

PLAIN = settings("quick", 0)["plain"]


@pytest.fixture(scope="module")
def data():
    return small_sprites()


@pytest.fixture(scope="module")
def theirs(data) -> Trained:
    with torch.no_grad():  # as in a comparison
        return train(replace(PLAIN, backend="diffusers"), data)


@pytest.fixture(scope="module")
def ours(data) -> Trained:
    return train(PLAIN, data)


def failing(*checks: Check) -> dict[str, str]:
    return {c.id.split("/", 1)[1]: c.message for c in checks if not c.passed}


# --- both backends ---


def test_the_backends_train_alike():
    with torch.no_grad():
        checks = list(training.checks("quick", 1))
    assert [c.line() for c in checks if not c.passed] == []
    names = ["plain/start", "plain/losses", "plain/weights", "plain/mode", "by-hand/losses"]
    assert {f"training/{name}" for name in names} < {c.id for c in checks}
    for check in checks:
        assert check.stage == "training"
        assert check.reason
    measured = {c.id: (c.measured, c.allowed) for c in checks}
    assert measured["training/plain/start"] == (0, 0)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4, 8))
def test_the_backends_train_alike_with_every_target(seed):
    with torch.no_grad():
        checks = list(training.checks("full", seed))
    assert [c.line() for c in checks if not c.passed] == []


def test_full_has_every_target_and_more_options():
    runs = settings("full", 0)
    assert runs["plain"] == PLAIN
    targets = {run.diffusion.prediction_type for run in runs.values()}
    assert targets == {"epsilon", "v_prediction", "sample"}
    assert {run.train.optimizer for run in runs.values()} == {"adam", "adamw"}


def test_the_bound_of_the_weights_is_tight_where_they_learn_and_loose_where_only_rounding_moves(
    theirs,
):
    name = "mid_block.attentions.0.to_k.bias"  # softmax forgets it: its gradient is rounding
    learning = torch.cat([b.flatten() for n, b in theirs.allowed.items() if n != name])
    assert learning.median() < 0.5 * 1e-3  # half of one step of Adam, after fifty
    assert theirs.allowed[name].max() > 10 * learning.median()


# --- what is not rounding ---


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 1.01e-3},
        {"weight_decay": 0.01},
        {"gradient_clip": 0.5},
        {"lr_schedule": "cosine"},
        {"warmup_steps": 1},
    ],
    ids=str,
)
def test_another_way_to_learn_is_found(change, data, theirs):
    other = train(replace(PLAIN, train=replace(PLAIN.train, **change)), data)
    checks = list(judge_runs("", other, theirs))
    found = {c.id.split("/")[1] for c in checks if not c.passed}
    assert found == {"losses", "weights"}


def test_another_start_is_found(ours, theirs):
    nudged = {name: weight.clone() for name, weight in ours.start.items()}
    nudged["conv_in.bias"][3] *= 1 + 2**-20
    checks = list(judge_runs("plain/", replace(ours, start=nudged), theirs))
    assert list(failing(*checks)) == ["plain/start"]
    assert "at conv_in.bias" in failing(*checks)["plain/start"]


def test_the_first_loss_that_differs_is_told(ours, theirs):
    losses = ours.losses.clone()
    losses[17:] *= 1 + 1e-4
    checks = [judge_losses("losses", losses, theirs.losses)]
    assert "at step 17" in failing(*checks)["losses"]


# --- the trainer against Algorithm 1 by hand ---


def test_the_loop_by_hand_needs_no_trainer(data, theirs):
    by_hand = losses_by_hand(PLAIN, data)
    checks = [judge_losses("losses", theirs.losses[:BY_HAND], by_hand)]
    assert failing(*checks) == {}
    assert len(by_hand) == BY_HAND


def as_image(scheduler: Any, x_0: torch.Tensor, eps: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return x_0


def redrawn(scheduler: Any, x_0: torch.Tensor, eps: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return torch.randn(eps.shape)


def summed(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (prediction - target).square().sum()


@pytest.mark.parametrize(
    ("name", "wrong"), [("target_of", as_image), ("target_of", redrawn), ("mse_loss", summed)]
)
def test_a_trainer_that_both_backends_share_is_judged_too(name, wrong, data, monkeypatch):
    by_hand = losses_by_hand(PLAIN, data)
    monkeypatch.setattr(one_step, name, wrong)
    short = replace(PLAIN, train=replace(PLAIN.train, steps=BY_HAND))
    checks = [judge_losses("losses", train(short, data).losses, by_hand)]
    assert "should be" in failing(*checks)["losses"]


# --- the moving average and what samples ---


def test_the_trainer_averages_at_every_step(ours):
    checks = list(judge_trainer("", ours))
    assert failing(*checks) == {}
    stale = {name: weight.clone() for name, weight in ours.start.items()}
    checks = list(judge_trainer("", replace(ours, averaged=stale)))
    assert "an averaged weight" in failing(*checks)["average"]


def test_training_in_eval_mode_is_found(ours):
    checks = list(judge_trainer("", replace(ours, modes=[True] * 7 + [False] * 43)))
    assert failing(*checks) == {"mode": "the network is in eval mode at step 7"}


@contextmanager
def raw(unet: Any, average: EMA) -> Iterator[Any]:
    yield unet


@contextmanager
def left_in(unet: Any, average: EMA) -> Iterator[Any]:
    unet.load_state_dict(average.average)
    yield unet


@pytest.mark.parametrize(("wrong", "name"), [(raw, "samples-with"), (left_in, "trains-on")])
def test_sampling_with_other_weights_or_leaving_them_is_found(wrong, name, ours, monkeypatch):
    monkeypatch.setattr(ema, "sampling_weights", wrong)
    checks = list(judge_trainer("", replace(ours, state=copy.deepcopy(ours.state))))
    assert list(failing(*checks)) == [name]


class Copied:
    """Right, in other words: a second model, swapped in by its parameters."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.kept = decay, [p.detach().clone() for p in model.parameters()]

    def update(self, model: nn.Module) -> None:
        pairs = zip(self.kept, model.parameters(), strict=True)
        self.kept = [self.decay * k + (1 - self.decay) * p.detach() for k, p in pairs]

    @contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[nn.Module]:
        own = [p.data for p in model.parameters()]
        for p, kept in zip(model.parameters(), self.kept, strict=True):
            p.data = kept
        yield model
        for p, data in zip(model.parameters(), own, strict=True):
            p.data = data


@pytest.mark.parametrize("average", [EMA, Copied])
def test_a_right_moving_average_passes(average):
    checks = list(judge_average("", average))
    assert checks
    assert failing(*checks) == {}


@pytest.mark.parametrize("wrong", AVERAGES, ids=lambda wrong: wrong.id)
def test_a_wrong_moving_average_is_found_by_the_check_of_its_symptom(wrong):
    checks = judge_average("", wrong.seams["EMA"](EMA))
    (found,) = [c.id for c in checks if not c.passed]
    assert SYMPTOMS[found.removeprefix("training/")] == wrong.id


# --- the mode that a network samples in ---


def with_diffusers_pipeline(unet: Any) -> None:
    pipeline = diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler(num_train_timesteps=10))
    pipeline.set_progress_bar_config(disable=True)
    pipeline(num_inference_steps=2, output_type="np")


def left_in_eval_mode(unet: Any) -> None:
    with_diffusers_pipeline(unet.eval())


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (with_diffusers_pipeline, "the network samples in training mode: dropout stays on"),
        (left_in_eval_mode, "the network is left in eval mode after sampling"),
    ],
)
def test_the_wrong_mode_is_found(draw, message, theirs):
    checks = [judge_sampling_mode("mode", copy.deepcopy(theirs.state.unet), draw)]
    assert failing(*checks) == {"mode": message}
