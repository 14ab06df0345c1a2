"""Train a DDPM on 8x8 digits and draw sixteen new ones into digits.png."""

import torch
from torch.nn.functional import mse_loss

from with_diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from workbench import data, plotting

torch.manual_seed(0)
images = data.load("digits").images  # (1797, 1, 8, 8) in [-1, 1]
unet = UNet2DModel(
    sample_size=8,
    in_channels=1,
    out_channels=1,
    block_out_channels=(32, 64),
    down_block_types=("DownBlock2D", "AttnDownBlock2D"),
    up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    norm_num_groups=8,
)
scheduler = DDPMScheduler(num_train_timesteps=500)
optimizer = torch.optim.AdamW(unet.parameters(), lr=2e-3)

for step in range(1, 601):  # Algorithm 1
    x_0 = images[torch.randint(len(images), (128,))]
    t = torch.randint(len(scheduler), (128,))
    eps = torch.randn_like(x_0)
    x_t = scheduler.add_noise(x_0, eps, t)
    loss = mse_loss(unet(x_t, t).sample, eps)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(f"step {step}  loss {loss.item():.4f}")

pipeline = DDPMPipeline(unet.eval(), scheduler)  # Algorithm 2
digits = pipeline(batch_size=16, num_inference_steps=500).images
plotting.save(plotting.image_grid(digits), "digits.png")
