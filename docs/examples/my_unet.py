"""A small network of one's own: three convolutions, and t as two waves added to every pixel.

ddpm train --unet docs/examples/my_unet.py:MyUNet --output runs/net
"""

import torch
from torch import Tensor, nn


class MyUNet(nn.Module):
    """What --unet takes: forward(x, t), a tensor of the shape of x, parameters, no more."""

    def __init__(self, in_channels: int = 3, width: int = 32) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(2, width), nn.SiLU(), nn.Linear(width, width))
        self.first = nn.Conv2d(in_channels, width, 3, padding=1)
        self.middle = nn.Conv2d(width, width, 5, padding=2)
        self.last = nn.Conv2d(width, in_channels, 5, padding=2)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """The noise in x (b, c, h, w) at t (b,), like x."""
        angle = t.float()[:, None] / 300  # (b, 1)
        time = self.time(torch.cat([angle.sin(), angle.cos()], dim=1))
        h = nn.functional.silu(self.first(x) + time[:, :, None, None])  # (b, width, h, w)
        return self.last(nn.functional.silu(h + self.middle(h)))
