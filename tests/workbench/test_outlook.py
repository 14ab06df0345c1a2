"""What is said before the work: figures that are right, and doubts only where there is reason."""

import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import scratch
from tests.often import each
from workbench import outlook, precision, trainer
from workbench.config import PRESETS, RunConfig, TrainConfig
from workbench.data import Dataset
from workbench.metrics import FLUSH_EVERY

Make = Callable[..., RunConfig]
CPU = torch.device("cpu")


@pytest.fixture
def said(tmp_path: Path, dataset: Dataset) -> Callable[..., list[str]]:
    def said(config: RunConfig, images: Dataset = dataset) -> list[str]:
        unet, scheduler = trainer.new_parts(config, images)
        return outlook.of_training(config, images, unet, scheduler, tmp_path / "run", CPU)

    return said


def doubts(lines: list[str]) -> list[str]:
    return [line.removeprefix("look at   ") for line in lines if line.startswith("look at")]


GOOD = {"steps": 100, "num_train_timesteps": 1000}


def test_a_usual_run_fits_a_screen_and_leaves_no_doubt(
    said: Callable[..., list[str]], tiny: Make
) -> None:
    lines = said(tiny(**GOOD))
    assert doubts(lines) == []
    assert len(lines) <= 10
    assert "pictures  10 of 1x8x8, from -" in "\n".join(lines)
    assert lines[3] == "steps     100 of 4 pictures, 40 epochs; a checkpoint every 500"
    assert lines[5].startswith("noise     T = 1,000; alpha-bar ends at 4e-05, where 0.64 %")


def test_bf16_that_the_processor_lacks_is_a_doubt(
    said: Callable[..., list[str]], tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for native, expected in ((False, ["this processor does not compute in bf16"]), (True, [])):
        monkeypatch.setattr(precision, "computes_bf16", lambda native=native: native)
        told = doubts(said(tiny(**GOOD, precision="bf16")))
        assert [line[:39] for line in told] == expected
        assert doubts(said(tiny(**GOOD))) == []


def test_another_path_is_said() -> None:
    plain, fast = TrainConfig(), TrainConfig(fast=True)
    (line,) = outlook.of_other_path(plain, fast, 1200)
    assert line.startswith("from step 1,200 on by the fast path: equal up to rounding")
    assert [*outlook.of_other_path(fast, fast, 3)] == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"num_train_timesteps": 50}, "the last of 50 noise levels leaves 78 % of the picture"),
        ({"batch_size": 11}, "a batch of 11 has each of the 10 pictures more than once"),
        ({"steps": 2}, "the run sees 8 of the 10 pictures"),
        ({"warmup_steps": 21}, "rises for 21 of 100 steps; a short run wants --warmup-steps 0"),
        ({"learning_rate": 0.1}, "a learning rate of 0.1 is rare"),
    ],
)
def test_what_looks_wrong_is_said(
    changes: dict[str, Any], says: str, said: Callable[..., list[str]], tiny: Make
) -> None:
    (doubt,) = doubts(said(tiny(**{**GOOD, **changes})))
    assert says in doubt


def test_pictures_that_were_scaled_twice(
    said: Callable[..., list[str]], tiny: Make, dataset: Dataset
) -> None:
    dark = Dataset(dataset.images / 255, dataset.labels)
    (doubt,) = doubts(said(tiny(**GOOD), dark))
    assert "the pictures reach from -0.00" in doubt


def test_more_memory_than_there_is(
    said: Callable[..., list[str]], tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlook, "_memory_of_device", lambda device: 1000)
    (doubt,) = doubts(said(tiny(**GOOD)))
    assert "of memory are needed, and cpu has 1 kB; take a smaller --batch-size" in doubt


def test_the_presets_leave_none(tiny: Make) -> None:
    """As to what hangs on the options alone."""
    for preset in PRESETS.values():
        assert list(outlook._of_rates(preset.train, 2000)) == []


def test_the_half_life_is_that_of_the_average(tiny: Make, dataset: Dataset) -> None:
    """A weight that jumps from 0 to 1 so many steps before the end is half there."""
    from workbench.ema import EMA

    total = 500
    (line,) = outlook._average(TrainConfig(ema_decay=0.9, steps=total), total)
    half = float(line.split()[2])
    assert half == pytest.approx(math.log(0.5) / math.log(0.9), rel=1e-2)
    net = torch.nn.Linear(1, 1, bias=False)
    net.weight.data.zero_()
    ema = EMA(net, 0.9)
    for step in range(total):
        if step == total - round(half):
            net.weight.data.fill_(1)
        ema.update(net)
    assert float(ema.average["weight"]) == pytest.approx(0.5, abs=0.05)  # half a step of rounding


def test_memory_grows_with_the_batch_and_with_what_is_kept(tiny: Make, dataset: Dataset) -> None:
    unet, _ = trainer.new_parts(tiny(), dataset)
    weights = sum(4 * p.numel() for p in unet.parameters())
    one, two = (outlook.memory_of(tiny(batch_size=size), dataset, unet) for size in (1, 2))
    kept = outlook.kept_for_the_way_back(unet, (1, 8, 8))
    assert two - one == pytest.approx(outlook.WAY_BACK * kept, abs=1)
    assert one - outlook.memory_of(tiny(batch_size=1, ema_decay=None), dataset, unet) == weights
    skips = outlook.memory_of(tiny(batch_size=1, skip_nonfinite=True), dataset, unet)
    assert skips - one == 4 * weights


@pytest.mark.parametrize("attention", [(False, False), (False, True)])
def test_what_a_large_picture_keeps_is_told_from_smaller_ones(attention: tuple[bool, bool]) -> None:
    """To count it takes minutes where attention is among many places."""
    unet = scratch.UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(4, 4),
        down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attention),
        up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in attention[::-1]),
        norm_num_groups=2,
        attention_head_dim=4,
    )
    told = outlook.kept_for_the_way_back(unet, (1, 160, 144))
    assert told == pytest.approx(outlook._kept(unet, (1, 160, 144), False), rel=0.02)


@pytest.mark.parametrize(
    "options",
    each(4, ["digits", "digits --batch-size 512", "sprites", "tutorial"]),
)
def test_the_memory_that_is_forecast_is_what_a_run_takes(options: str, tmp_path: Path) -> None:
    """Its peak, as the system counts it, within a fifth."""
    if not Path("/proc/self/status").exists():
        pytest.skip("the system does not tell the peak of one process here")
    config = ["train", "--preset", *options.split(), "--steps", "3", "--warmup-steps", "0"]
    ran = "import sys; from ddpm.cli import main; main(sys.argv[1:]); "
    peak = "print(next(line.split()[1] for line in open('/proc/self/status') if 'VmHWM' in line))"
    words = [*config, "--no-sample-grid", "--device", "cpu", "--output", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-c", ran + peak, *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("network"))
    found = re.search(r"about ([\d.]+) (.B) of memory to train it, and ([\d.]+) (.B) for", line)
    assert found, line
    unit = {"MB": 1e6, "GB": 1e9}
    forecast = float(found[1]) * unit[found[2]] + float(found[3]) * unit[found[4]]
    counted = 1024 * int(done.stdout.splitlines()[-1])
    assert forecast == pytest.approx(counted, rel=0.2), line


def test_where_the_system_tells_no_memory_none_is_said_of_the_program(
    said: Callable[..., list[str]], tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlook, "of_process", lambda entry: 0)
    assert said(tiny(**GOOD))[2].endswith(" of memory to train it")


def test_pictures_and_weights_are_not_counted_twice(
    tiny: Make, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    unet, _ = trainer.new_parts(tiny(), dataset)
    monkeypatch.setattr(outlook, "of_process", lambda entry: 10**9)
    weights = sum(4 * p.numel() for p in unet.parameters())
    taken = dataset.images.nbytes + weights
    assert outlook.memory_of_program(dataset, unet) == pytest.approx(10**9 - taken, abs=1000)


def test_what_one_layer_keeps() -> None:
    """A linear layer keeps its input, and its weight is not counted; a square keeps its own."""

    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(8, 8)

        def forward(self, x: torch.Tensor, t: torch.Tensor, class_labels: Any) -> Any:
            class Output:
                sample = self.linear(x).square()

            return Output

    assert outlook.kept_for_the_way_back(Layer(), (1, 8, 8)) == 2 * 64 * 4


def test_a_forecast_is_made_once_of_the_first_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(outlook.time, "monotonic", lambda: now[0])
    forecast = outlook.Forecast(total=1000)
    told = {}
    for step in range(1, 100):
        now[0] += 60 if step == 1 else 0.5  # the first one is slow
        if line := forecast.after(step):
            told[step] = line
    assert list(told) == [FLUSH_EVERY]
    assert "about 8.2 min for the 980 steps that are left, at 500 ms a step" in told[FLUSH_EVERY]


@pytest.mark.parametrize("kind", ["cosine", "constant"])
def test_another_length_says_what_becomes_of_the_cosine(kind: Any) -> None:
    was = TrainConfig(steps=100, lr_schedule=kind, learning_rate=2.0)
    now = TrainConfig(steps=200, lr_schedule=kind, learning_rate=2.0)
    assert list(outlook.of_other_length(was, was, 100, 10)) == []
    lines = list(outlook.of_other_length(was, now, 100, 10))
    assert lines[0] == "the run is to have 200 steps, where it was to have 100"
    assert lines[1:] == ["its cosine is stretched over all 200: the learning rate goes on from "
        "1.00e+00 at step 100, where it was 0.00e+00"] * (kind == "cosine")  # fmt: skip


def test_pictures_to_be_drawn(tiny: Make, dataset: Dataset, tmp_path: Path) -> None:
    _, scheduler = trainer.new_parts(tiny(num_train_timesteps=50), dataset)
    lines = outlook.of_sampling(tmp_path, "scratch", scheduler, 16, 10, CPU)
    assert lines[1] == "steps     10 of 50, by DDPMScheduler"
    assert "leaves 78 % of the picture" in lines[-1]
