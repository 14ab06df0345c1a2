"""What the pipeline refuses before it draws anything."""

import re

import pytest

import scratch


def pipeline(channels: int = 1, sample_size: int | None = 8) -> scratch.DDPMPipeline:
    unet = scratch.UNet2DModel(
        sample_size=sample_size,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(8,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        norm_num_groups=4,
        layers_per_block=1,
    )
    made = scratch.DDPMPipeline(unet, scratch.DDPMScheduler(num_train_timesteps=10))
    made.set_progress_bar_config(disable=True)
    return made


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, got 0"),
        ({"batch_size": 1.5}, "batch_size must be a whole number of at least 1, got 1.5"),
        ({"output_type": "jpg"}, "output_type must be one of pil, np, pt, got 'jpg'"),
        ({"num_inference_steps": 0}, "num_inference_steps must be a whole number in 1..10"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        pipeline()(**{"num_inference_steps": 2, **arguments})


def test_a_network_that_cannot_be_shown_or_has_no_size_is_refused() -> None:
    made = pipeline(channels=2)
    with pytest.raises(ValueError, match="PIL shows 1, 3 or 4 channels, not 2; take output_type="):
        made(num_inference_steps=2)
    assert made(num_inference_steps=2, output_type="np").images.shape == (1, 8, 8, 2)
    with pytest.raises(ValueError, match="the UNet's config has no sample_size"):
        pipeline(sample_size=None)(num_inference_steps=2)
