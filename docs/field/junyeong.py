"""The guided loop of junyeong-nero/DDPM with w = 2: the network is asked twice at each t."""

import os
import sys

import torch

from compare import Adapter

sys.path.insert(0, os.environ["FIELD_CHECKOUT"])
from MyDiffusion.noise_sheduler import NoiseSchedule
from MyDiffusion.reverse_decoder import ReverseDecoder

T = 1000
schedule = NoiseSchedule(T, device="cpu")


def sample(model, shape):
    """Its loop from noise, with labels, in the mode that its owner sets (`Diffusion.load`)."""
    model.eval()
    decoder, labels = ReverseDecoder(schedule, model, "cpu"), torch.arange(shape[0]) % 10
    return decoder.DDPM_sampling(torch.randn(shape), T, labels, w=2)


adapted = Adapter(alpha_bar=lambda: schedule._alphas, sample=sample)
