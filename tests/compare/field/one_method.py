"""Right classes that hold one part of a DDPM: what is there is judged, the rest is said."""

import torch


class Table:
    """A table alone, of T steps of its own."""

    def __init__(self):
        self.alphas_cumprod = (1 - torch.linspace(1e-4, 0.02, 400)).cumprod(0)


class Hidden:
    """add_noise alone: T and the table are nowhere to be seen."""

    def __init__(self):
        self._signal = (1 - torch.linspace(1e-3, 0.2, 60)).cumprod(0).sqrt()

    def add_noise(self, x, e, t):
        a = self._signal[t][:, None, None, None]
        return a * x + (1 - a**2).sqrt() * e


class Step:
    """A step alone, its betas inside."""

    def __init__(self):
        self._beta = torch.linspace(2e-4, 0.05, 300, dtype=torch.float64)

    def step(self, model_output, t, x_t):
        beta, bar = self._beta[t], (1 - self._beta).cumprod(0)[t]
        mean = (x_t - beta / (1 - bar).sqrt() * model_output) / (1 - beta).sqrt()
        return (mean + beta.sqrt() * torch.randn_like(x_t) * (t > 0)).float()


class TableAndStep(Step):
    """A table and a step, as an Adapter may have them too."""

    def __init__(self):
        super().__init__()
        self.alphas_cumprod = (1 - self._beta).cumprod(0)


class Raises(TableAndStep):
    """A table that is right and a step that raises."""

    def step(self, model_output, t, x_t):
        raise RuntimeError("no step yet")
