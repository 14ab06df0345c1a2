"""The DDIM loop of kangjie-ding/DDIM-Pytorch in its 50 steps, with eta = 1."""

from kangjie_ding import adapted as whole
from kangjie_ding import diffusion

from compare import Adapter

adapted = Adapter(
    alpha_bar=whole.alpha_bar,
    sample=lambda model, shape: diffusion.ddim_fashion_sample(
        model, shape[-1], shape[1], batch_size=shape[0], eta=1.0
    ),
    reading="t=1",
)
