"""openai/guided-diffusion with "10,10,5" steps of 1000, which are a schedule of their own."""

import torch
from guided import get_named_beta_schedule, options
from guided_diffusion.respace import SpacedDiffusion, space_timesteps

from compare import Adapter

betas = get_named_beta_schedule("linear", 1000)
spaced = SpacedDiffusion(space_timesteps(1000, "10,10,5"), **options(betas))

adapted = Adapter(
    alpha_bar=lambda: torch.tensor(1 - betas).cumprod(0),
    sample=lambda model, shape: spaced.p_sample_loop(model, shape, device="cpu"),
)
