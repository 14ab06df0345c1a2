"""Classes that are handed their network, or an answer of it, in shapes of public code."""

import torch


class Diffusion:
    """dome272: a loop inside, three channels; t = 0 is left out, mistake 79."""

    def __init__(self, noise_steps=100, beta_start=1e-3, beta_end=0.2, img_size=64, device="cuda"):
        self.noise_steps, self.img_size, self.device = noise_steps, img_size, device
        self.beta = torch.linspace(beta_start, beta_end, noise_steps).to(device)
        self.alpha = 1 - self.beta
        self.alpha_hat = torch.cumprod(self.alpha, dim=0)

    def noise_images(self, x, t):
        bar = self.alpha_hat[t][:, None, None, None]
        noise = torch.randn_like(x)
        return bar.sqrt() * x + (1 - bar).sqrt() * noise, noise

    def sample_timesteps(self, n):
        return torch.randint(low=1, high=self.noise_steps, size=(n,))

    def sample(self, model, n):
        model.eval()
        with torch.no_grad():
            x = torch.randn((n, 3, self.img_size, self.img_size)).to(self.device)
            for i in reversed(range(1, self.noise_steps)):
                t = (torch.ones(n) * i).long().to(self.device)
                eps, bar = model(x, t), self.alpha_hat[t][:, None, None, None]
                alpha, beta = (v[t][:, None, None, None] for v in (self.alpha, self.beta))
                z = torch.randn_like(x) if i > 1 else torch.zeros_like(x)
                x = 1 / alpha.sqrt() * (x - (1 - alpha) / (1 - bar).sqrt() * eps) + beta.sqrt() * z
        return x


class Schedule:
    """Tables of the decoder below."""

    def __init__(self, n_timesteps=100):
        self.betas = torch.linspace(1e-3, 0.2, n_timesteps)
        self.alphas_bar = (1 - self.betas).cumprod(0)


class Decoder:
    """junyeong-nero: guided, the network asked twice; the mean divides by 1 - ab, mistake 43."""

    def __init__(self, noise_schedule, g, device="cpu"):
        self.schedule, self.g = noise_schedule, g

    def DDPM_sampling(self, noise, time_step, y=None, w=0.0):
        x = noise
        for i in reversed(range(time_step)):
            t = torch.full((len(x),), i)
            eps = (1 + w) * self.g(x, t, y) - w * self.g(x, t, None)
            beta, bar = self.schedule.betas[i], self.schedule.alphas_bar[i]
            x = (x - beta / (1 - bar) * eps) / (1 - beta).sqrt()
            x = x + beta.sqrt() * torch.randn_like(x) if i else x
        return x


class Tables:
    """byrkbrk: methods that are handed their tables and z, which its loop leaves out at the end."""

    def get_ddpm_noise_schedule(self, timesteps, beta1, beta2):
        b_t = torch.linspace(beta1, beta2, timesteps)
        a_t = 1 - b_t
        return a_t, b_t, a_t.cumprod(0)

    def perturb_input(self, x, t, noise, ab_t):
        bar = ab_t[t].reshape(-1, 1, 1, 1)
        return bar.sqrt() * x + (1 - bar).sqrt() * noise

    def denoise_add_noise(self, x, t, pred_noise, a_t, b_t, ab_t, z):
        mean = (x - pred_noise * ((1 - a_t[t]) / (1 - ab_t[t]).sqrt())) / a_t[t].sqrt()
        return mean + b_t[t].sqrt() * z

    def draw(self, network, x, tables):
        for t in reversed(range(len(tables[0]))):
            z = torch.randn_like(x) if t > 0 else 0
            x = self.denoise_add_noise(x, t, network(x, t), *tables, z)
        return x


class LinearNoiseScheduler:
    """explainingai: a step by another name and order, a pair returned."""

    def __init__(self, num_timesteps, beta_start, beta_end):
        self.betas = torch.linspace(beta_start, beta_end, num_timesteps)
        self.alphas = 1 - self.betas
        self.alpha_cum_prod = torch.cumprod(self.alphas, dim=0)

    def add_noise(self, original, noise, t):
        bar = self.alpha_cum_prod[t].reshape(-1, 1, 1, 1)
        return bar.sqrt() * original + (1 - bar).sqrt() * noise

    def sample_prev_timestep(self, xt, noise_pred, t):
        bar, beta = self.alpha_cum_prod[t], self.betas[t]
        x0 = ((xt - (1 - bar).sqrt() * noise_pred) / bar.sqrt()).clamp(-1, 1)
        mean = (xt - beta * noise_pred / (1 - bar).sqrt()) / self.alphas[t].sqrt()
        if t == 0:
            return mean, x0
        variance = (1 - self.alpha_cum_prod[t - 1]) / (1 - bar) * beta
        return mean + variance.sqrt() * torch.randn_like(xt), x0


class NoiseScheduler:
    """tanelp: of Diffusers' shape, for points (b, d)."""

    def __init__(self, num_timesteps=100, beta_start=1e-3, beta_end=0.2):
        self.betas = torch.linspace(beta_start, beta_end, num_timesteps)
        self.alphas_cumprod = torch.cumprod(1 - self.betas, dim=0)

    def add_noise(self, x_start, x_noise, timesteps):
        bar = self.alphas_cumprod[timesteps].reshape(-1, 1)
        return bar.sqrt() * x_start + (1 - bar).sqrt() * x_noise

    def step(self, model_output, timestep, sample):
        t, bar = timestep, self.alphas_cumprod[timestep].reshape(-1, 1)
        before = self.alphas_cumprod[t - 1].reshape(-1, 1) if t > 0 else torch.ones(1, 1)
        beta = self.betas[t]
        x_0 = (sample - (1 - bar).sqrt() * model_output) / bar.sqrt()
        mean = before.sqrt() * beta / (1 - bar) * x_0
        mean = mean + (1 - beta).sqrt() * (1 - before) / (1 - bar) * sample
        if t > 0:
            mean = mean + (beta * (1 - before) / (1 - bar)).sqrt() * torch.randn_like(sample)
        return mean


class DDIMScheduler:
    """filipbasara0, MONAI: of Diffusers' shape, a list of fewer steps, an object returned."""

    def __init__(self, num_train_timesteps=100, beta_start=1e-3, beta_end=0.2):
        self.T = num_train_timesteps
        betas = torch.linspace(beta_start, beta_end, self.T, dtype=torch.float64)
        self.alphas_cumprod = (1 - betas).cumprod(0)
        self.set_timesteps(self.T)

    def set_timesteps(self, num_inference_steps):
        self.ratio = self.T // num_inference_steps
        self.timesteps = torch.arange(num_inference_steps).flip(0) * self.ratio

    def add_noise(self, original_samples, noise, timesteps):
        bar = self.alphas_cumprod[timesteps].reshape(-1, 1, 1, 1).to(noise.dtype)
        return bar.sqrt() * original_samples + (1 - bar).sqrt() * noise

    def step(self, model_output, timestep, sample):
        before = timestep - self.ratio
        bar = float(self.alphas_cumprod[timestep])
        prev = float(self.alphas_cumprod[before]) if before >= 0 else 1.0
        x_0 = (sample - (1 - bar) ** 0.5 * model_output) / bar**0.5
        return {"prev_sample": prev**0.5 * x_0 + (1 - prev) ** 0.5 * model_output}


class LearnedRange:
    """guided-diffusion: options without a default, the model an argument, dicts returned."""

    def __init__(self, *, betas, loss_type, rescale_timesteps=False):
        self.loss_type = loss_type
        self.betas = torch.as_tensor(betas).double()
        self.num_timesteps = len(self.betas)
        self.alphas_cumprod = (1 - self.betas).cumprod(0)
        before = torch.cat([torch.ones(1).double(), self.alphas_cumprod[:-1]])
        self.alphas_cumprod_prev = before
        self.posterior_variance = self.betas * (1 - before) / (1 - self.alphas_cumprod)

    def at(self, table, t):
        return table[t].float().reshape(-1, 1, 1, 1)

    def q_sample(self, x_start, t, noise=None):
        noise = torch.randn_like(x_start) if noise is None else noise
        bar = self.at(self.alphas_cumprod, t)
        return bar.sqrt() * x_start + (1 - bar).sqrt() * noise

    def p_sample(self, model, x, t, clip_denoised=False):
        bar, beta, eps = self.at(self.alphas_cumprod, t), self.at(self.betas, t), model(x, t)
        mean = (x - beta / (1 - bar).sqrt() * eps) / (1 - beta).sqrt()
        z = torch.randn_like(x) * (t > 0).float().reshape(-1, 1, 1, 1)
        return {"sample": mean + self.at(self.posterior_variance, t).sqrt() * z, "mean": mean}

    def p_sample_loop(self, model, shape, noise=None, device=None):
        x = torch.randn(*shape) if noise is None else noise
        for i in reversed(range(self.num_timesteps)):
            with torch.no_grad():
                x = self.p_sample(model, x, torch.full((shape[0],), i))["sample"]
        return x

    def training_losses(self, model, x_start, t, noise=None):
        noise = torch.randn_like(x_start) if noise is None else noise
        error = (noise - model(self.q_sample(x_start, t, noise=noise), t)) ** 2
        return {"loss": error.flatten(1).mean(1)}
