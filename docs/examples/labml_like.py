"""A class in the shape of annotated DDPMs: the noise model is given at construction.

ddpm compare --candidate docs/examples/labml_like.py:adapted
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from compare import Adapter, as_network


class DenoiseDiffusion:
    """T = n_steps steps of noise, t from 0 to T-1; images in [-1, 1]."""

    def __init__(self, eps_model: nn.Module, n_steps: int = 1000):
        self.eps_model = eps_model
        self.n_steps = n_steps
        self.beta = torch.linspace(0.0001, 0.02, n_steps)  # (T,)
        self.alpha = 1 - self.beta
        self.alpha_bar = torch.cumprod(self.alpha, dim=0)
        self.sigma2 = self.beta

    def q_xt_x0(self, x0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of x_t given x_0."""
        alpha_bar = self.gather(self.alpha_bar, t)
        return alpha_bar**0.5 * x0, 1 - alpha_bar

    def q_sample(self, x0: Tensor, t: Tensor, eps: Tensor | None = None) -> Tensor:
        """x_t of images (b, c, h, w) at t (b,)."""
        if eps is None:
            eps = torch.randn_like(x0)
        mean, var = self.q_xt_x0(x0, t)
        return mean + var**0.5 * eps

    def p_sample(self, xt: Tensor, t: Tensor) -> Tensor:
        """x_{t-1} from x_t; no noise where t = 0."""
        eps_theta = self.eps_model(xt, t)
        alpha, alpha_bar = self.gather(self.alpha, t), self.gather(self.alpha_bar, t)
        eps_coef = (1 - alpha) / (1 - alpha_bar) ** 0.5
        mean = (xt - eps_coef * eps_theta) / alpha**0.5
        var = self.gather(self.sigma2, t)
        eps = torch.randn_like(xt) * (t > 0).reshape(-1, 1, 1, 1)
        return mean + var**0.5 * eps

    @torch.no_grad()
    def sample(self, shape: tuple[int, ...]) -> Tensor:
        """Images from noise."""
        self.eps_model.eval()
        x = torch.randn(shape)
        for step in range(self.n_steps):
            t = self.n_steps - step - 1
            x = self.p_sample(x, x.new_full((shape[0],), t, dtype=torch.long))
        self.eps_model.train()
        return x

    def loss(self, x0: Tensor) -> Tensor:
        """Mean squared error of the predicted noise, at a random t for each image."""
        t = torch.randint(0, self.n_steps, (x0.shape[0],))
        eps = torch.randn_like(x0)
        xt = self.q_sample(x0, t, eps=eps)
        return mse_loss(self.eps_model(xt, t), eps)

    @staticmethod
    def gather(consts: Tensor, t: Tensor) -> Tensor:
        """consts[t] as (b, 1, 1, 1)."""
        return consts.gather(-1, t).reshape(-1, 1, 1, 1)


def adapted() -> Adapter:
    """The class as `compare` sees it; numbers come from the global state, so no role names one."""
    return adapt(DenoiseDiffusion)


def adapt(cls: type[DenoiseDiffusion]) -> Adapter:
    """The five roles of such a class. A step is given the answer of the model, not the model."""
    bare = cls(nn.Identity())
    return Adapter(
        alpha_bar=lambda: bare.alpha_bar,
        add_noise=lambda x0, noise, t: bare.q_sample(x0, t, noise),
        step=lambda out, t, xt: cls(as_network(out)).p_sample(xt, torch.full((len(xt),), t)),
        sample=lambda model, shape: cls(model).sample(shape),
        loss=lambda model, x0: cls(model).loss(x0),
        name="labml_like",
    )
