"""Pictures, a scheduler and a network of your own: trained together, and drawn from."""

import numpy as np
import torch
from my_unet import MyUNet

import compare
from compare.template import MyScheduler
from scratch import DDPMPipeline
from workbench import data, plotting
from workbench.config import TrainConfig
from workbench.trainer import new_state, training_steps

# Pictures: 512 bright squares in the dark, as one array of bytes.
pixels = np.zeros((512, 8, 8), np.uint8)
places = np.random.default_rng(0).integers(0, 6, (512, 2))
for picture, (y, x) in zip(pixels, places, strict=True):
    picture[y : y + 3, x : x + 3] = 255
dataset = data.load(pixels)  # (512, 1, 8, 8) in [-1, 1]

# A scheduler: the class that `ddpm compare --template` prints. A network: my_unet.py.
torch.manual_seed(0)
scheduler = compare.as_scheduler(MyScheduler, keywords={"num_train_timesteps": 300})
unet = compare.as_unet(MyUNet, (1, 8, 8), T=len(scheduler))

config = TrainConfig(batch_size=64, steps=600, learning_rate=2e-3, ema_decay=None)
for step in training_steps(new_state(unet, config), scheduler, dataset, config, seed=0):
    if step.index % 100 == 99:
        print(f"step {step.index + 1}  loss {step.loss.item():.4f}")

pipeline = DDPMPipeline(unet.eval(), scheduler)
generator = torch.Generator().manual_seed(0)
squares = pipeline(batch_size=16, generator=generator, num_inference_steps=300).images
plotting.save(plotting.image_grid(squares), "squares.png")
