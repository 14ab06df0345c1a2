"""Parts without a diffusion: a network that cannot be built without arguments."""

import torch
from torch import nn


class UNet(nn.Module):
    """Its time goes in at one size."""

    def __init__(self, in_channels, base_channels, time_dim):
        super().__init__()
        self.into = nn.Conv2d(in_channels, base_channels, 3, padding=1)
        self.time = nn.Sequential(
            nn.Linear(1, time_dim), nn.SiLU(), nn.Linear(time_dim, base_channels)
        )
        self.out = nn.Conv2d(base_channels, in_channels, 3, padding=1)

    def forward(self, x, t):
        row = self.time(t[:, None].float() / 1000)[:, :, None, None]
        return self.out(torch.relu(self.into(x) + row))
