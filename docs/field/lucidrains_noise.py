"""lucidrains/denoising-diffusion-pytorch that predicts the noise: linear, 50 steps of DDIM."""

import lucidrains

adapted = lucidrains.adapt(objective="pred_noise", beta_schedule="linear", sampling_timesteps=50)
