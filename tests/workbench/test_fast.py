"""The fast path draws what the plain one draws, and says in a line what cannot be had.

Compiling takes minutes: the tests that must be quick leave it out, or compile to what runs as
written; `test_compiled` does it in full.
"""

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch

import scratch
import with_diffusers
from tests.often import each
from workbench import fast, trainer
from workbench.config import RunConfig
from workbench.data import Dataset
from workbench.sampling import Wrapped, sample

BACKENDS = ("scratch", "diffusers")
PACKAGES = {"scratch": scratch, "diffusers": with_diffusers}
Make = Callable[..., RunConfig]

# Twenty float32 steps on values below 3 differ by a few 1e-7 each; the pictures are halved.
CLOSE = {"rtol": 0, "atol": 1e-5}
GREY = 2 / 255  # one grey level of pictures in [-1, 1]


@pytest.fixture
def parts(tiny: Make, dataset: Dataset) -> Callable[..., tuple[Any, Any]]:
    """A UNet and a scheduler of a backend."""

    def make(backend: str, sampler: str = "DDPMScheduler", **changes: Any) -> Any:
        unet, scheduler = trainer.new_parts(tiny(backend=backend, **changes), dataset)
        config = dict(scheduler.config)
        if sampler == "DDIMScheduler":
            config.pop("variance_type")
        return unet, getattr(PACKAGES[backend], sampler).from_config(config)

    return make


def both(made: Any, backend: str, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The pictures of the plain path and of the fast one."""
    options = {"seed": 0, "steps": 20, "progress": False, **options}
    count = options.pop("count", 3)
    plain, quick = (
        sample(backend, *made, count, fast=path, **options).images for path in (False, True)
    )
    return plain, quick


SAMPLERS = [("DDPMScheduler", {}), ("DDIMScheduler", {"eta": 0.0}), ("DDIMScheduler", {"eta": 0.7})]


@pytest.mark.usefixtures("as_written")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("sampler", "options"), SAMPLERS)
@pytest.mark.parametrize("guided", [False, True])
def test_fast_draws_what_plain_draws(
    backend: str,
    sampler: str,
    options: dict[str, Any],
    guided: bool,
    parts: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = parts(backend, sampler, class_conditional=guided)
    if guided:
        options = {**options, "labels": [0, 1, 2], "guidance": 2.5}
    plain, quick = both(made, backend, **options)
    torch.testing.assert_close(quick, plain, **CLOSE)
    assert -1 <= plain.min() < 0 < plain.max() <= 1
    assert capsys.readouterr().err == ""  # nothing was left out


@pytest.mark.usefixtures("as_written")
@pytest.mark.parametrize(("ahead", "backend"), each(3, product([1, 7, 1000], BACKENDS)))
def test_a_picture_depends_on_seed_and_index_alone(
    backend: str, ahead: int, parts: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the batches are, and however many steps' noise is drawn at once."""
    made = parts(backend, class_conditional=True)
    options = {"count": 5, "labels": [0, 1, 2, 0, 1], "guidance": 3.0}
    plain, _ = both(made, backend, **options)
    monkeypatch.setattr(fast, "NOISE_BYTES", ahead * 2 * 64 * 4)  # of a batch of two
    for batch_size in (2, 3):
        _, quick = both(made, backend, batch_size=batch_size, **options)
        torch.testing.assert_close(quick, plain, **CLOSE)


@pytest.mark.usefixtures("as_written")
def test_bf16_fast_is_bf16_plain(parts: Callable[..., Any]) -> None:
    """x_t of the two differs by 1e-7, which moves a bf16 number by 2^-9 of itself now and then."""
    made = parts("scratch")
    plain, quick = both(made, "scratch", precision="bf16")
    exact, _ = both(made, "scratch")
    assert (quick - plain).abs().max() <= GREY
    assert 0 < (plain - exact).abs().max() <= 6 * GREY


@pytest.mark.parametrize("backend", each(2, BACKENDS))
def test_a_network_that_is_traced_and_run_as_written(
    backend: str, parts: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tracing of `torch.compile` takes both UNets, and guidance round them."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    made = parts(backend, class_conditional=True)
    plain, quick = both(made, backend, steps=3, labels=[0], guidance=2.0)
    torch.testing.assert_close(quick, plain, **CLOSE)


@pytest.mark.long
@pytest.mark.parametrize("backend", BACKENDS)
def test_compiled(
    backend: str, parts: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    plain, quick = both(parts(backend), backend)
    torch.testing.assert_close(quick, plain, **CLOSE)
    assert capsys.readouterr().err == ""


# What cannot be had


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize("backend", BACKENDS)
def test_no_compiler_is_a_line_and_no_end(
    backend: str,
    parts: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain, quick = both(parts(backend), backend)
    torch.testing.assert_close(quick, plain, **CLOSE)
    said = capsys.readouterr().err
    assert said == "the network is not compiled here: no C++ compiler was found\n"


@pytest.mark.usefixtures("as_written")
def test_what_the_fast_path_does_not_do_is_said_and_drawn(
    parts: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    unet, scheduler = parts("scratch")
    drawn = sample(
        "scratch", unet, scheduler, 2, seed=0, steps=3, record_every=1, fast=True, progress=False
    )
    assert len(drawn.frames) == 3
    assert capsys.readouterr().err == "not the fast path: a trajectory is recorded\n"
    own = Wrapped(scheduler)  # a scheduler of one's own, for all that one can see
    plain, quick = both((unet, own), "scratch")
    torch.testing.assert_close(quick, plain, rtol=0, atol=0)
    said = capsys.readouterr().err
    assert said == "not the fast path: Wrapped is a scheduler of its own\n"


# Noise


@pytest.mark.parametrize("one", [(1, 8, 8), (3, 3, 3), (1, 5, 5), (3, 16, 16)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_noise_drawn_ahead_is_noise_drawn_step_by_step(
    one: tuple[int, ...], dtype: torch.dtype
) -> None:
    ahead, by_step = ([torch.Generator().manual_seed(s) for s in (1, 2)] for _ in range(2))
    shape = (2, *one)
    drawn = torch.cat([fast.draw_noise(ahead, n, shape, dtype) for n in (1, 0, 3, 2)])
    expected = [
        torch.cat([torch.randn(1, *one, generator=each, dtype=dtype) for each in by_step])
        for _ in range(6)
    ]
    torch.testing.assert_close(drawn, torch.stack(expected), rtol=0, atol=0)
