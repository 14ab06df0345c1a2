"""Programs that hold their network, in shapes of public code, written anew."""

import torch
import torch.nn.functional as F
from torch import nn


def ddpm_schedules(beta1, beta2, T):
    """T + 1 entries, the first of which is in the product and is never a step: mistake 1."""
    beta_t = torch.linspace(beta1, beta2, T + 1)
    alpha_t = 1 - beta_t
    alphabar_t = torch.cumsum(torch.log(alpha_t), dim=0).exp()
    return {
        "alpha_t": alpha_t,
        "oneover_sqrta": 1 / torch.sqrt(alpha_t),
        "sqrt_beta_t": torch.sqrt(beta_t),
        "alphabar_t": alphabar_t,
        "sqrtab": torch.sqrt(alphabar_t),
        "sqrtmab": torch.sqrt(1 - alphabar_t),
        "mab_over_sqrtmab": (1 - alpha_t) / torch.sqrt(1 - alphabar_t),
    }


class TplusOne(nn.Module):
    """minDiffusion, superminddpm: called for the loss, t from 1, the network told t / T."""

    def __init__(self, eps_model, betas: tuple[float, float], n_T):
        super().__init__()
        self.eps_model, self.n_T = eps_model, n_T
        for name, table in ddpm_schedules(betas[0], betas[1], n_T).items():
            self.register_buffer(name, table)

    def forward(self, x):
        t = torch.randint(1, self.n_T + 1, (len(x),))
        eps = torch.randn_like(x)
        x_t = self.sqrtab[t, None, None, None] * x + self.sqrtmab[t, None, None, None] * eps
        return F.mse_loss(eps, self.eps_model(x_t, t / self.n_T))

    def sample(self, n_sample, size, device):
        x = torch.randn(n_sample, *size).to(device)
        for i in range(self.n_T, 0, -1):
            z = torch.randn_like(x) if i > 1 else 0
            eps = self.eps_model(x, torch.full((n_sample,), i / self.n_T))
            x = self.oneover_sqrta[i] * (x - eps * self.mab_over_sqrtmab[i])
            x = x + self.sqrt_beta_t[i] * z
        return x


class Guided(nn.Module):
    """TeaPearce: guided by a doubled batch; pictures beside their course are returned."""

    def __init__(self, nn_model, betas: tuple[float, float], n_T, device, drop_prob=0.1):
        super().__init__()
        self.nn_model, self.n_T, self.drop_prob = nn_model.to(device), n_T, drop_prob
        beta = torch.linspace(betas[0], betas[1], n_T)
        self.register_buffer("beta", beta)
        self.register_buffer("alphabar_t", (1 - beta).cumprod(0))

    def forward(self, x, c):
        t = torch.randint(0, self.n_T, (len(x),))
        eps, bar = torch.randn_like(x), self.alphabar_t[t].reshape(-1, 1, 1, 1)
        dropped = torch.bernoulli(torch.full((len(x),), self.drop_prob))
        out = self.nn_model(bar.sqrt() * x + (1 - bar).sqrt() * eps, c, t / self.n_T, dropped)
        return F.mse_loss(eps, out)

    def sample(self, n_sample, size, device, guide_w=0.0):
        x = torch.randn(n_sample, *size).to(device)
        labels = (torch.arange(n_sample) % 10).repeat(2)
        dropped = torch.cat([torch.zeros(n_sample), torch.ones(n_sample)])
        kept = []
        for i in reversed(range(self.n_T)):
            t = torch.full((2 * n_sample, 1, 1, 1), i / self.n_T)
            both = self.nn_model(x.repeat(2, 1, 1, 1), labels, t, dropped)
            known, free = both.chunk(2)
            eps = (1 + guide_w) * known - guide_w * free
            beta, bar = self.beta[i], self.alphabar_t[i]
            z = torch.randn_like(x) if i > 0 else 0
            x = (x - beta / (1 - bar).sqrt() * eps) / (1 - beta).sqrt() + beta.sqrt() * z
            kept.append(x)
        return x, kept


class DenoiseDiffusion:
    """labml: no loop of its own, t as a tensor; noise at the last step too, mistake 56."""

    def __init__(self, eps_model, n_steps, device):
        self.eps_model, self.n_steps = eps_model, n_steps
        self.beta = torch.linspace(0.0001, 0.02, n_steps).to(device)
        self.alpha = 1 - self.beta
        self.alpha_bar = torch.cumprod(self.alpha, dim=0)

    def gather(self, table, t):
        return table.gather(-1, t).reshape(-1, 1, 1, 1)

    def q_sample(self, x0, t, eps=None):
        eps = torch.randn_like(x0) if eps is None else eps
        bar = self.gather(self.alpha_bar, t)
        return bar**0.5 * x0 + (1 - bar) ** 0.5 * eps

    def p_sample(self, xt, t):
        eps = self.eps_model(xt, t)
        alpha, bar = self.gather(self.alpha, t), self.gather(self.alpha_bar, t)
        mean = (xt - (1 - alpha) / (1 - bar) ** 0.5 * eps) / alpha**0.5
        return mean + self.gather(self.beta, t) ** 0.5 * torch.randn_like(xt)

    def loss(self, x0, noise=None):
        t = torch.randint(0, self.n_steps, (len(x0),))
        noise = torch.randn_like(x0) if noise is None else noise
        return F.mse_loss(noise, self.eps_model(self.q_sample(x0, t, eps=noise), t))


class GaussianDiffusion(nn.Module):
    """lucidrains: pictures in [0, 1] outside, a network with attributes, tables as buffers."""

    def __init__(self, model, *, image_size, timesteps=100):
        super().__init__()
        assert model.channels
        self.model, self.image_size, self.num_timesteps = model, image_size, timesteps
        betas = torch.linspace(1e-3, 0.2, timesteps, dtype=torch.float64)
        bars = (1 - betas).cumprod(0)
        before = F.pad(bars[:-1], (1, 0), value=1.0)
        self.keep("betas", betas)
        self.keep("alphas_cumprod", bars)
        self.keep("alphas_cumprod_prev", before)
        self.keep("posterior_variance", betas * (1 - before) / (1 - bars))
        self.keep("posterior_mean_coef1", betas * before.sqrt() / (1 - bars))
        self.keep("posterior_mean_coef2", (1 - before) * (1 - betas).sqrt() / (1 - bars))

    def keep(self, name, table):
        self.register_buffer(name, table.float())

    def q_sample(self, x_start, t, noise=None):
        noise = torch.randn_like(x_start) if noise is None else noise
        bar = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)
        return bar.sqrt() * x_start + (1 - bar).sqrt() * noise

    @torch.inference_mode()
    def p_sample(self, x, t: int):
        eps, bar = self.model(x, torch.full((len(x),), t)), self.alphas_cumprod[t]
        x_0 = ((x - (1 - bar).sqrt() * eps) / bar.sqrt()).clamp(-1, 1)
        mean = self.posterior_mean_coef1[t] * x_0 + self.posterior_mean_coef2[t] * x
        noise = torch.randn_like(x) if t > 0 else 0.0
        return mean + self.posterior_variance[t].sqrt() * noise, x_0

    @torch.inference_mode()
    def p_sample_loop(self, shape):
        img = torch.randn(shape)
        for t in reversed(range(self.num_timesteps)):
            img, _ = self.p_sample(img, t)
        return (img + 1) / 2

    def sample(self, batch_size=16):
        return self.p_sample_loop((batch_size, self.model.channels, *2 * (self.image_size,)))

    def p_losses(self, x_start, t, noise=None):
        noise = torch.randn_like(x_start) if noise is None else noise
        return F.mse_loss(self.model(self.q_sample(x_start, t, noise), t), noise)

    def forward(self, img):
        t = torch.randint(0, self.num_timesteps, (len(img),)).long()
        return self.p_losses(img * 2 - 1, t)


class Sampler:
    """AlbertoParravicini: t first, pairs returned; sqrt(ab) on the noise too, mistake 5-noise."""

    def __init__(self, model, num_timesteps=100, device=None):
        self.model = model
        self.betas = torch.linspace(1e-3, 0.2, num_timesteps)
        self.alphas = 1 - self.betas
        self.alpha_cumprods = self.alphas.cumprod(0)

    def forward_sample(self, t, x_0, noise=None):
        noise = torch.randn_like(x_0) if noise is None else noise
        bar = self.alpha_cumprods[t].reshape(-1, 1, 1, 1)
        return bar.sqrt() * x_0 + bar.sqrt() * noise, noise

    def backward_sample(self, t, x_t, generator=None):
        with torch.no_grad():
            eps = self.model(x_t, t)
        beta, bar = self.betas[t], self.alpha_cumprods[t]
        mean = (x_t - beta / (1 - bar).sqrt() * eps) / (1 - beta).sqrt()
        z = torch.randn(x_t.shape, generator=generator) if t > 0 else 0
        return mean + beta.sqrt() * z, mean
