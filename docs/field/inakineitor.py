"""The scheduler of inakineitor/tiny-diffusion, for points (b, 2); linear betas."""

import os
import runpy

NoiseScheduler = runpy.run_path(
    f"{os.environ['FIELD_CHECKOUT']}/src/tiny_diffusion/model/noise_scheduler.py"
)["NoiseScheduler"]


def adapted(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02):
    """Without its schedules' names, which are two: it raises no ValueError at another."""
    return NoiseScheduler(num_train_timesteps, beta_start, beta_end)
