"""Stage training: both backends on the same random numbers learn the same weights."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from compare.backends.stage import BackendStage
from compare.backends.trained import Trained, same_weights, train
from compare.backends.training_alone import judge_average, judge_sampling_mode, judge_trainer
from compare.measure.check import Check
from compare.measure.values import values
from compare.oracle import Oracle, Setting

if TYPE_CHECKING:
    from workbench.config import RunConfig
    from workbench.data import Dataset

STEPS = 50
BY_HAND = 10  # steps of the loop that is written out below
LOSS = 2e-5  # relative: a mean of squares is off by twice what the predictions are off by


def checks(level: str, seed: int) -> Iterator[Check]:
    """Both backends trained by the one trainer, Algorithm 1 by hand, and the trainer's duties.

    Args:
        level: `"quick"` for one small network; `"full"` also with every target and option.
        seed: of the runs.
    """
    from workbench import sampling
    from workbench.ema import EMA

    data = small_sprites()
    for name, config in settings(level, seed).items():
        ours, theirs = (train(replace(config, backend=b), data) for b in ("scratch", "diffusers"))
        yield from judge_runs(f"{name}/", ours, theirs)
        yield from judge_trainer(f"{name}/", ours)
        if name == "plain":
            by_hand = losses_by_hand(config, data)
            yield judge_losses("by-hand/losses", theirs.losses[:BY_HAND], by_hand)
            unets = {"scratch": ours.state.unet, "diffusers": theirs.state.unet}
    yield from judge_average("average/", EMA)
    for backend, unet in unets.items():

        def draw(unet: Any, backend: str = backend) -> None:
            scheduler = sampling.backends.load(backend).DDPMScheduler(num_train_timesteps=500)
            sampling.sample(backend, unet, scheduler, 1, seed=seed, steps=2, progress=False)

        yield judge_sampling_mode(f"sampling-with-{backend}", unet, draw)


def small_sprites() -> "Dataset":
    """64 sprites of 8x8 pixels, with labels."""
    from workbench.data import Dataset
    from workbench.pixels import from_uint8
    from workbench.sprites import KINDS, draw_sprites

    pixels, labels = draw_sprites(64)
    images = torch.nn.functional.avg_pool2d(from_uint8(pixels), 2)  # (64, 3, 8, 8)
    return Dataset(images, torch.from_numpy(labels), KINDS)


def settings(level: str, seed: int) -> "dict[str, RunConfig]":
    """The runs of a level, by name."""
    from workbench.config import DiffusionConfig, ModelConfig, RunConfig, TrainConfig

    small = ModelConfig(channels=(8,), layers_per_block=1, attention=(False,), norm_num_groups=4)
    two_levels = replace(small, channels=(8, 16), attention=(False, True))
    train = TrainConfig(batch_size=8, steps=STEPS, lr_schedule="constant")
    plain = RunConfig(data="sprites", seed=seed, model=small, train=train)
    if level == "quick":
        return {"plain": plain}
    return {
        "plain": plain,
        "velocity": replace(
            plain,
            model=replace(two_levels, dropout=0.1),
            diffusion=DiffusionConfig(
                prediction_type="v_prediction", beta_schedule="squaredcos_cap_v2"
            ),
            train=replace(
                train, weight_decay=0.01, lr_schedule="cosine", warmup_steps=5, flip=True
            ),
        ),
        "image": replace(
            plain,
            model=two_levels,
            diffusion=DiffusionConfig(prediction_type="sample"),
            train=replace(train, optimizer="adam", gradient_clip=None, class_conditional=True),
        ),
    }


def losses_by_hand(config: "RunConfig", data: "Dataset") -> Tensor:
    """The first losses of the same run by Algorithm 1, written out: no trainer, no scheduler.

    For a network of Diffusers', the target epsilon, AdamW without decay and a constant rate.

    Source: Ho et al. 2020 (arXiv:2006.11239), algorithm 1 and equation 14.
    """
    from workbench.draws import batch_draws
    from workbench.trainer import new_parts

    unet, _ = new_parts(replace(config, backend="diffusers"), data)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=config.train.learning_rate, weight_decay=0)
    T, n = config.diffusion.num_train_timesteps, len(data)
    oracle = Oracle()
    table = oracle.alpha_bar(Setting(num_train_timesteps=T))
    losses = []
    for k in range(BY_HAND):
        draws = batch_draws(config.seed, k, config.train.batch_size, n, T, data.shape[1:])
        x_0, t, eps = data.batch(draws.indices), draws.timesteps, draws.noise
        with torch.enable_grad():
            predicted = unet(oracle.add_noise(x_0, eps, table, t), t).sample
            loss = (eps - predicted).square().mean()
            unet.zero_grad()
            loss.backward()
        slopes = [w.grad for w in unet.parameters()]
        norm = float(torch.stack([g.double().square().sum() for g in slopes]).sum().sqrt())
        for g in slopes:
            g *= min(1.0, (config.train.gradient_clip or norm) / norm)
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def judge_losses(name: str, losses: Tensor, others: Tensor) -> Check:
    """Every loss of two runs is the same to rounding."""
    return values(
        f"training/{name}",
        "the loss",
        losses,
        lambda: (others, LOSS * others.abs()),
        where=lambda at: f"step {at[0]}",
        tolerance="training",
        input=f"{len(losses)} steps",
    )


def judge_runs(prefix: str, ours: Trained, theirs: Trained) -> Iterator[Check]:
    """Two runs of the same config: the same start, the same losses, the same weights at the end.

    Args:
        prefix: of the checks' names.
        ours: that is judged.
        theirs: that it is measured by.
    """
    words = "a weight before the first step"
    yield same_weights(f"training/{prefix}start", words, ours.start, theirs.start, {})
    yield judge_losses(f"{prefix}losses", ours.losses, theirs.losses)
    words, allowed = "a weight after the last step", theirs.allowed
    yield same_weights(f"training/{prefix}weights", words, ours.weights, theirs.weights, allowed)


TRAINING = BackendStage(
    name="training",
    looks_at="50 steps of both backends from one start (no candidate)",
    page="loss",
    checks=checks,
)
