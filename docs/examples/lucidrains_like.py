"""A module in the posterior's form: network inside, tables as buffers, images in [0, 1] outside.

ddpm compare --candidate docs/examples/lucidrains_like.py:adapted
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, pad

from compare import Adapter


def cosine_beta_schedule(timesteps: int, s: float = 0.008) -> Tensor:
    """(T,) float64 betas."""
    x = torch.linspace(0, timesteps, timesteps + 1, dtype=torch.float64) / timesteps
    f = torch.cos((x + s) / (1 + s) * math.pi / 2) ** 2
    return (1 - f[1:] / f[:-1]).clamp(max=0.999)


def extract(table: Tensor, t: Tensor, shape: torch.Size) -> Tensor:
    """table[t] with as many axes as the images."""
    return table[t].reshape(len(t), *[1] * (len(shape) - 1))


class Posterior(NamedTuple):
    """Of x_{t-1} given x_t and x_0."""

    mean: Tensor
    variance: Tensor
    log_variance: Tensor


class GaussianDiffusion(nn.Module):
    """Diffusion by a network that predicts the noise; t from 0 to T-1."""

    alphas_cumprod: Tensor
    sqrt_alphas_cumprod: Tensor
    sqrt_one_minus_alphas_cumprod: Tensor
    sqrt_recip_alphas_cumprod: Tensor
    sqrt_recipm1_alphas_cumprod: Tensor
    posterior_variance: Tensor
    posterior_log_variance_clipped: Tensor
    posterior_mean_coef1: Tensor
    posterior_mean_coef2: Tensor

    def __init__(self, model: nn.Module, timesteps: int = 1000):
        super().__init__()
        self.model = model
        self.num_timesteps = timesteps
        betas = cosine_beta_schedule(timesteps)
        alphas = 1 - betas
        alphas_cumprod = torch.cumprod(alphas, dim=0)
        alphas_cumprod_prev = pad(alphas_cumprod[:-1], (1, 0), value=1.0)
        posterior_variance = betas * (1 - alphas_cumprod_prev) / (1 - alphas_cumprod)
        tables = {
            "betas": betas,
            "alphas_cumprod": alphas_cumprod,
            "sqrt_alphas_cumprod": alphas_cumprod.sqrt(),
            "sqrt_one_minus_alphas_cumprod": (1 - alphas_cumprod).sqrt(),
            "sqrt_recip_alphas_cumprod": (1 / alphas_cumprod).sqrt(),
            "sqrt_recipm1_alphas_cumprod": (1 / alphas_cumprod - 1).sqrt(),
            "posterior_variance": posterior_variance,
            "posterior_log_variance_clipped": posterior_variance.clamp(min=1e-20).log(),
            "posterior_mean_coef1": betas * alphas_cumprod_prev.sqrt() / (1 - alphas_cumprod),
            "posterior_mean_coef2": (1 - alphas_cumprod_prev)
            * alphas.sqrt()
            / (1 - alphas_cumprod),
        }
        for name, table in tables.items():
            self.register_buffer(name, table.float())

    def predict_start_from_noise(self, x_t: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x0-hat from the predicted noise."""
        signal = extract(self.sqrt_recip_alphas_cumprod, t, x_t.shape)
        return signal * x_t - extract(self.sqrt_recipm1_alphas_cumprod, t, x_t.shape) * noise

    def q_posterior(self, x_start: Tensor, x_t: Tensor, t: Tensor) -> Posterior:
        """The law of x_{t-1} given both ends."""
        coef1 = extract(self.posterior_mean_coef1, t, x_t.shape)
        coef2 = extract(self.posterior_mean_coef2, t, x_t.shape)
        return Posterior(
            coef1 * x_start + coef2 * x_t,
            extract(self.posterior_variance, t, x_t.shape),
            extract(self.posterior_log_variance_clipped, t, x_t.shape),
        )

    def p_mean_variance(self, x: Tensor, t: Tensor) -> tuple[Posterior, Tensor]:
        """The law of x_{t-1} by the network, and x0-hat, which is clipped."""
        x_start = self.predict_start_from_noise(x, t, self.model(x, t)).clamp(-1, 1)
        return self.q_posterior(x_start, x, t), x_start

    @torch.no_grad()
    def p_sample(self, x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """One step down: x_{t-1} and x0-hat."""
        batched = torch.full((len(x),), t, dtype=torch.long)
        posterior, x_start = self.p_mean_variance(x, batched)
        noise = torch.randn_like(x) if t > 0 else 0.0
        return posterior.mean + (0.5 * posterior.log_variance).exp() * noise, x_start

    @torch.no_grad()
    def p_sample_loop(self, shape: tuple[int, ...]) -> Tensor:
        """Images in [0, 1] from noise."""
        self.eval()
        img = torch.randn(shape)
        for t in reversed(range(self.num_timesteps)):
            img, _ = self.p_sample(img, t)
        self.train()
        return (img + 1) / 2

    def q_sample(self, x_start: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_t of images in [-1, 1]."""
        signal = extract(self.sqrt_alphas_cumprod, t, x_start.shape)
        return (
            signal * x_start + extract(self.sqrt_one_minus_alphas_cumprod, t, x_start.shape) * noise
        )

    def p_losses(self, x_start: Tensor, t: Tensor) -> Tensor:
        """The loss at given t."""
        noise = torch.randn_like(x_start)
        x = self.q_sample(x_start, t, noise)
        return mse_loss(self.model(x, t), noise)

    def forward(self, img: Tensor) -> Tensor:
        """The loss of images in [0, 1]."""
        t = torch.randint(0, self.num_timesteps, (len(img),))
        return self.p_losses(img * 2 - 1, t)


class Answer(nn.Module):
    """A network whose answer is known."""

    def __init__(self, out: Tensor):
        super().__init__()
        self.out = out

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """The answer, whatever comes."""
        return self.out


def adapted() -> Adapter:
    """The module as `compare` sees it: images are in [-1, 1] there, in [0, 1] here."""
    return adapt(GaussianDiffusion)


def adapt(cls: type[GaussianDiffusion]) -> Adapter:
    """The five roles of such a module; a step is given what the network answers."""
    bare = cls(nn.Identity())

    def step(out: Tensor, t: int, x_t: Tensor) -> dict[str, Tensor]:
        bare.model = Answer(out)
        x_prev, x_start = bare.p_sample(x_t, t)
        return {"prev_sample": x_prev, "pred_original_sample": x_start}

    return Adapter(
        alpha_bar=lambda: bare.alphas_cumprod,
        add_noise=lambda x_0, noise, t: bare.q_sample(x_0, t, noise),
        step=step,
        sample=lambda model, shape: cls(model).p_sample_loop(shape) * 2 - 1,
        loss=lambda model, x_0: cls(model)((x_0 + 1) / 2),
        name="lucidrains_like",
    )
