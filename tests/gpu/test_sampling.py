"""Sampling on a GPU: the pictures of the CPU, by any mix of parts, fast or not, without waiting."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch

import scratch
import with_diffusers
from workbench import backends, fast, trainer
from workbench.coefficients import coefficients_of
from workbench.config import RunConfig
from workbench.data import Dataset
from workbench.sampling import sample

BACKENDS = ("scratch", "diffusers")
PACKAGES = {"scratch": scratch, "diffusers": with_diffusers}
SAMPLERS = [("DDPMScheduler", {}), ("DDIMScheduler", {"eta": 0.0}), ("DDIMScheduler", {"eta": 0.7})]
GREY = 2 / 255  # one grey level of pictures in [-1, 1]

# Kernels sum in another order, and a convolution may round its inputs to TF32 (2^-11) by default:
# twenty steps of a small network then stay within a quarter of a grey level.
CLOSE = {"rtol": 0, "atol": GREY / 4}


@pytest.fixture
def parts(tiny: Callable[..., RunConfig], dataset: Dataset) -> Callable[..., tuple[Any, Any]]:
    """A UNet on a device and a scheduler of a backend; the same weights for both."""

    def make(backend: str, device: Any, sampler: str = "DDPMScheduler", **changes: Any) -> Any:
        unet, scheduler = trainer.new_parts(tiny(backend=backend, **changes), dataset)
        config = dict(scheduler.config)
        if sampler == "DDIMScheduler":
            config.pop("variance_type")
        return unet.to(device), getattr(PACKAGES[backend], sampler).from_config(config)

    return make


def draw(made: Any, backend: str, **options: Any) -> torch.Tensor:
    options = {"seed": 0, "steps": 20, "progress": False, **options}
    return sample(backend, *made, options.pop("count", 3), **options).images


@contextmanager
def no_waiting() -> Iterator[None]:
    """An error, where the host waits for the GPU."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("sampler", "options"), SAMPLERS)
def test_one_seed_is_one_picture_on_the_cpu_and_here(
    backend: str, sampler: str, options: Any, parts: Callable[..., Any], gpu: torch.device
) -> None:
    there, here = (draw(parts(backend, d, sampler), backend, **options) for d in ("cpu", gpu))
    assert here.device.type == "cpu"
    assert ((there - here).abs().max() / GREY).round() <= 1


def test_any_mix_of_parts_draws_the_same_pictures(
    parts: Callable[..., Any], gpu: torch.device
) -> None:
    made = {name: parts(name, gpu, class_conditional=True) for name in BACKENDS}
    options = {"labels": [0, 1, 2], "guidance": 2.5}
    expected = draw(made["scratch"], "scratch", **options)
    for unet in BACKENDS:
        for scheduler in BACKENDS:
            for pipeline in BACKENDS:
                mixed = (made[unet][0], made[scheduler][1])
                torch.testing.assert_close(draw(mixed, pipeline, **options), expected, **CLOSE)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("sampler", "options"), SAMPLERS)
@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("batch_size", [64, 2])
def test_fast_draws_what_plain_draws(
    backend: str,
    sampler: str,
    options: dict[str, Any],
    guided: bool,
    batch_size: int,
    parts: Callable[..., Any],
    gpu: torch.device,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Compiled and captured, and none of it left out; labels change from batch to batch."""
    made = parts(backend, gpu, sampler, class_conditional=guided)
    told = {"labels": [0, 1, 2], "guidance": 2.5} if guided else {}
    plain, quick = (
        draw(made, backend, fast=path, batch_size=batch_size, **told, **options)
        for path in (False, True)
    )
    assert capsys.readouterr().err == ""
    torch.testing.assert_close(quick, plain, **CLOSE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_graph_alone_where_no_compiler_is(
    backend: str,
    parts: Callable[..., Any],
    gpu: torch.device,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def none_here(network: Any, **_: Any) -> Any:
        raise RuntimeError("there is no Triton")

    monkeypatch.setattr(torch, "compile", none_here)
    made = parts(backend, gpu)
    plain, quick = (draw(made, backend, fast=path) for path in (False, True))
    said = capsys.readouterr().err
    assert said == "the network is not compiled here: there is no Triton\n"
    torch.testing.assert_close(quick, plain, **CLOSE)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_near_and_fast_is_as_near(
    backend: str, precision: str, parts: Callable[..., Any], gpu: torch.device
) -> None:
    made = parts(backend, gpu)
    exact = draw(made, backend)
    for path in (False, True):
        rounded = draw(made, backend, precision=precision, fast=path)
        assert 0 < (rounded - exact).abs().max() <= 8 * GREY


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_step_of_the_fast_path_waits(
    backend: str,
    parts: Callable[..., Any],
    gpu: torch.device,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fast, "NOISE_BYTES", 3 * 3 * 64 * 4)  # the noise of three steps at a time
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    unet, scheduler = parts(backend, gpu)
    plan = coefficients_of(scheduler, 20)
    with torch.no_grad():
        chain = fast.make_chain(unet.eval(), plan, (3, 1, 8, 8), fast.say_it)

        class Bar:
            update = staticmethod(lambda: None)

        draws = [torch.Generator().manual_seed(i) for i in range(3)]
        chain.run(draws, Bar)
        with no_waiting():
            chain.run(draws, Bar)


def test_no_step_of_scratchs_pipeline_waits(parts: Callable[..., Any], gpu: torch.device) -> None:
    """With a generator of the device: one of the CPU hands its noise over, which waits."""
    pipeline = backends.load("scratch").DDPMPipeline(*parts("scratch", gpu))
    pipeline.set_progress_bar_config(disable=True)
    given = {"batch_size": 2, "num_inference_steps": 5, "output_type": "pt"}
    generator = torch.Generator(gpu).manual_seed(0)
    pipeline(generator=generator, **given)
    with no_waiting():
        pipeline(generator=generator, **given)
