"""The scheduler of explainingai-code/DDPM-Pytorch."""

import os
import sys

from compare import Adapter

sys.path.insert(0, os.environ["FIELD_CHECKOUT"])
from scheduler.linear_noise_scheduler import LinearNoiseScheduler

scheduler = LinearNoiseScheduler(1000, 1e-4, 0.02)

adapted = Adapter(
    alpha_bar=lambda: scheduler.alpha_cum_prod,
    add_noise=scheduler.add_noise,
    step=lambda out, t, x: scheduler.sample_prev_timestep(x, out, t),
)
