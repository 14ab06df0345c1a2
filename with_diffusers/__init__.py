"""DDPM from Hugging Face Diffusers, under the same four names as `scratch`.

Nothing is wrapped: these are the library's own classes, so that what you learn here holds in any
code that uses it. One run, start to end:

    scheduler = DDPMScheduler(num_train_timesteps=500)
    x_t = scheduler.add_noise(x_0, noise, t)            # t: (b,) int64 in 0..499, not checked
    loss = mse_loss(unet(x_t, t).sample, noise)         # prediction_type="epsilon"
    pipeline = DDPMPipeline(unet.eval(), scheduler)
    images = pipeline(batch_size=16, num_inference_steps=500).images
    pipeline.save_pretrained("runs/mine")

What to know of each:

`DDPMScheduler`
    `set_timesteps` changes the object: sample with a copy of the scheduler that you train with.
    Give arguments by keyword: `from_config` forgets those given by position.
`DDIMScheduler`
    Keep `timestep_spacing="leading"`: for most other lists it steps to timesteps that are not on
    them. `eta` is an argument of `step`; `DDPMPipeline` leaves it at 0, no noise.
`DDPMPipeline`
    Samples in the mode that the UNet is in: call `unet.eval()` first, or dropout stays on. Runs
    1,000 steps unless told otherwise, which a scheduler with fewer timesteps refuses.
`UNet2DModel`
    `norm_num_groups` is 32 unless told otherwise, and a level 32 channels wide cannot see t then.
    In training mode when made, in eval mode when `from_pretrained` read it.

Before you sample, `config_problem(scheduler)` and `chain_problem(scheduler, num_inference_steps)`
say why the pictures would be wrong; of `scratch` they are always None. What the library lacks or
gets wrong, and what to do about it: `with_diffusers.gaps`.
"""

from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel

from with_diffusers.gaps import chain_problem, config_problem

__all__ = [
    "DDIMScheduler",
    "DDPMPipeline",
    "DDPMScheduler",
    "UNet2DModel",
    "chain_problem",
    "config_problem",
]
