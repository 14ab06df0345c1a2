"""Several processes: real ones, speaking through Gloo, as `torchrun` starts them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from accelerate import Accelerator

from workbench import checkpoints, processes, runs, trainer, training_run
from workbench.config import RunConfig
from workbench.data import Dataset

CPU = torch.device("cpu")
Make = Callable[..., RunConfig]
OPTIONS = """
train --data images.npy --labels labels.npy --batch-size 6 --optimizer adam --output run
--channels 8,16 --attention no,yes --norm-num-groups 4 --layers-per-block 1 --class-conditional
--num-train-timesteps 5 --flip --warmup-steps 1 --save-every 2 --device cpu --quiet
"""


# What they learn


Learned = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Learned]]:
    """Weights, averages and losses after a hundred steps, of each
    KIND-COUNT-BATCH-ACCUMULATE-DROPOUT; what was learned once is learned."""
    folder = tmp_path_factory.mktemp("learned")

    def after(*names: str) -> list[Learned]:
        files = [folder / f"{name}.safetensors" for name in names]
        missing = [path.stem for path in files if not path.exists()]
        if missing:
            command = [sys.executable, "-m", "tests.workbench.together", str(folder)]
            done = subprocess.run(
                [*command, *"-".join(missing).split("-")],
                cwd=Path(__file__).parents[2],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
        return [safetensors.torch.load_file(path) for path in files]

    return after


def apart(one: Learned, other: Learned) -> torch.Tensor:
    """How far each weight and average of one is from the other's."""
    assert one.keys() == other.keys()
    return torch.cat([(one[n] - other[n]).abs().flatten() for n in one if n != "losses"])


@pytest.mark.long
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SGD-1-12-1-0", "SGD-2-12-1-0"),
        ("SGD-1-12-1-0", "SGD-1-4-3-0"),  # three batches of 4 are one of 12
        ("SGD-1-12-1-0", "SGD-3-4-3-0"),  # and both at once, shares of one image and of two
        ("SGD-1-6-2-0.2", "SGD-2-12-1-0.2"),  # halves drop out the same, whoever computes them
    ],
)
def test_a_hundred_steps_of_sgd_end_at_the_same_weights(
    one: str, other: str, learned: Callable[..., list[Learned]]
) -> None:
    """Sums of the same twelve images in another order: float32 weights of about 1 round at 1e-7."""
    found, right = learned(one, other)
    assert apart(found, right).max() < 1e-5
    torch.testing.assert_close(found["losses"], right["losses"], rtol=1e-5, atol=0)


def test_adam_makes_more_of_rounding(learned: Callable[..., list[Learned]]) -> None:
    """It divides by the gradient's size, so the rounding error of a tiny gradient shows in full:
    a hundred steps of 1e-3 may carry such a weight anywhere within 0.1."""
    found = learned("SGD-1-12-1-0", "SGD-2-12-1-0", "Adam-1-12-1-0", "Adam-2-12-1-0")
    by_sgd, by_adam = apart(*found[:2]), apart(*found[2:])
    assert by_sgd.max() < by_adam.max() < 0.1
    assert by_adam.median() < 1e-4


# What they do on the command line


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `torchrun -m workbench train` beside some pictures; ends what the test has not."""
    random = np.random.default_rng(0)
    np.save(tmp_path / "images.npy", random.integers(0, 256, (20, 8, 8, 1), np.uint8))
    np.save(tmp_path / "labels.npy", np.arange(20) % 3)
    started: list[subprocess.Popen[str]] = []
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])

    def launch(count: int, *words: str) -> subprocess.Popen[str]:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(count)]
        started.append(
            subprocess.Popen(
                [*torchrun, "--standalone", "-m", "workbench", *words],
                cwd=tmp_path,
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield launch
    for process in started:
        process.terminate()  # which it tells its workers
        process.communicate(timeout=60)


def said(err: str) -> list[str]:
    """Our lines of what a launcher and its processes wrote."""
    return [line for line in err.splitlines() if line.startswith(("ddpm", "stopped", "warning"))]


def workers(launcher: subprocess.Popen[str]) -> dict[int, int]:
    """The process ids of what a launcher started, by rank."""
    found = {}
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text()
    for child in children.split():
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        ranks = [entry for entry in environment if entry.startswith(b"RANK=")]
        found |= {int(rank[5:]): int(child) for rank in ranks}
    return found


def until_step(run: Path, launcher: subprocess.Popen[str], step: int) -> None:
    while not any(int(path.name[5:]) >= step for path in (run / checkpoints.FOLDER).glob("step_*")):
        assert launcher.poll() is None
        time.sleep(0.05)


def test_one_run_in_one_two_and_three_processes(
    launch: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """Begun by two, gone on with by three, to rounding what one learns; a folder that exists ends
    both of two with one line. The rounding is Adam's, of six steps of 1e-3."""
    words = [*OPTIONS.split(), "--steps", "6"]
    ended = launch(2, *words, "--steps", "4", "--show").communicate(timeout=300)
    assert ended[0].count('"steps": 4') == 2  # each of them

    one = [sys.executable, "-m", "workbench", *words, "--output", "one"]
    assert subprocess.run(one, cwd=tmp_path, stdout=subprocess.DEVNULL).returncode == 0

    two = launch(2, *words)
    out, err = two.communicate(timeout=300)
    assert two.returncode == 0, err
    assert out.count("6 steps, last loss") == 1  # only the first speaks
    assert not [path for path in (tmp_path / "run").rglob("*") if path.suffix in (".bin", ".pkl")]

    newest = max((tmp_path / "run" / checkpoints.FOLDER).iterdir())
    for path in newest.iterdir():  # as if it had ended two steps before
        path.unlink()
    newest.rmdir()
    three = launch(3, "train", "--resume", "run", "--quiet", "--device", "cpu")
    out, err = three.communicate(timeout=300)
    assert three.returncode == 0, err

    losses = [
        [row["loss"] for row in runs.load_metrics(tmp_path / name) if "step" in row]
        for name in ("one", "run")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    last = checkpoints.FOLDER / "step_000006" / checkpoints.STATE
    states = [safetensors.torch.load_file(tmp_path / name / last) for name in ("one", "run")]
    names = [name for name in states[0] if name.startswith(("weights.", "ema."))]
    difference = torch.cat([(states[0][n] - states[1][n]).abs().flatten() for n in names])
    assert difference.max() < 2e-4
    assert difference.quantile(0.99) < 1e-6

    again = launch(2, *words)
    out, err = again.communicate(timeout=300)
    assert again.returncode != 0
    (line,) = said(err)
    assert line == ("ddpm train: run holds a run; go on with --resume, or replace it with --force")


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc")
def test_a_worker_that_dies_ends_the_others_and_a_signal_saves(
    launch: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    words = [*OPTIONS.split(), "--steps", "100000"]
    dying = launch(2, *words)
    until_step(tmp_path / "run", dying, 2)
    others = workers(dying)
    os.kill(others.pop(1), signal.SIGKILL)
    killed = time.monotonic()
    while any(Path(f"/proc/{child}").exists() for child in others.values()):
        assert time.monotonic() - killed < 60  # it takes a second or two, or more while others work
        time.sleep(0.05)
    _, err = dying.communicate(timeout=300)
    assert said(err) == [
        "ddpm train: another of the 2 processes has ended, and the rest cannot go on without it; "
        "go on with: ddpm train --resume run"
    ]

    told = launch(2, *words, "--output", "told")
    until_step(tmp_path / "told", told, 2)
    told.send_signal(signal.SIGTERM)
    _, err = told.communicate(timeout=300)
    assert said(err) == ["stopped and saved; go on with: ddpm train --resume told"]
    steps = [row for row in runs.load_metrics(tmp_path / "told") if "step" in row]
    last = max((tmp_path / "told" / checkpoints.FOLDER).iterdir())
    assert last.name == f"step_{len(steps):06d}"  # both after the same step


# Alone


def test_alone_nothing_is_exchanged() -> None:
    value = torch.tensor([1.0, 2.0])
    assert processes.average(value) is value
    assert (processes.rank(), processes.count(), processes.is_first()) == (0, 1, True)
    assert processes.highest(15) == 15
    with processes.joined(CPU):
        assert processes.count() == 1


def test_the_first_process_is_known_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert not processes.is_first()
    monkeypatch.setenv("RANK", "0")
    assert processes.is_first()


def test_what_cannot_be_is_refused(
    tiny: Make, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"fp16 needs loss scaling on a CUDA GPU, .* is on cpu"):
        training_run.train(tiny(precision="fp16"), tmp_path / "run", dataset, device=CPU)
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(processes, "count", lambda: 5)
    with pytest.raises(ValueError, match="4 images a step cannot be shared out over 5 processes"):
        processes.check("float32", CPU, 4)
    unet, _ = trainer.new_parts(tiny(), dataset)
    with pytest.raises(ValueError, match="Accelerate was set up as NO of 1 processes"):
        processes.prepared(unet, torch.optim.SGD(unet.parameters(), lr=0.1), "float32")


def test_accelerate_is_left_as_it_was(tiny: Make, dataset: Dataset) -> None:
    """It keeps one precision for all of a Python: the user's; two runs at once have their own."""
    from accelerate.state import AcceleratorState, PartialState

    mine = Accelerator(cpu=True, mixed_precision="bf16")
    try:
        made = []
        for precision in ("float32", "bf16"):
            config = tiny(precision=precision)
            unet, scheduler = trainer.new_parts(config, dataset)
            state = trainer.new_state(unet, config.train)
            made.append(trainer.training_steps(state, scheduler, dataset, config.train, 0))
        losses = [[step.loss.item() for step in pair] for pair in zip(*made, strict=True)]
        assert all(one != other for one, other in losses)
        assert mine.mixed_precision == AcceleratorState().mixed_precision == "bf16"
    finally:
        AcceleratorState._reset_state()
        PartialState._reset_state()


class Scaling(Accelerator):
    """Accelerate's, with the loss scaling that it has on a GPU alone."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.scaler = torch.amp.GradScaler("cpu")
        self.native_amp = True


def test_fp16_repeats_a_step_that_overflows_and_keeps_its_scale(
    tiny: Make, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU, which knows fp16 as well: a scale at which gradients overflow is halved until they
    do not, no step is lost, and a run that is gone on with has the scale that it had."""
    monkeypatch.setattr("accelerate.Accelerator", Scaling)
    monkeypatch.setattr(processes, "check", lambda *_: None)
    config = tiny(precision="fp16", steps=6, save_every=3, keep=9)

    def begun(unet: Any, train: Any) -> trainer.TrainingState:
        state = new_state(unet, train)
        assert state.loss_scale is not None
        state.loss_scale[0] = 2.0**40
        return state

    new_state = trainer.new_state
    monkeypatch.setattr(training_run, "new_state", begun)
    whole = training_run.train(config, tmp_path / "whole", dataset, device=CPU, progress=False)
    assert whole.finished
    last = checkpoints.FOLDER / "step_000006"
    kept = safetensors.torch.load_file(tmp_path / "whole" / last / checkpoints.STATE)
    scale, held = kept["loss_scale"].tolist()
    assert 1 <= scale < 2.0**40
    assert held == 6  # since the first step, at which it was found
    exact = [step.loss.item() for step in steps_of(tiny(steps=6), dataset)]
    assert whole.losses == pytest.approx(exact, rel=0.02)  # 11 bits, over a few steps
    assert whole.losses != exact

    for path in (tmp_path / "whole" / last).iterdir():
        path.unlink()
    again = training_run.train(
        config, tmp_path / "whole", dataset, device=CPU, progress=False, resume=True
    )
    assert again.losses == whole.losses
    resumed = safetensors.torch.load_file(tmp_path / "whole" / last / checkpoints.STATE)
    torch.testing.assert_close(resumed, kept, rtol=0, atol=0)


def steps_of(config: RunConfig, dataset: Dataset) -> list[trainer.Step]:
    unet, scheduler = trainer.new_parts(config, dataset)
    state = trainer.new_state(unet, config.train)
    return list(trainer.training_steps(state, scheduler, dataset, config.train, config.seed))


def test_numbers_that_are_not_finite_are_no_overflow(
    tiny: Make, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No scale helps a weight that is not a number: the step is told as it is, once."""
    monkeypatch.setattr("accelerate.Accelerator", Scaling)
    config = tiny(precision="fp16")
    unet, scheduler = trainer.new_parts(config, dataset)
    next(unet.parameters()).data.fill_(torch.nan)
    state = trainer.new_state(unet, config.train)
    steps = trainer.training_steps(state, scheduler, dataset, config.train, 0)
    assert next(steps).loss.isnan()
