"""The trainer: its algorithm, its randomness, and what it keeps when it is stopped."""

import math
import re
import signal
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.functional import mse_loss
from torch.utils._python_dispatch import TorchDispatchMode

from workbench import runs, trainer
from workbench.config import RunConfig, TrainConfig
from workbench.data import Dataset
from workbench.draws import batch_draws
from workbench.trainer import Metrics, Step, TrainingState, learning_rate

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


def train(config: RunConfig, folder: Path, dataset: Dataset, **options: Any) -> trainer.TrainResult:
    return trainer.train(config, folder, dataset, device=CPU, progress=False, **options)


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


def test_flips(dataset: Dataset) -> None:
    images = dataset.images[:4]
    flipped = trainer.flip_some(images, torch.tensor([0.0, 0.4999, 0.5, 0.99]))
    assert torch.equal(flipped[:2], images[:2].flip(3))
    assert torch.equal(flipped[2:], images[2:])


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
        ("bf16", True),
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
    state, (step, *_) = run_steps(tiny(bf16=True), dataset)
    expected = losses(tiny(), dataset, 1)[0]
    assert step.loss.dtype == torch.float32
    assert step.loss.item() == pytest.approx(expected, rel=0.02)
    assert step.loss.item() != expected
    assert {p.dtype for p in state.unet.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in state.unet.parameters()} == {torch.float32}


# Its randomness


OPTIONS = {
    "plain": {},
    "everything": {
        "dropout": 0.2,
        "flip": True,
        "class_conditional": True,
        "warmup_steps": 1,
        "optimizer": "adam",
        "ema_decay": 0.9,
    },
}


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


def test_what_the_caller_does_between_steps_has_no_influence(tiny: Make, dataset: Dataset) -> None:
    config = tiny(**OPTIONS["everything"])
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


def test_the_callers_generator_is_left_alone(tiny: Make, dataset: Dataset) -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    run_steps(tiny(**OPTIONS["everything"]), dataset)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("backend", ["scratch", "diffusers"])
def test_a_resumed_run_equals_an_uninterrupted_one(
    backend: str,
    options: str,
    tiny: Make,
    dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To the last bit: losses, and every file, with weights, averages and optimizer in them."""
    config = tiny(backend=backend, steps=5, save_every=2, **OPTIONS[options])
    whole = train(config, tmp_path / "whole", dataset)

    def fail_at_step_3(config: TrainConfig, step: int, total_steps: int) -> float:
        if step == 3:
            raise OSError("the power failed")
        return learning_rate(config, step, total_steps)

    with monkeypatch.context() as patched:
        patched.setattr(trainer, "learning_rate", fail_at_step_3)
        with pytest.raises(OSError, match="the power failed"):
            train(config, tmp_path / "parts", dataset)
    assert [row["step"] for row in runs.load_metrics(tmp_path / "parts")] == [0, 1]
    resumed = train(config, tmp_path / "parts", dataset, resume=True)
    assert resumed.finished
    assert resumed.losses == whole.losses
    files = [path for path in (tmp_path / "whole").rglob("*") if path.is_file()]
    assert len(files) == 7
    for path in files:
        other = tmp_path / "parts" / path.relative_to(tmp_path / "whole")
        assert path.read_bytes() == other.read_bytes(), path


def test_a_finished_run_that_is_resumed_is_finished(
    tiny: Make, dataset: Dataset, tmp_path: Path
) -> None:
    first = train(tiny(), tmp_path, dataset)
    again = train(tiny(), tmp_path, dataset, resume=True)
    assert again.finished
    assert again.losses == first.losses


class CountReads(TorchDispatchMode):
    """Counts how often a tensor's value is read, which makes a GPU wait."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            self.count += 1
        return func(*args, **(kwargs or {}))


def test_no_step_waits_for_the_device(tiny: Make, dataset: Dataset) -> None:
    """With Diffusers' parts, which check nothing; ours check only what lies on the CPU.

    With SGD: Adam counts its steps in tensors that lie on the CPU, and reads those.
    """
    config = tiny(backend="diffusers", **OPTIONS["everything"])
    state, scheduler = start(config, dataset)
    state.optimizer = torch.optim.SGD(state.unet.parameters(), lr=1e-3)
    training = trainer.training_steps(state, scheduler, dataset, config.train, 0)
    next(training)
    with CountReads() as reads:
        step = next(training)
        assert reads.count == 0
        step.loss.item()
        assert reads.count == 1


# Its loop


def test_what_train_returns_and_writes(tiny: Make, dataset: Dataset, tmp_path: Path) -> None:
    result = train(tiny(steps=8), tmp_path, dataset)
    assert result.finished
    assert result.losses == losses(tiny(steps=8), dataset)
    # 10 images in batches of 4: the first epoch is steps 0..2, the second 3..4, the third 5..7.
    expected = [sum(result.losses[a:b]) / (b - a) for a, b in ((0, 3), (3, 5), (5, 8))]
    assert result.epoch_losses == pytest.approx(expected)
    rows = runs.load_metrics(tmp_path)
    assert [row["loss"] for row in rows if "step" in row] == result.losses
    assert [row["mean_loss"] for row in rows if "epoch" in row] == result.epoch_losses


@pytest.mark.parametrize(("batch", "images"), [(4, 10), (5, 10), (10, 10), (7, 3), (1, 4)])
def test_rows_only_grow_and_epochs_are_whole(batch: int, images: int) -> None:
    metrics = Metrics(batch, images)
    before: list[dict[str, float]] = []
    for k in range(20):
        metrics.add(Step(k, torch.tensor(float(k)), 0.1))
        metrics.read()
        rows = metrics.rows()
        assert rows[: len(before)] == before
        assert rows[len(before)] == {"step": k, "loss": k, "learning_rate": 0.1}
        if len(rows) > len(before) + 1:
            (epoch,) = rows[len(before) + 1 :]
            members = [j for j in range(20) if j * batch // images == epoch["epoch"]]
            assert members[-1] == k
            assert epoch["mean_loss"] == sum(members) / len(members)
        before = rows
    seen = [row["epoch"] for row in before if "epoch" in row]
    if batch <= images:
        assert seen == list(range(20 * batch // images))


def test_losses_are_read_in_batches() -> None:
    metrics = Metrics(4, 10)
    metrics.add(Step(0, torch.tensor(1.0), 0.1))
    assert metrics.losses == []
    metrics.read()
    metrics.read()
    assert metrics.losses == [1.0]


def test_checkpoints_and_grids_when_they_are_due(
    tiny: Make, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, drawn = [], []
    real = runs.save_checkpoint

    def save(folder: Path, config: Any, state: TrainingState, *rest: Any) -> None:
        saved.append(state.step)
        real(folder, config, state, *rest)

    def draw_grid(unet: Any, scheduler: Any, path: Path) -> None:
        drawn.append((path.relative_to(tmp_path).as_posix(), unet.conv_in.weight.clone()))

    monkeypatch.setattr(runs, "save_checkpoint", save)
    config = tiny(steps=7, save_every=2, sample_every=3, ema_decay=0.9)
    train(config, tmp_path, dataset, draw_grid=draw_grid)
    assert saved == [2, 3, 4, 6, 7]
    assert [name for name, _ in drawn] == [f"samples/step_00000{k}.png" for k in (3, 6, 7)]
    state = run_steps(config, dataset)[0]
    assert torch.equal(drawn[-1][1], state.ema.average["conv_in.weight"])
    drawn.clear()
    train(tiny(), tmp_path, dataset, draw_grid=draw_grid, force=True)
    assert [name for name, _ in drawn] == ["samples/step_000004.png"]  # one at the end


def test_the_bar_shows_loss_speed_and_time_left(
    tiny: Make, dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny(steps=trainer.FLUSH_EVERY + 1, model=tiny().model)
    result = trainer.train(config, tmp_path, dataset, device=CPU)
    shown = capsys.readouterr().err
    mean = sum(result.losses[: trainer.FLUSH_EVERY]) / trainer.FLUSH_EVERY
    assert f"loss={mean:.4f}" in shown
    assert re.search(r"images/s=\d+", shown)
    assert re.search(r"21/21 \[\d\d:\d\d<\d\d:\d\d", shown)  # passed < left
    train(tiny(), tmp_path, dataset, force=True)
    assert capsys.readouterr().err == ""


def test_a_run_that_diverges_stops_and_keeps_its_last_checkpoint(
    tiny: Make, dataset: Dataset, tmp_path: Path
) -> None:
    calm = train(tiny(steps=2, seed=1, lr_schedule="constant"), tmp_path, dataset)
    before = (tmp_path / runs.STATE).read_bytes()
    wild = tiny(steps=9, seed=1, learning_rate=1e30, gradient_clip=None, lr_schedule="constant")
    with pytest.raises(ValueError, match=r"the loss of step \d is (nan|inf): the run has diverged"):
        train(wild, tmp_path, dataset, resume=True)
    assert (tmp_path / runs.STATE).read_bytes() == before
    assert len(calm.losses) == 2


@pytest.fixture
def ctrl_c() -> Iterator[Callable[[Any], None]]:
    """Sets what Ctrl-C does, as a job in the background starts with it ignored."""
    before = signal.getsignal(signal.SIGINT)
    yield lambda handler: signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_saves_and_a_second_one_interrupts_at_once(
    tiny: Make, dataset: Dataset, tmp_path: Path, ctrl_c: Callable[[Any], None]
) -> None:
    ctrl_c(signal.default_int_handler)
    times = [1]

    def draw_grid(unet: Any, scheduler: Any, path: Path) -> None:
        for _ in range(times[0]):
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    config = tiny(steps=9, save_every=9, sample_every=2)
    result = train(config, tmp_path, dataset, draw_grid=draw_grid)
    assert not result.finished
    assert len(result.losses) == 3  # noted while the grid after step 2 was drawn; one more step
    assert len([row for row in runs.load_metrics(tmp_path) if "step" in row]) == 3
    assert signal.getsignal(signal.SIGINT) is before

    times[0] = 2
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path, dataset, resume=True, draw_grid=draw_grid)
    assert signal.getsignal(signal.SIGINT) is before
    assert len([row for row in runs.load_metrics(tmp_path) if "step" in row]) == 4

    whole = train(config, tmp_path, dataset, resume=True)
    assert whole.losses == losses(config, dataset)


def test_an_ignored_ctrl_c_stays_ignored(
    tiny: Make, dataset: Dataset, tmp_path: Path, ctrl_c: Callable[[Any], None]
) -> None:
    def draw_grid(unet: Any, scheduler: Any, path: Path) -> None:
        signal.raise_signal(signal.SIGINT)

    ctrl_c(signal.SIG_IGN)
    assert train(tiny(sample_every=2), tmp_path, dataset, draw_grid=draw_grid).finished


def test_training_in_a_thread_needs_no_signals(
    tiny: Make, dataset: Dataset, tmp_path: Path
) -> None:
    results = []
    thread = threading.Thread(target=lambda: results.append(train(tiny(), tmp_path, dataset)))
    thread.start()
    thread.join()
    assert results[0].finished


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


def test_diffusers_is_refused_a_variance_that_it_draws_nan_with(
    tiny: Make, dataset: Dataset, tmp_path: Path
) -> None:
    """Before the work: the grid at its end could not be drawn. Ours has that variance."""
    changes = {"variance_type": "fixed_large_log"}
    with pytest.raises(
        ValueError, match=r"'fixed_large_log' is not one of .* scratch backend does"
    ):
        train(tiny(backend="diffusers", **changes), tmp_path / "run", dataset)
    assert list(tmp_path.iterdir()) == []
    assert train(tiny(**changes), tmp_path / "run", dataset).finished


@pytest.mark.parametrize("backend", ["scratch", "diffusers"])
def test_where_time_is_erased_is_said_once(backend: str, tiny: Make, dataset: Dataset) -> None:
    config = tiny(backend=backend, channels=(4, 8), attention=(False, True))
    with pytest.warns(UserWarning, match="GroupNorm erases the time embedding there") as told:
        trainer.new_parts(config, dataset)
    assert len(told) == 1


def test_a_run_that_exists_is_kept_unless_forced(
    tiny: Make, dataset: Dataset, tmp_path: Path
) -> None:
    before = train(tiny(), tmp_path, dataset)
    with pytest.raises(ValueError, match="holds a run; go on with --resume, or replace it with"):
        train(tiny(steps=2), tmp_path, dataset)
    assert len(runs.load_metrics(tmp_path)) >= len(before.losses)
    assert len(train(tiny(steps=2), tmp_path, dataset, force=True).losses) == 2
    assert len(train(tiny(steps=2), tmp_path, dataset, resume=True).losses) == 2


def test_class_conditional_needs_labels(tiny: Make, dataset: Dataset) -> None:
    with pytest.raises(ValueError, match="class_conditional needs labels, and 'digits' has none"):
        trainer.new_parts(tiny(class_conditional=True), Dataset(dataset.images))
