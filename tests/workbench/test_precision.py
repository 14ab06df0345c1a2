"""Sampling in another precision: what changes is what the network computes in."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from workbench import precision, sampling, trainer
from workbench.config import RunConfig
from workbench.data import Dataset
from workbench.precision import DTYPES, InPrecision, attention_of, in_precision
from workbench.processes import Predictor

BACKENDS = ("scratch", "diffusers")
GREY = 2 / 255  # one grey level of pictures in [-1, 1]


@pytest.fixture
def parts(tiny: Callable[..., RunConfig], dataset: Dataset) -> Callable[..., Any]:
    return lambda backend, **changes: trainer.new_parts(tiny(backend=backend, **changes), dataset)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_copy_computes_in_bf16_and_the_unet_stays(
    backend: str, parts: Callable[..., Any]
) -> None:
    unet, _ = parts(backend)
    before = {name: weight.clone() for name, weight in unet.state_dict().items()}
    copy = in_precision(unet, "bf16")
    assert {weight.dtype for weight in copy.unet.parameters()} == {torch.bfloat16}
    assert copy.dtype == unet.dtype == torch.float32
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([3, 9])
    with torch.no_grad():
        exact, rounded = unet(x, t).sample, copy(x, t).sample
    assert rounded.dtype == torch.float32
    assert 0 < (exact - rounded).abs().max() < 0.1  # 2^-8 of numbers near 1, over a dozen layers
    for name, weight in unet.state_dict().items():
        assert torch.equal(weight, before[name])
    assert in_precision(unet, "float32") is unet


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("labelled", [False, True])
def test_bf16_pictures_are_near(backend: str, labelled: bool, parts: Callable[..., Any]) -> None:
    made = parts(backend, class_conditional=labelled)
    options = {"labels": [0, 1], "guidance": 2.0} if labelled else {}
    exact, rounded = (
        sampling.sample(
            backend, *made, 2, seed=0, steps=10, precision=which, progress=False, **options
        ).images
        for which in ("float32", "bf16")
    )
    assert exact.dtype == rounded.dtype == torch.float32
    assert 0 < (exact - rounded).abs().max() <= 8 * GREY


def test_the_same_noise_is_drawn(parts: Callable[..., Any]) -> None:
    """A network that says nothing: the pictures are noise alone, to the last bit."""
    unet, scheduler = parts("scratch")
    torch.nn.init.zeros_(unet.conv_out.weight)
    torch.nn.init.zeros_(unet.conv_out.bias)
    exact, rounded = (
        sampling.sample(
            "scratch", unet, scheduler, 2, seed=0, steps=5, precision=which, progress=False
        ).images
        for which in ("float32", "bf16")
    )
    assert torch.equal(exact, rounded)


class Kernels(TorchDispatchMode):
    """Notes the names of torch's kernels while it is open."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("side", "bf16", "one_kernel"), [(24, True, False), (28, True, True), (24, False, True)]
)
def test_small_maps_attend_by_products_while_a_network_learns_in_bf16(
    backend: str, side: int, bf16: bool, one_kernel: bool, parts: Callable[..., Any]
) -> None:
    """Two levels: attention has a quarter of the pixels, 144 or 196 positions."""
    unet, _ = parts(backend)
    x, t = torch.randn(1, 1, side, side), torch.tensor([3])
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16), Kernels() as seen:
        Predictor(unet)(x, t, None)
    assert any("flash_attention" in name for name in seen.names) is one_kernel


@pytest.mark.parametrize("backend", BACKENDS)
def test_both_ways_of_attention_learn_the_same(backend: str, parts: Callable[..., Any]) -> None:
    unet, _ = parts(backend)
    unet.eval()
    x, t = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([3, 9])

    def gradient(predict: Callable[..., torch.Tensor], bf16: bool = True) -> torch.Tensor:
        unet.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            made = predict(x, t, None)
        made.float().square().mean().backward()
        return torch.cat([weight.grad.flatten() for weight in unet.parameters()])

    exact = gradient(lambda *given: unet(*given[:2]).sample, bf16=False)
    by_one, by_products = (
        gradient(lambda *given: unet(*given[:2]).sample),
        gradient(Predictor(unet)),
    )
    size = exact.norm()
    assert 0 < (by_products - by_one).norm() < 0.02 * size
    assert (by_products - exact).norm() < 1.1 * (by_one - exact).norm() < 0.05 * size


def test_a_network_of_ones_own_is_left_alone() -> None:
    unet = SimpleNamespace(config={})
    with torch.autocast("cpu", torch.bfloat16):
        assert isinstance(attention_of(unet, torch.zeros(1, 1, 8, 8)), nullcontext)


def test_what_cannot_be_had_is_refused(parts: Callable[..., Any]) -> None:
    unet, _ = parts("scratch")
    with pytest.raises(ValueError, match="fp16 is for a GPU; on a CPU take bf16 or float32"):
        in_precision(unet, "fp16")
    with pytest.raises(ValueError, match="one of float32, bf16, fp16, got 'half'"):
        in_precision(unet, "half")  # type: ignore[arg-type]
    assert isinstance(in_precision(unet, "bf16"), InPrecision)
    assert set(DTYPES) == {"float32", "bf16", "fp16"}


def test_whether_a_processor_computes_in_bf16(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    assert precision.computes_bf16(info) is None
    for flags, expected in (
        ("flags\t\t: fpu avx2 avx512f", False),
        ("flags\t\t: fpu avx512f avx512_bf16", True),
        ("Features\t: fp asimd bf16 i8mm", True),
    ):
        info.write_text(f"processor\t: 0\n{flags}\n")
        assert precision.computes_bf16(info) is expected
