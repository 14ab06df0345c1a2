"""The scheduler of inakineitor/tiny-diffusion, for points (b, 2)."""

import os
import runpy

adapted = runpy.run_path(
    f"{os.environ['FIELD_CHECKOUT']}/src/tiny_diffusion/model/noise_scheduler.py"
)["NoiseScheduler"]
