"""What one training step computes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from workbench import trainer
from workbench.config import RunConfig
from workbench.data import Dataset
from workbench.draws import batch_draws
from workbench.one_step import OneStep, flip_some, target_of

Make = Callable[..., RunConfig]


def test_flips(dataset: Dataset) -> None:
    images = dataset.images[:4]
    flipped = flip_some(images, torch.tensor([0.0, 0.4999, 0.5, 0.99]))
    assert torch.equal(flipped[:2], images[:2].flip(3))
    assert torch.equal(flipped[2:], images[2:])


@pytest.mark.parametrize("backend", ["scratch", "diffusers"])
@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
def test_what_the_network_is_to_say(kind: str, backend: str, tiny: Make, dataset: Dataset) -> None:
    """eps, x_0, or v = sqrt(alpha-bar) eps - sqrt(1 - alpha-bar) x_0 (Salimans & Ho 2022)."""
    _, scheduler = trainer.new_parts(tiny(backend=backend, prediction_type=kind), dataset)
    x_0, eps, t = dataset.images[:3], torch.randn(3, 1, 8, 8), torch.tensor([0, 7, 19])
    alpha_bar = scheduler.alphas_cumprod[t].reshape(-1, 1, 1, 1)
    velocity = alpha_bar.sqrt() * eps - (1 - alpha_bar).sqrt() * x_0
    expected = {"epsilon": eps, "sample": x_0, "v_prediction": velocity}[kind]
    torch.testing.assert_close(target_of(scheduler, x_0, eps, t), expected)


def one_step(config: RunConfig, dataset: Dataset, parts: int) -> tuple[Any, OneStep]:
    """The weights after one step of four images, learned from in so many parts."""
    unet, scheduler = trainer.new_parts(config, dataset)
    state = trainer.new_state(unet, config.train)
    step = OneStep(state, scheduler, config.train)
    whole = batch_draws(0, 0, 4, len(dataset), 20, (1, 8, 8))
    step.begin(1e-3)
    for part in step.in_turn(whole.parts(parts)):
        step.learn(dataset.batch(part.indices), part, None, seed=0)
    assert step.finish()
    return unet.state_dict(), step


def test_the_parts_of_a_batch_add_up_to_it(tiny: Make, dataset: Dataset) -> None:
    whole, one = one_step(tiny(optimizer="adam"), dataset, parts=1)
    halves, two = one_step(tiny(optimizer="adam"), dataset, parts=2)
    torch.testing.assert_close(two.loss, one.loss)
    torch.testing.assert_close(two.norm, one.norm)
    torch.testing.assert_close(halves, whole, rtol=0, atol=1e-4)  # Adam's first step is 1e-3 long
