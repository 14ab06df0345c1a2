"""What a notebook shows of a part: one readable line."""

import diffusers
import torch

import scratch
from scratch import DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel

TINY = {
    "sample_size": (8, 16),
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": (8,),
    "down_block_types": ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",),
    "norm_num_groups": 2,
}


def test_a_scheduler_shows_what_differs_from_the_defaults_and_its_chain() -> None:
    scheduler = DDPMScheduler(num_train_timesteps=500, prediction_type="sample")
    line = "DDPMScheduler(num_train_timesteps=500, prediction_type='sample')"
    assert repr(scheduler) == line
    scheduler.set_timesteps(50)
    assert repr(scheduler) == f"{line}, 50 timesteps from 490 to 0"
    scheduler.set_timesteps(500)
    assert repr(scheduler) == line
    assert repr(DDIMScheduler(num_train_timesteps=1000, set_alpha_to_one=False)) == (
        "DDIMScheduler(num_train_timesteps=1000, set_alpha_to_one=False)"
    )


def test_a_long_table_is_not_written_out() -> None:
    betas = torch.linspace(0.1, 0.3, 100)
    line = repr(DDPMScheduler(num_train_timesteps=100, trained_betas=betas))
    assert line.endswith("num_train_timesteps=100, trained_betas=<100 from 0.1 to 0.3>)")


def test_the_line_of_a_scheduler_builds_the_same_one() -> None:
    scheduler = DDPMScheduler(num_train_timesteps=40, beta_schedule="sigmoid", steps_offset=2)
    assert eval(repr(scheduler), vars(scratch)).config == scheduler.config


def test_a_pipeline_shows_its_parts_of_either_library() -> None:
    unet = UNet2DModel(**TINY).to(torch.float16)
    weights = sum(parameter.numel() for parameter in unet.parameters())
    network = f"UNet2DModel of {weights:,} weights for 1x8x16, float16 on cpu"
    ours, theirs = DDPMScheduler(num_train_timesteps=500), diffusers.DDIMScheduler()
    of_ours = f"DDPMPipeline({network}; DDPMScheduler(num_train_timesteps=500))"
    assert repr(DDPMPipeline(unet, ours)) == of_ours
    assert repr(DDPMPipeline(unet, theirs)) == f"DDPMPipeline({network}; DDIMScheduler)"
