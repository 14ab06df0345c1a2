"""The fast path of training on a GPU: compiled, captured, near the plain path, without waiting."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.workbench.fast_runs import VARIANTS
from workbench import fast_training, one_step, trainer, training_run
from workbench.config import RunConfig
from workbench.data import Dataset
from workbench.draws import DROPOUT

BACKENDS = ("scratch", "diffusers")
Make = Callable[..., RunConfig]
CLOSE = {"rel": 2e-3}  # TF32 convolutions round to 2^-11, and a compiler orders sums otherwise


def start(config: RunConfig, dataset: Dataset, gpu: torch.device) -> tuple[Any, Any]:
    """The state of a run on the GPU, and its steps."""
    unet, scheduler = trainer.new_parts(config, dataset)
    state = trainer.new_state(unet.to(gpu), config.train)
    moved = dataset.to(gpu)
    return state, trainer.training_steps(state, scheduler, moved, config.train, config.seed)


def losses(config: RunConfig, dataset: Dataset, gpu: torch.device) -> list[float]:
    return [float(step.loss) for step in start(config, dataset, gpu)[1]]


@pytest.mark.usefixtures("as_written")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("what", VARIANTS)
def test_graphs_learn_what_plain_learns(
    what: str,
    backend: str,
    tiny: Make,
    dataset: Dataset,
    gpu: torch.device,
    capsys: pytest.CaptureFixture[str],
) -> None:
    changes = {"backend": backend, "steps": 8, **VARIANTS[what]}
    plain, quick = (losses(tiny(fast=fast, **changes), dataset, gpu) for fast in (False, True))
    assert quick == pytest.approx(plain, **CLOSE)
    assert capsys.readouterr().err == ""  # captured, and nothing left out


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_compiled_and_captured(
    precision: str,
    backend: str,
    tiny: Make,
    dataset: Dataset,
    gpu: torch.device,
    capsys: pytest.CaptureFixture[str],
) -> None:
    changes = {"backend": backend, "precision": precision, "dropout": 0.2}
    plain, quick = (losses(tiny(fast=fast, **changes), dataset, gpu) for fast in (False, True))
    assert quick == pytest.approx(plain, rel=CLOSE["rel"] if precision == "float32" else 2**-6)
    assert capsys.readouterr().err == ""


def test_fp16_is_compiled_and_not_captured(
    tiny: Make, dataset: Dataset, gpu: torch.device, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, quick = (losses(tiny(fast=f, precision="fp16"), dataset, gpu) for f in (False, True))
    assert quick == pytest.approx(plain, rel=2**-6)
    assert capsys.readouterr().err == (
        "no CUDA graph here: the loss scaling of fp16 reads each step from the device\n"
    )


@pytest.mark.usefixtures("as_written")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("draw_on", ["cpu", "device"])
def test_no_step_waits(
    draw_on: str, backend: str, tiny: Make, dataset: Dataset, gpu: torch.device
) -> None:
    config = tiny(backend=backend, draw_on=draw_on, steps=8, fast=True, skip_nonfinite=True)
    _, steps = start(config, dataset, gpu)
    said = [next(steps) for _ in range(3)]  # what is done once may wait
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        said += list(steps)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len({float(step.loss) for step in said}) == 8


@pytest.mark.usefixtures("as_written")
def test_trials_and_captures_leave_no_trace(
    tiny: Make, dataset: Dataset, gpu: torch.device
) -> None:
    config = tiny(fast=True, dropout=0.2)
    unet, scheduler = trainer.new_parts(config, dataset)
    state = trainer.new_state(unet.to(gpu), config.train)
    before = copy.deepcopy((unet.state_dict(), state.ema and state.ema.average))
    numbers = torch.cuda.get_rng_state(gpu)
    step = one_step.OneStep(state, scheduler, config.train)
    fast_training.make_fast(step, (4, 1, 8, 8), pytest.fail)
    after = (unet.state_dict(), state.ema and state.ema.average)
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    assert not any(v.any() for m in state.optimizer.state.values() for v in m.values())
    assert torch.equal(torch.cuda.get_rng_state(gpu), numbers)


@pytest.mark.usefixtures("as_written")
@pytest.mark.parametrize("broken", [0, 2])
def test_a_step_that_is_not_finite_is_left_out_inside_a_graph(
    broken: int, tiny: Make, gpu: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken by its noise: what is captured is computed as it was captured."""
    images = torch.rand(10, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    real, now = trainer.seed_of, [-1]

    def seed_of(seed: int, stream: int, *numbers: int) -> int:
        now[0] = numbers[0] if stream == DROPOUT else now[0]
        return real(seed, stream, *numbers)

    target_of = one_step.target_of
    monkeypatch.setattr(trainer, "seed_of", seed_of)
    monkeypatch.setattr(
        one_step,
        "target_of",
        lambda *given: target_of(*given) * (math.inf if now[0] == broken else 1),
    )
    config = tiny(skip_nonfinite=True, fast=True)
    state, steps = start(config, Dataset(images), gpu)
    before, finite = copy.deepcopy(state.unet.state_dict()), []
    for step in steps:
        after = copy.deepcopy(state.unet.state_dict())
        finite.append(bool(step.loss.isfinite()))
        moved = any(not torch.equal(after[name], before[name]) for name in after)
        assert moved == (step.index != broken)
        before = after
    assert finite == [k != broken for k in range(4)]


@pytest.mark.usefixtures("as_written")
@pytest.mark.parametrize(("first", "then"), [(True, True), (True, False), (False, True)])
def test_a_resume_within_into_and_out_of_the_fast_path(
    first: bool, then: bool, tiny: Make, dataset: Dataset, tmp_path: Path, gpu: torch.device
) -> None:
    def train(name: str, steps: int, fast: bool, **options: Any) -> list[float]:
        config = tiny(steps=steps, lr_schedule="constant", fast=fast)
        folder = tmp_path / name
        options = {"device": gpu, "progress": False, **options}
        return training_run.train(config, folder, dataset, **options).losses

    whole = train("whole", 6, first)
    train("parts", 3, first)
    assert train("parts", 6, then, resume=True) == pytest.approx(whole, **CLOSE)
