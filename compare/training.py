"""Fifty steps of both backends from one start on the same random numbers: the same weights.

Two float32 runs cannot stay equal bit for bit: their sums run in another order. How far apart they
may come is worked out along the run, weight by weight. Adam moves a weight by lr m / (sqrt(v) +
eps), whatever the size of its gradient; so a gradient that is off by delta moves it by about
lr delta / sqrt(v) more, and one that is nothing but rounding may move it by lr either way. The
bound is the sum over all steps of lr min(2, delta / (sqrt(v) + eps)), with delta = `SLOPE` times
the largest root of v of that tensor: tight where a weight learns, loose where only rounding moves
it, such as the biases of attention's keys. `SLOPE` leaves room for such a weight to move the
gradients of others: 12 % of the bound in the worst of 130 runs, 1 % in most.

Source of Adam: Kingma & Ba 2014 (arXiv:1412.6980), algorithm 1.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from compare.ledger import Ledger
from compare.oracle import Oracle, Setting
from compare.report import Check
from compare.tolerances import FACTOR, UNIT

if TYPE_CHECKING:
    from workbench.config import RunConfig
    from workbench.data import Dataset
    from workbench.trainer import TrainingState

STEPS = 50
BY_HAND = 10  # steps of the loop that is written out below
SLOPE = 1e-3  # of a tensor's largest: what gradients are allowed anywhere here
LOSS = 2e-5  # relative: a mean of squares is off by twice what the predictions are off by
FLOOR = 1e-3  # tensors whose gradients are smaller are measured by this much of the largest


class Averages(Protocol):
    """What an exponential moving average of weights offers."""

    def update(self, model: nn.Module) -> None:
        """Takes the model's weights in."""

    def applied_to(self, model: nn.Module) -> AbstractContextManager[nn.Module]:
        """The model with the averaged weights inside the block."""


@dataclass(frozen=True)
class Trained:
    """A finished run.

    Attributes:
        start: the weights before the first step.
        weights: and after the last.
        largest: and the largest that each has been, in absolute value.
        allowed: how far each may be from that of another float32 run.
        averaged: their moving average, by the trainer.
        expected_average: the same by its recursion in float64.
        losses: (steps,).
        modes: whether the network was in training mode, at each pass.
        state: the trainer's.
    """

    start: dict[str, Tensor]
    weights: dict[str, Tensor]
    largest: dict[str, Tensor]
    allowed: dict[str, Tensor]
    averaged: dict[str, Tensor]
    expected_average: dict[str, Tensor]
    losses: Tensor
    modes: list[bool]
    state: "TrainingState"


def checks(level: str, seed: int) -> list[Check]:
    """Both backends trained by the one trainer, Algorithm 1 by hand, and the trainer's duties.

    Args:
        level: `"quick"` for one small network; `"full"` also with every target and option.
        seed: of the runs.
    """
    from workbench import sampling
    from workbench.ema import EMA

    ledger = Ledger("training")
    data = small_sprites()
    for name, config in settings(level, seed).items():
        ours, theirs = (train(replace(config, backend=b), data) for b in ("scratch", "diffusers"))
        judge_runs(ledger, f"{name}/", ours, theirs)
        judge_trainer(ledger, f"{name}/", ours)
        if name == "plain":
            judge_losses(
                ledger, "by-hand/losses", theirs.losses[:BY_HAND], losses_by_hand(config, data)
            )
            unets = {"scratch": ours.state.unet, "diffusers": theirs.state.unet}
    judge_average(ledger, "average/", EMA)
    for backend, unet in unets.items():

        def draw(unet: Any, backend: str = backend) -> None:
            scheduler = sampling.backends.load(backend).DDPMScheduler(num_train_timesteps=500)
            sampling.sample(backend, unet, scheduler, 1, seed=seed, steps=2, progress=False)

        judge_sampling_mode(ledger, f"sampling-with-{backend}", unet, draw)
    return ledger.checks


def small_sprites() -> "Dataset":
    """64 sprites of 8x8 pixels, with labels."""
    from workbench.data import Dataset, from_uint8
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


def train(config: "RunConfig", data: "Dataset") -> Trained:
    """Trains a run and watches it.

    Args:
        config: with a moving average.
        data: the images.
    """
    from workbench import trainer

    unet, scheduler = trainer.new_parts(config, data)
    state = trainer.new_state(unet, config.train)
    decay = config.train.ema_decay
    assert decay is not None
    assert state.ema is not None
    start = weights_of(unet)
    average, largest = start, {name: w.abs() for name, w in start.items()}
    bound = {name: torch.zeros_like(w) for name, w in start.items()}
    losses, modes = [], []
    hook = unet.register_forward_pre_hook(lambda module, given: modes.append(module.training))
    with torch.enable_grad():
        for step in trainer.training_steps(state, scheduler, data, config.train, config.seed):
            losses.append(step.loss)
            _widen(bound, state, step.learning_rate)
            weights = weights_of(unet)
            kept = min(decay, (1 + step.index) / (10 + step.index))
            average = {n: kept * average[n] + (1 - kept) * w for n, w in weights.items()}
            largest = {n: torch.maximum(largest[n], w.abs()) for n, w in weights.items()}
    hook.remove()
    rounding = FACTOR * UNIT * len(losses)
    allowed = {name: b + rounding * largest[name] for name, b in bound.items()}
    averaged = {name: w.double() for name, w in state.ema.average.items()}
    return Trained(
        start,
        weights,
        largest,
        allowed,
        averaged,
        average,
        torch.stack(losses),
        modes,
        state,
    )


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """Copies of its weights, in float64."""
    return {name: w.detach().double() for name, w in network.named_parameters()}


@torch.no_grad()
def _widen(bound: dict[str, Tensor], state: "TrainingState", rate: float) -> None:
    """Adds what rounding may do in the step that was just made."""
    (group,) = state.optimizer.param_groups
    kept = [state.optimizer.state[w] for w in group["params"]]
    correction = 1 - group["betas"][1] ** int(kept[0]["step"])
    roots = [(one["exp_avg_sq"] / correction).sqrt().double() for one in kept]
    largest = torch.stack([root.max() for root in roots])
    delta = SLOPE * largest.clamp(min=FLOOR * float(largest.max()))
    for total, root, d in zip(bound.values(), roots, delta, strict=True):
        total += rate * (d / (root + group["eps"])).clamp(max=2)


def losses_by_hand(config: "RunConfig", data: "Dataset") -> Tensor:
    """The first losses of the same run by Algorithm 1, written out: no trainer, no scheduler.

    For a network of Diffusers', the target epsilon, AdamW without decay and a constant rate.

    Source: Ho et al. 2020 (arXiv:2006.11239), algorithm 1 and equation 14.
    """
    from workbench.draws import batch_draws
    from workbench.trainer import new_parts

    unet, _ = new_parts(replace(config, backend="diffusers"), data)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=config.train.learning_rate, weight_decay=0)
    T, n = config.diffusion.num_train_timesteps, len(data.images)
    oracle = Oracle()
    table = oracle.alpha_bar(Setting(num_train_timesteps=T))
    losses = []
    for k in range(BY_HAND):
        draws = batch_draws(
            config.seed, k, config.train.batch_size, n, T, tuple(data.images.shape[1:])
        )
        x_0, t, eps = data.images[draws.indices], draws.timesteps, draws.noise
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


def judge_losses(ledger: Ledger, name: str, losses: Tensor, others: Tensor) -> None:
    """Every loss of two runs is the same to rounding."""
    ledger.values(
        name,
        "the loss",
        losses,
        lambda: (others, LOSS * others.abs()),
        where=lambda at: f"step {at[0]}",
        tolerance="training",
        input=f"{len(losses)} steps",
        catches="17-20, 23, 32, 102",
    )


def judge_runs(ledger: Ledger, prefix: str, ours: Trained, theirs: Trained) -> None:
    """Two runs of the same config: the same start, the same losses, the same weights at the end.

    Args:
        ledger: where to write the checks.
        prefix: of their names.
        ours: that is judged.
        theirs: that it is measured by.
    """
    _same_weights(
        ledger, f"{prefix}start", "a weight before the first step", ours.start, theirs.start, {}
    )
    judge_losses(ledger, f"{prefix}losses", ours.losses, theirs.losses)
    _same_weights(
        ledger,
        f"{prefix}weights",
        "a weight after the last step",
        ours.weights,
        theirs.weights,
        theirs.allowed,
    )


def judge_trainer(ledger: Ledger, prefix: str, run: Trained) -> None:
    """What the trainer owes a run: training mode, the moving average, the raw weights back.

    Args:
        ledger: where to write the checks.
        prefix: of their names.
        run: that was trained.
    """
    from workbench.trainer import sampling_weights

    wrong = run.modes.index(False) if False in run.modes else None
    ledger.judge(
        f"{prefix}mode",
        wrong is None,
        "the network is in training mode at every step",
        f"the network is in eval mode at step {wrong}",
        catches="95",
    )
    rounding = {n: FACTOR * UNIT * len(run.losses) * w for n, w in run.largest.items()}
    _same_weights(
        ledger,
        f"{prefix}average",
        "an averaged weight",
        run.averaged,
        run.expected_average,
        rounding,
    )
    raw = weights_of(run.state.unet)
    with sampling_weights(run.state) as lent:
        inside = weights_of(lent)
    _same_weights(
        ledger, f"{prefix}samples-with", "a weight that is sampled with", inside, run.averaged, {}
    )
    _same_weights(
        ledger,
        f"{prefix}trains-on",
        "a weight after sampling",
        weights_of(run.state.unet),
        raw,
        {},
    )


def _same_weights(
    ledger: Ledger,
    name: str,
    what: str,
    ours: dict[str, Tensor],
    theirs: dict[str, Tensor],
    allowed: dict[str, Tensor],
) -> None:
    """Weights elementwise; without `allowed`, bit for bit."""
    names = list(theirs)
    if list(ours) != names:
        ledger.add(name, "differs", "there are other weights, or in another order")
        return
    sizes = [theirs[n].numel() for n in names]
    edges = torch.tensor(sizes).cumsum(0)

    def flat(tensors: dict[str, Tensor]) -> Tensor:
        return torch.cat([tensors[n].flatten() for n in names])

    right = flat(theirs)
    bound = flat(allowed) if allowed else torch.zeros_like(right)
    ledger.values(
        name,
        what,
        flat(ours),
        lambda: (right, bound),
        where=lambda at: names[int(torch.searchsorted(edges, at[0], right=True))],
        tolerance="training" if allowed else "exact",
        input=f"{len(right)} weights",
        catches="100, 101, 103",
    )


def judge_average(
    ledger: Ledger, prefix: str, average: Callable[[nn.Module, float], Averages]
) -> None:
    """An exponential moving average: it averages weights, leaves buffers, and gives back.

    Args:
        ledger: where to write the checks.
        prefix: of their names.
        average: makes one of a model and a decay.
    """

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([1.0, -2.0]))
            self.register_buffer("alphas_cumprod", torch.tensor([0.9, 0.5, 0.1]))

    model = Model()
    averages = average(model, 0.5)
    with torch.no_grad():
        model.weight.add_(4)
    model.alphas_cumprod = torch.tensor([0.8, 0.4, 0.2])
    averages.update(model)
    own = {name: value.clone() for name, value in model.state_dict().items()}
    with averages.applied_to(model):
        inside = {name: value.clone() for name, value in model.state_dict().items()}
    after = model.state_dict()
    weight, first = inside["weight"], torch.tensor([1.0, -2.0])
    ledger.judge(
        f"{prefix}moves",
        bool(((weight > first) & (weight <= own["weight"])).all()),
        "an update moves the average towards the weights",
        f"after an update from {first.tolist()} to {own['weight'].tolist()} the average is "
        f"{weight.tolist()}",
        catches="101",
    )
    ledger.judge(
        f"{prefix}buffers",
        torch.equal(inside["alphas_cumprod"], own["alphas_cumprod"]),
        "buffers are the model's own",
        "buffers are averaged like weights: a schedule in a buffer is no schedule afterwards",
        catches="100",
    )
    ledger.judge(
        f"{prefix}gives-back",
        all(torch.equal(after[name], value) for name, value in own.items()),
        "after sampling the model has its own weights again",
        "the averaged weights stay in the model: training goes on from them",
        catches="101",
    )


def judge_sampling_mode(
    ledger: Ledger, name: str, unet: nn.Module, draw: Callable[[Any], None]
) -> None:
    """A network in training mode samples in eval mode, and is in training mode again afterwards.

    Args:
        ledger: where to write the check.
        name: of the check.
        unet: any network.
        draw: draws pictures with it.
    """
    unet.train()
    modes: list[bool] = []
    hook = unet.register_forward_pre_hook(lambda module, given: modes.append(module.training))
    try:
        draw(unet)
    finally:
        hook.remove()
    ledger.judge(
        name,
        bool(modes) and not any(modes) and unet.training,
        "samples in eval mode, then trains on",
        "the network samples in training mode: dropout stays on"
        if any(modes)
        else "the network is left in eval mode after sampling",
        input="a network in training mode",
        catches="95",
    )
