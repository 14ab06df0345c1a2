"""The fast path learns what the plain one learns, and says in a line what cannot be had.

Compiling takes a minute: but for `test_compiled` the network is run as written, or traced and run
as written. A GPU repeats a step at fixed places in memory, as CUDA graphs: here the same step takes
the same places, and is not captured; `tests/gpu` has the rest.
"""

import copy
import math
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.often import each
from tests.workbench.fast_runs import VARIANTS
from workbench import fast_training, one_step, processes, trainer, training_run
from workbench.config import RunConfig
from workbench.data import Dataset
from workbench.draws import DROPOUT
from workbench.one_step import TrainingState
from workbench.trainer import Step

BACKENDS = ("scratch", "diffusers")
CPU = torch.device("cpu")
Make = Callable[..., RunConfig]

# Adam by one kernel, and an average by three, round otherwise: 1e-7 of a loss near 1 in each of a
# few steps. Where a gradient is itself no more than rounding, Adam still takes a step of the rate,
# 1e-3, of which it rounds the sign.
LOSSES = {"rel": 2e-6}
WEIGHTS = {"rtol": 0, "atol": 5e-4}


@pytest.fixture(params=["compiled", "captured"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both kinds of step: as on a CPU, and at fixed places as on CUDA."""
    if request.param == "captured":
        monkeypatch.setattr(fast_training, "CAPTURED", {"cpu"})
    return str(request.param)


def learned(config: RunConfig, dataset: Dataset) -> tuple[TrainingState, list[Step]]:
    unet, scheduler = trainer.new_parts(config, dataset)
    state = trainer.new_state(unet, config.train)
    return state, list(trainer.training_steps(state, scheduler, dataset, config.train, 0))


def assert_near(plain: Any, quick: Any) -> None:
    """Losses, norms, rates, weights and averages of two runs."""
    (state, steps), (other, others) = plain, quick
    assert [s.learning_rate for s in steps] == [s.learning_rate for s in others]
    for name in ("loss", "gradient_norm"):
        expected = [float(getattr(step, name)) for step in steps]
        assert [float(getattr(s, name)) for s in others] == pytest.approx(expected, **LOSSES)
    torch.testing.assert_close(other.unet.state_dict(), state.unet.state_dict(), **WEIGHTS)
    if state.ema is not None:
        torch.testing.assert_close(other.ema.average, state.ema.average, **WEIGHTS)
        assert other.ema.updates == state.ema.updates == len(steps)


def tensors(state: TrainingState) -> dict[str, Any]:
    made = {"weights": state.unet.state_dict(), "moments": state.optimizer.state_dict()["state"]}
    return copy.deepcopy({**made, "average": state.ema and state.ema.average})


@pytest.mark.usefixtures("as_written", "path")
@pytest.mark.parametrize(("what", "backend"), each(4, product(VARIANTS, BACKENDS)))
def test_fast_learns_what_plain_learns(
    what: str,
    backend: str,
    tiny: Make,
    dataset: Dataset,
    capsys: pytest.CaptureFixture[str],
) -> None:
    changes = {"backend": backend, "steps": 6, **VARIANTS[what]}
    plain, quick = (learned(tiny(fast=fast, **changes), dataset) for fast in (False, True))
    assert_near(plain, quick)
    assert capsys.readouterr().err == ""  # nothing was left out


@pytest.mark.usefixtures("as_written", "path")
def test_bf16_is_bf16(tiny: Make, dataset: Dataset) -> None:
    """A weight that differs in its last bit rounds otherwise to 8 bits now and then: 2^-9 of it."""
    plain, quick = (
        [float(step.loss) for step in learned(tiny(precision="bf16", fast=f), dataset)[1]]
        for f in (False, True)
    )
    assert quick == pytest.approx(plain, rel=2**-9)
    exact = [float(step.loss) for step in learned(tiny(), dataset)[1]]
    assert quick != pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("backend", each(2, BACKENDS))
def test_a_network_that_is_traced_and_run_as_written(
    backend: str,
    tiny: Make,
    dataset: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The tracing of `torch.compile` takes both UNets, there and back, with dropout and labels."""
    real = torch.compile

    def traced(network: Any, dynamic: bool, options: Any) -> Any:
        return real(network, dynamic=dynamic, backend="aot_eager")

    monkeypatch.setattr(torch, "compile", traced)
    changes = {"backend": backend, "class_conditional": True, "dropout": 0.2}
    plain, quick = (learned(tiny(fast=fast, **changes), dataset) for fast in (False, True))
    assert_near(plain, quick)
    assert capsys.readouterr().err == ""


@pytest.mark.long
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("changes", [{"dropout": 0.2, "steps": 8}, {"precision": "bf16"}])
def test_compiled(
    changes: dict[str, Any],
    backend: str,
    tiny: Make,
    dataset: Dataset,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In bf16 what is compiled keeps more bits between two operations than what is not."""
    plain, quick = (
        learned(tiny(backend=backend, fast=fast, **changes), dataset) for fast in (False, True)
    )
    if "precision" in changes:
        near = [float(step.loss) for step in plain[1]]
        assert [float(step.loss) for step in quick[1]] == pytest.approx(near, rel=2**-8)
    else:
        assert_near(plain, quick)
    assert capsys.readouterr().err == ""


# What is done before the first step


@pytest.mark.usefixtures("as_written", "path")
@pytest.mark.parametrize("done", [0, 2])
def test_trials_leave_no_trace(done: int, tiny: Make, dataset: Dataset) -> None:
    """Weights, moments, averages and counts, and everybody's random numbers, are as before; each
    tensor where it was."""
    config = tiny(fast=True, dropout=0.2, steps=4)
    unet, scheduler = trainer.new_parts(config, dataset)
    state = trainer.new_state(unet, config.train)
    training = trainer.training_steps(state, scheduler, dataset, config.train, 0)
    for _ in range(done):
        next(training)
    before, places = tensors(state), [p.data_ptr() for p in unet.parameters()]
    torch.manual_seed(7)
    numbers = torch.get_rng_state()
    step = one_step.OneStep(state, scheduler, config.train)
    fast_training.make_fast(step, (4, 1, 8, 8), pytest.fail)
    after = tensors(state)
    if not done:  # Adam's moments are there already, and are what they would be made as
        assert not any(v.any() for m in after["moments"].values() for v in m.values())
        before["moments"] = after["moments"]
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    assert [p.data_ptr() for p in unet.parameters()] == places
    assert torch.equal(torch.get_rng_state(), numbers)
    assert (state.step, state.ema and state.ema.updates) == (done, done)


@pytest.mark.usefixtures("as_written", "path")
@pytest.mark.parametrize("broken", [0, 2])
def test_a_step_that_is_not_finite_changes_nothing(
    broken: int, tiny: Make, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its number is told by its loss."""
    real, now = trainer.seed_of, [-1]

    def seed_of(seed: int, stream: int, *numbers: int) -> int:
        now[0] = numbers[0] if stream == DROPOUT else now[0]
        return real(seed, stream, *numbers)

    loss = one_step.mse_loss
    monkeypatch.setattr(trainer, "seed_of", seed_of)
    monkeypatch.setattr(
        one_step, "mse_loss", lambda *two: loss(*two) * (math.inf if now[0] == broken else 1)
    )
    config = tiny(skip_nonfinite=True, fast=True)
    unet, scheduler = trainer.new_parts(config, dataset)
    state, finite = trainer.new_state(unet, config.train), []
    before = tensors(state)
    for step in trainer.training_steps(state, scheduler, dataset, config.train, 0):
        after = tensors(state)
        finite.append(bool(step.loss.isfinite()))
        if step.index == broken:
            before["moments"] = before["moments"] or {
                i: {name: torch.zeros_like(value) for name, value in moments.items()}
                for i, moments in after["moments"].items()
            }
            torch.testing.assert_close(after, before, rtol=0, atol=0)
        before = after
    assert finite == [k != broken for k in range(4)]


@pytest.mark.usefixtures("as_written", "path")
def test_what_a_step_said_stays_said(tiny: Make, dataset: Dataset) -> None:
    _, steps = learned(tiny(fast=True), dataset)
    assert len({float(step.loss) for step in steps}) == len(steps)
    assert len({float(step.gradient_norm) for step in steps}) == len(steps)


# Resume


@pytest.mark.usefixtures("as_written", "path")
@pytest.mark.parametrize(("first", "then"), each(2, [(True, True), (True, False), (False, True)]))
def test_a_resume_within_into_and_out_of_the_fast_path(
    first: bool,
    then: bool,
    tiny: Make,
    dataset: Dataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Within, the bytes are those of a run that was never interrupted; else they are near, and a
    line says which path it is now."""

    def train(name: str, steps: int, fast: bool, **options: Any) -> training_run.TrainResult:
        config = tiny(steps=steps, lr_schedule="constant", fast=fast)
        folder = tmp_path / name
        return training_run.train(config, folder, dataset, device=CPU, progress=False, **options)

    whole = train("whole", 6, first)
    train("parts", 3, first)
    resumed = train("parts", 6, then, resume=True)
    said = capsys.readouterr().err
    weights = Path("unet", "diffusion_pytorch_model.safetensors")
    made = [(tmp_path / name / weights).read_bytes() for name in ("whole", "parts")]
    if first == then:
        assert resumed.losses == whole.losses
        assert made[0] == made[1]
        assert "path" not in said
    else:
        assert resumed.losses == pytest.approx(whole.losses, **LOSSES)
        assert f"from step 3 on by the {'fast' if then else 'plain'} path: equal up to" in said


# What cannot be had


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize("backend", BACKENDS)
def test_no_compiler_is_a_line_and_no_end(
    backend: str,
    tiny: Make,
    dataset: Dataset,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain, quick = (learned(tiny(backend=backend, fast=f), dataset) for f in (False, True))
    assert_near(plain, quick)
    said = capsys.readouterr().err
    assert said == "the network is not compiled here: no C++ compiler was found\n"


@pytest.mark.usefixtures("as_written")
def test_no_graph_is_a_line_and_no_end(
    tiny: Make,
    dataset: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever a capture throws, the step goes on at its fixed places, launched one by one."""

    def fails(work: Any, device: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(fast_training, "CAPTURED", {"cpu"})
    monkeypatch.setattr(fast_training, "_graph", fails)
    plain, quick = (learned(tiny(fast=fast), dataset) for fast in (False, True))
    assert_near(plain, quick)
    said = capsys.readouterr().err
    assert said.startswith("no CUDA graph here, each operation is launched by itself: operation")
    assert said.count("\n") == 1


def test_several_processes_take_the_plain_path_and_say_so(
    tiny: Make, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(fast=True)
    unet, scheduler = trainer.new_parts(config, dataset)
    step = one_step.OneStep(trainer.new_state(unet, config.train), scheduler, config.train)
    monkeypatch.setattr(processes, "count", lambda: 2)
    said: list[str] = []
    fast_training.make_fast(step, (4, 1, 8, 8), said.append)
    assert said == ["not the fast path: 2 processes share out each batch"]
    assert (step.compute, step.finish, step.fixed) == (step.gradient, step.update, False)


def test_off_unless_it_is_asked_for(
    tiny: Make, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On every device, until its part on CUDA has run on a GPU."""
    monkeypatch.setattr(trainer, "make_fast", lambda *_: pytest.fail("it was not asked for"))
    learned(tiny(), dataset)
