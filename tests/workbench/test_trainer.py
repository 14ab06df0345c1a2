"""The trainer: its algorithm, its randomness, and what it refuses."""

import math
from collections.abc import Callable
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.functional import mse_loss
from torch.utils._python_dispatch import TorchDispatchMode

from workbench import trainer
from workbench.config import RunConfig, TrainConfig
from workbench.data import Dataset
from workbench.draws import batch_draws
from workbench.one_step import TrainingState
from workbench.trainer import Step, learning_rate

CPU = torch.device("cpu")
Make = Callable[..., RunConfig]


def start(config: RunConfig, dataset: Dataset) -> tuple[TrainingState, Any]:
    unet, scheduler = trainer.new_parts(config, dataset)
    return trainer.new_state(unet, config.train), scheduler


def run_steps(
    config: RunConfig, dataset: Dataset, count: int | None = None
) -> tuple[TrainingState, list[Step]]:
    """The state after `count` steps (all of them, without), and the steps."""
    state, scheduler = start(config, dataset)
    training = trainer.training_steps(state, scheduler, dataset, config.train, config.seed)
    return state, list(islice(training, count))


def losses(config: RunConfig, dataset: Dataset, count: int | None = None) -> list[float]:
    return [step.loss.item() for step in run_steps(config, dataset, count)[1]]


def assert_same_weights(one: torch.nn.Module, other: torch.nn.Module) -> None:
    """To the last bit."""
    torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)


# The algorithm


def test_one_step_is_algorithm_1(tiny: Make, dataset: Dataset) -> None:
    """The first step, written out by hand with the draws of (seed, 0)."""
    config = tiny(optimizer="adam", lr_schedule="constant", gradient_clip=None, seed=5)
    state, (step,) = run_steps(config, dataset, 1)

    unet, scheduler = trainer.new_parts(config, dataset)
    drawn = batch_draws(5, 0, 4, len(dataset.images), 20, (1, 8, 8))
    alpha_bar = scheduler.alphas_cumprod[drawn.timesteps].reshape(-1, 1, 1, 1)
    x_0 = dataset.images[drawn.indices]
    x_t = alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * drawn.noise
    loss = mse_loss(unet(x_t, drawn.timesteps).sample, drawn.noise)
    loss.backward()
    torch.testing.assert_close(step.loss, loss.detach())
    assert (step.index, state.step) == (0, 1)
    # Adam's first step moves each weight by the rate towards -sign(gradient); where the gradient is
    # not far above its eps of 1e-8, by less.
    for (name, after), before in zip(state.unet.named_parameters(), unet.parameters(), strict=True):
        assert before.grad is not None
        clear = before.grad.abs() > 1e-4
        moved = (after - before).detach()[clear]
        expected = -config.train.learning_rate * before.grad[clear].sign()
        # eps over a gradient of 1e-4 is 1e-4; a difference of float32 weights rounds at 1e-7.
        torch.testing.assert_close(moved, expected, rtol=1e-3, atol=1e-6, msg=name)


@pytest.mark.parametrize("backend", ["scratch", "diffusers"])
@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_targets(backend: str, prediction_type: str, tiny: Make, dataset: Dataset) -> None:
    """A network that knows the answer has no loss, and one that says zero the answer's power."""
    config = tiny(backend=backend, prediction_type=prediction_type)
    state, scheduler = start(config, dataset)
    drawn = batch_draws(0, 0, 4, len(dataset.images), 20, (1, 8, 8))
    alpha_bar = scheduler.alphas_cumprod[drawn.timesteps].reshape(-1, 1, 1, 1).double()
    x_0, eps = dataset.images[drawn.indices].double(), drawn.noise.double()
    answer = {
        "epsilon": eps,
        "sample": x_0,
        "v_prediction": alpha_bar.sqrt() * eps - (1 - alpha_bar).sqrt() * x_0,
    }[prediction_type].float()
    for says, expected in ((answer, 0.0), (0 * answer, answer.square().mean().item())):
        net = Constant(says)
        state = TrainingState(net, torch.optim.SGD(net.parameters(), lr=0.0), None)
        training = trainer.training_steps(state, scheduler, dataset, config.train, 0)
        # float32 alpha_bar and products: 1e-6 of values near 1, squared in the mean
        assert next(training).loss.item() == pytest.approx(expected, rel=1e-5, abs=1e-11)


class Constant(torch.nn.Module):
    """A network that says what it was told to say, at first."""

    device = CPU

    def __init__(self, says: torch.Tensor) -> None:
        super().__init__()
        self.says = torch.nn.Parameter(says)

    def forward(self, x: torch.Tensor, t: torch.Tensor, class_labels: Any) -> SimpleNamespace:
        return SimpleNamespace(sample=self.says)


def test_gradients_are_clipped_to_the_given_norm(tiny: Make, dataset: Dataset) -> None:
    """What the optimizer saw is still in `grad` after a step."""
    free, clipped = (
        torch.cat([p.grad.flatten() for p in run_steps(config, dataset, 1)[0].unet.parameters()])
        for config in (tiny(gradient_clip=None), tiny(gradient_clip=1e-3))
    )
    assert free.norm() > 0.1
    # Clipping adds 1e-6 to the norm that it divides by, of 0.1 and more.
    torch.testing.assert_close(clipped.norm(), torch.tensor(1e-3), rtol=1e-4, atol=0)
    torch.testing.assert_close(clipped / 1e-3, free / free.norm(), rtol=1e-4, atol=1e-7)
    loose = run_steps(tiny(gradient_clip=1e6), dataset, 1)[0]
    assert_same_weights(loose.unet, run_steps(tiny(gradient_clip=None), dataset, 1)[0].unet)


def test_weight_decay_of_adam_and_adamw(tiny: Make, dataset: Dataset) -> None:
    """AdamW shrinks the weights beside Adam's step; Adam adds the decay to the gradient."""
    common = {"lr_schedule": "constant", "gradient_clip": None, "learning_rate": 0.01}
    made = {
        (kind, decay): run_steps(tiny(optimizer=kind, weight_decay=decay, **common), dataset, 1)[0]
        for kind in ("adam", "adamw")
        for decay in (0.0, 0.5)
    }
    first = trainer.new_parts(tiny(), dataset)[0]
    assert_same_weights(made["adam", 0.0].unet, made["adamw", 0.0].unet)
    for plain, decayed, before in zip(
        *(made["adamw", decay].unet.parameters() for decay in (0.0, 0.5)),
        first.parameters(),
        strict=True,
    ):
        # a few float32 roundings of weights up to 1
        torch.testing.assert_close(decayed, plain - 0.01 * 0.5 * before, rtol=0, atol=1e-6)
    grads = [
        torch.cat([p.flatten() for p in made["adam", decay].unet.parameters()])
        for decay in (0.0, 0.5)
    ]
    assert (grads[0] - grads[1]).abs().max() > 1e-3
    assert (grads[1] - torch.cat([p.flatten() for p in made["adamw", 0.5].unet.parameters()])).any()


@pytest.mark.parametrize("warmup", [0, 1, 10])
@pytest.mark.parametrize("kind", ["constant", "cosine"])
def test_learning_rates(kind: Any, warmup: int) -> None:
    config = TrainConfig(learning_rate=2.0, lr_schedule=kind, warmup_steps=warmup)
    rates = [learning_rate(config, k, 110) for k in range(110)]
    rise = [2 * (k + 1) / (warmup + 1) for k in range(warmup)]
    assert rates[:warmup] == pytest.approx(rise)
    if kind == "constant":
        assert rates[warmup:] == [2.0] * (110 - warmup)
    else:
        n = 110 - warmup
        assert rates[warmup:] == pytest.approx([1 + math.cos(math.pi * k / n) for k in range(n)])
        assert rates[warmup] == 2.0
        assert 0 < rates[-1] < 1e-3


def test_the_rate_reaches_the_optimizer(tiny: Make, dataset: Dataset) -> None:
    config = tiny(warmup_steps=2)
    state, scheduler = start(config, dataset)
    training = trainer.training_steps(state, scheduler, dataset, config.train, 0)
    for k, step in enumerate(training):
        expected = learning_rate(config.train, k, 4)
        assert step.learning_rate == state.optimizer.param_groups[0]["lr"] == expected


def test_labels_and_no_label(tiny: Make, dataset: Dataset) -> None:
    drawn = batch_draws(0, 0, 1000, len(dataset.images), 20, (1, 8, 8))
    expected = dataset.labels[drawn.indices]
    for dropout in (0.0, 0.25, 1.0):
        train_config = tiny(class_conditional=True, label_dropout=dropout).train
        labels = trainer.labels_of(dataset, drawn, train_config)
        untold = labels == dataset.num_classes
        assert torch.equal(labels[~untold], expected[~untold])
        # A binomial of 1,000 is farther than 5 sigma away once in 1.7 million.
        assert abs(untold.float().mean() - dropout) <= 5 * (dropout * (1 - dropout) / 1000) ** 0.5
    assert trainer.labels_of(dataset, drawn, tiny().train) is None


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("flip", True),
        ("class_conditional", True),
        ("dropout", 0.5),
        ("precision", "bf16"),
        ("learning_rate", 0.1),
        ("lr_schedule", "constant"),
        ("warmup_steps", 3),
        ("gradient_clip", 1e-9),
        ("batch_size", 2),
        ("attention", (True, False)),
        ("layers_per_block", 2),
        ("beta_end", 0.5),
        ("beta_schedule", "squaredcos_cap_v2"),
        ("prediction_type", "v_prediction"),
        ("seed", 1),
    ],
)
def test_no_option_is_dead(option: str, value: Any, tiny: Make, dataset: Dataset) -> None:
    assert losses(tiny(**{option: value}), dataset, 3) != losses(tiny(), dataset, 3)


def test_bf16_is_near(tiny: Make, dataset: Dataset) -> None:
    """bfloat16 has 8 bits: a relative error of 0.4 % each time, less in the mean over 256 pixels.

    The weights, the gradients and the loss stay float32.
    """
    state, (step, *_) = run_steps(tiny(precision="bf16"), dataset)
    expected = losses(tiny(), dataset, 1)[0]
    assert step.loss.dtype == torch.float32
    assert step.loss.item() == pytest.approx(expected, rel=0.02)
    assert step.loss.item() != expected
    assert {p.dtype for p in state.unet.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in state.unet.parameters()} == {torch.float32}


# Its randomness


def test_both_backends_learn_the_same(tiny: Make, dataset: Dataset) -> None:
    """Same first weights, same draws: the losses differ by rounding, which training magnifies.

    Measured: 2e-7 after a step, 3e-6 after twelve. Another draw would change the loss by percents.
    """
    made = {}
    for backend in ("scratch", "diffusers"):
        config = tiny(backend=backend, steps=10)
        first = trainer.new_parts(config, dataset)[0].state_dict()
        made[backend] = (first, losses(config, dataset))
    torch.testing.assert_close(made["scratch"][0], made["diffusers"][0], rtol=0, atol=0)
    assert made["scratch"][1] == pytest.approx(made["diffusers"][1], rel=1e-4)


def test_weights_depend_on_the_seed_alone(tiny: Make, dataset: Dataset) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, _ = trainer.new_parts(tiny(), dataset)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert_same_weights(trainer.new_parts(tiny(), dataset)[0], first)
    other = trainer.new_parts(tiny(seed=1), dataset)[0]
    assert not torch.equal(other.conv_in.weight, first.conv_in.weight)


def test_what_the_caller_does_between_steps_has_no_influence(
    tiny: Make, dataset: Dataset, everything: dict[str, Any]
) -> None:
    config = tiny(**everything)
    expected = run_steps(config, dataset)[0]
    state, scheduler = start(config, dataset)
    torch.manual_seed(11)
    for step in trainer.training_steps(state, scheduler, dataset, config.train, 0):
        torch.manual_seed(step.index)
        state.unet.eval()
        scheduler.set_timesteps(3)
    assert_same_weights(state.unet, expected.unet)


class Dropping(torch.nn.Module):
    """A network that is nothing but dropout, and remembers what it dropped."""

    device = CPU

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.masks: list[bytes] = []

    def forward(self, x: torch.Tensor, t: torch.Tensor, class_labels: Any) -> SimpleNamespace:
        kept = torch.nn.functional.dropout(torch.ones_like(x), 0.5, self.training)
        self.masks.append(kept.numpy().tobytes())
        return SimpleNamespace(sample=self.weight * kept)


def test_every_step_drops_something_else_and_every_run_the_same(
    tiny: Make, dataset: Dataset
) -> None:
    _, scheduler = start(tiny(), dataset)
    masks = []
    for seed in (0, 0, 1):
        net = Dropping()
        state = TrainingState(net, torch.optim.SGD(net.parameters(), lr=0.1), None)
        assert len(list(trainer.training_steps(state, scheduler, dataset, tiny().train, seed))) == 4
        masks.append(net.masks)
    assert masks[0] == masks[1]
    assert len({*masks[0], *masks[2]}) == 8


def test_the_callers_generator_is_left_alone(
    tiny: Make, dataset: Dataset, everything: dict[str, Any]
) -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    run_steps(tiny(**everything), dataset)
    assert torch.equal(torch.get_rng_state(), before)


class CountReads(TorchDispatchMode):
    """Counts how often a tensor's value is read, which makes a GPU wait."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            self.count += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("skips", [False, True])
def test_no_step_waits_for_the_device(
    skips: bool, tiny: Make, dataset: Dataset, everything: dict[str, Any]
) -> None:
    """With Diffusers' parts, which check nothing; ours check only what lies on the CPU.

    With SGD: Adam counts its steps in tensors that lie on the CPU, and reads those.
    """
    config = tiny(backend="diffusers", skip_nonfinite=skips, **everything)
    state, scheduler = start(config, dataset)
    state.optimizer = torch.optim.SGD(state.unet.parameters(), lr=1e-3)
    training = trainer.training_steps(state, scheduler, dataset, config.train, 0)
    next(training)
    with CountReads() as reads:
        step = next(training)
        assert reads.count == 0
        step.loss.item()
        assert reads.count == 1


@pytest.mark.parametrize("backend", ["scratch", "diffusers"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rescale_betas_zero_snr": True}, "x_0 cannot be found from eps there"),
        ({"beta_end": 1.5}, "beta_start and beta_end must lie between 0 and 1"),
        (
            {"channels": (4, 8), "attention": (True, True), "norm_num_groups": 2},
            "attention_head_dim must be at most the width of a level with attention",
        ),
    ],
)
def test_both_backends_refuse_the_same(
    backend: str, changes: dict[str, Any], message: str, tiny: Make, dataset: Dataset
) -> None:
    """Diffusers itself takes the first two in silence, and divides by zero on the third."""
    with pytest.raises(ValueError, match=message):
        trainer.new_parts(tiny(backend=backend, **changes), dataset)


@pytest.mark.parametrize("backend", ["scratch", "diffusers"])
def test_where_time_is_erased_is_said_once(backend: str, tiny: Make, dataset: Dataset) -> None:
    config = tiny(backend=backend, channels=(4, 8), attention=(False, True))
    with pytest.warns(UserWarning, match="GroupNorm erases the time embedding there") as told:
        trainer.new_parts(config, dataset)
    assert len(told) == 1


def test_class_conditional_needs_labels(tiny: Make, dataset: Dataset) -> None:
    with pytest.raises(ValueError, match="class_conditional needs labels, and 'digits' has none"):
        trainer.new_parts(tiny(class_conditional=True), Dataset(dataset.images))
