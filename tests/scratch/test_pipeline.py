"""The sampling loop: beside Diffusers' own with every mix of parts, in eval mode, any output."""

import re
from itertools import product

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

import scratch
from tests.scratch.small import SMALL

LIBRARIES = {"scratch": scratch, "diffusers": diffusers}


def unets(channels: int = 1, **options) -> dict:
    """The same network twice."""
    torch.manual_seed(0)
    options = {**SMALL, "in_channels": channels, "out_channels": channels, **options}
    pair = {name: library.UNet2DModel(**options) for name, library in LIBRARIES.items()}
    pair["scratch"].load_state_dict(pair["diffusers"].state_dict())
    return {name: unet.eval() for name, unet in pair.items()}


def pipeline(library, unet, scheduler):
    made = library.DDPMPipeline(unet, scheduler)
    made.set_progress_bar_config(disable=True)
    return made


def ours(channels: int = 1, T: int = 10, **options):
    unet = unets(channels, **options)["scratch"]
    return pipeline(scratch, unet, scratch.DDPMScheduler(num_train_timesteps=T))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", ["DDPMScheduler", "DDIMScheduler"])
def test_all_mixes_of_parts_draw_the_same_pictures(kind: str) -> None:
    """UNet, scheduler and pipeline each from either library; trained pictures: see compare."""
    pair, pictures = unets(3), {}
    for loop, net, sampler in product(LIBRARIES, repeat=3):
        scheduler = getattr(LIBRARIES[sampler], kind)(num_train_timesteps=50, beta_end=0.2)
        mixed = pipeline(LIBRARIES[loop], pair[net], scheduler)
        for output in ("np", "pil"):
            pictures[loop, net, sampler, output] = mixed(
                2, seeded(), num_inference_steps=10, output_type=output
            ).images
    reference = pictures["diffusers", "diffusers", "diffusers", "np"]
    shown = pictures["diffusers", "diffusers", "diffusers", "pil"]
    assert reference.std() > 0.1  # no flat grey
    for loop, net, sampler in product(LIBRARIES, repeat=3):
        mix = loop, net, sampler
        # 1e-4: 10 steps of float32 against float64 tables, as over 500 steps of a trained model.
        assert abs(pictures[*mix, "np"] - reference).max() <= 1e-4, mix
        for picture, other in zip(pictures[*mix, "pil"], shown, strict=True):
            assert picture.mode == other.mode
            levels = np.asarray(picture, dtype=int) - np.asarray(other, dtype=int)
            assert abs(levels).max() <= 1, mix


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_output_types_are_one_picture_three_times_as_in_diffusers(channels: int) -> None:
    pair = unets(channels)
    before_0_41 = tuple(map(int, diffusers.__version__.split(".")[:2])) < (0, 41)
    for name, library in LIBRARIES.items():
        scheduler = library.DDPMScheduler(num_train_timesteps=10)
        made = pipeline(library, pair[name], scheduler)
        outputs = {
            kind: made(2, seeded(), num_inference_steps=5, output_type=kind).images
            for kind in ("pil", "np", "pt")
        }
        array, tensor, pictures = outputs["np"], outputs["pt"], outputs["pil"]
        assert array.shape == (2, 8, 8, channels)
        assert array.dtype == np.float32
        assert 0 <= array.min() <= array.max() <= 1
        if name == "diffusers" and before_0_41:  # "pt" was an array then
            assert np.array_equal(array, tensor)
        else:
            assert tensor.shape == (2, channels, 8, 8)
            assert np.array_equal(array, tensor.permute(0, 2, 3, 1).numpy())
        for picture, pixels in zip(pictures, array, strict=True):
            assert isinstance(picture, Image.Image)
            assert picture.mode == {1: "L", 3: "RGB", 4: "RGBA"}[channels]
            levels = np.asarray(picture).reshape(8, 8, channels)
            assert abs(levels - 255 * pixels.astype(float)).max() <= 0.5 + 1e-4  # rounded, not cut


def test_a_tuple_if_asked() -> None:
    made = ours()
    (images,) = made(num_inference_steps=2, output_type="np", return_dict=False)
    assert type(made(num_inference_steps=2, return_dict=False)) is tuple
    assert images.shape == (1, 8, 8, 1)


def test_pictures_need_not_be_square() -> None:
    assert ours(sample_size=(4, 8))(num_inference_steps=2, output_type="pt").images.shape == (
        1,
        1,
        4,
        8,
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_dtypes(dtype: torch.dtype) -> None:
    made = ours()
    made.unet.to(dtype)
    assert made(num_inference_steps=3, output_type="pt").images.dtype == dtype
    assert made(num_inference_steps=3, output_type="np").images.dtype == np.float32
    assert made(num_inference_steps=3).images[0].size == (8, 8)


def test_eval_mode_while_sampling_and_restored_also_after_an_error() -> None:
    made = ours(dropout=0.5)
    frozen = made.unet.mid_block.eval()
    made.unet.train()
    frozen.eval()
    before = {name: module.training for name, module in made.unet.named_modules()}
    seen = []
    hook = made.unet.register_forward_pre_hook(
        lambda unet, _: seen.append(any(m.training for m in unet.modules()))
    )
    pictures = [made(1, seeded(), 4, "np").images for _ in range(2)]
    assert np.array_equal(*pictures)  # no dropout
    assert seen == [False] * 8
    assert {name: module.training for name, module in made.unet.named_modules()} == before
    hook.remove()
    for message, step in (("interrupted", KeyboardInterrupt), ("broken", RuntimeError)):

        def fail(*args: object, message: str = message, step: type = step) -> None:
            raise step(message)

        hook = made.unet.register_forward_pre_hook(fail)
        with pytest.raises(step, match=message):
            made(num_inference_steps=4)
        assert {name: module.training for name, module in made.unet.named_modules()} == before
        hook.remove()


def test_no_gradients_are_kept() -> None:
    made = ours()
    assert not made(num_inference_steps=2, output_type="pt").images.requires_grad
    assert all(p.grad is None for p in made.unet.parameters())


def test_a_list_of_generators_draws_each_picture_as_if_alone() -> None:
    made = ours()
    both = made(2, [seeded(1), seeded(2)], 5, "np").images
    for i in range(2):
        # float32 convolutions of another batch size sum in another order
        assert_close(both[i : i + 1], made(1, [seeded(i + 1)], 5, "np").images, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="1 generators for 2 images; give one for each"):
        made(2, [seeded()], 5)


def test_moving_and_progress(capsys: pytest.CaptureFixture) -> None:
    made = ours()
    assert made.to("cpu") is made
    made.to("meta")
    assert made.unet.device.type == "meta"
    made = ours()
    made(num_inference_steps=2)
    assert capsys.readouterr().err == ""
    made.set_progress_bar_config(desc="digits")
    made(num_inference_steps=2)
    assert re.search(r"digits: 100%.*2/2", capsys.readouterr().err)


@pytest.mark.parametrize("kind", ["DDPMScheduler", "DDIMScheduler"])
def test_the_default_of_a_thousand_steps_on_a_shorter_schedule(kind: str) -> None:
    made = ours()
    made.scheduler = getattr(scratch, kind)(num_train_timesteps=500)
    message = (
        "num_inference_steps must be a whole number in 1..500, since the scheduler has 500 "
        "timesteps, got 1000; say num_inference_steps=500 or fewer"
    )
    for library in LIBRARIES.values():
        with pytest.raises(ValueError, match=re.escape(message)):
            pipeline(library, made.unet, made.scheduler)()


def test_algorithm_2_by_hand() -> None:
    """x_T from N(0, I), then a step for each timestep; the same draws in the same order."""
    made, generator = ours(T=10), seeded()
    made.scheduler = scratch.DDPMScheduler(num_train_timesteps=10, clip_sample=False)
    made.scheduler.set_timesteps(5)
    x = torch.randn(2, 1, 8, 8, generator=generator)
    with torch.no_grad():
        for t in (8, 6, 4, 2, 0):
            output = made.unet(x, t).sample
            x = made.scheduler.step(output, t, x, generator=generator).prev_sample
    assert x.abs().max() > 1  # so that what goes beyond white and black matters
    assert torch.equal(made(2, seeded(), 5, "pt").images, (x / 2 + 0.5).clamp(0, 1))


@pytest.mark.parametrize("sampler", ["DDPMScheduler", "DDIMScheduler"])
def test_a_compiled_unet_may_stand_in_the_pipeline(sampler: str) -> None:
    """As the book shows it; traced here, and run as written: a real compiler takes a minute."""
    pictures = []
    for compiled in (False, True):
        unet = unets()["scratch"]
        network = torch.compile(unet, backend="eager") if compiled else unet
        scheduler = getattr(scratch, sampler)(num_train_timesteps=10)
        made = pipeline(scratch, network, scheduler)
        pictures.append(made(2, seeded(), num_inference_steps=3, output_type="pt").images)
    assert_close(pictures[1], pictures[0], rtol=0, atol=1e-6)
