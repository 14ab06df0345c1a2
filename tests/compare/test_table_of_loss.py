"""A table that nobody shows, read off the x_t of a loss; what is judged by it, and what is not."""

from pathlib import Path

import pytest
import torch

from compare import Adapter
from compare.candidate.loss.table import table_of_loss
from compare.candidate.subject import Subject
from compare.measure.tolerances import log_snr
from compare.oracle import Setting
from tests.compare.written import Slip, judged_file

HEAD = """
import torch


class Poly:
    def __init__(self, T=100):
        self.T = T
        self.keep = (1 - torch.linspace(1e-3, 0.2, T) ** 1.2).cumprod(0).sqrt()

    def loss(self, model, x):
        t = torch.randint(0, self.T, (len(x),))
        a = self.keep[t].view(-1, 1, 1, 1)
        e = torch.randn_like(x)
        return ((model(a * x + (1 - a**2).sqrt() * e, t) - e) ** 2).mean()
"""
LOOP = """
    @torch.no_grad()
    def sample(self, model, shape):
        x = torch.randn(shape)
        for t in reversed(range(self.T)):
            e, a = model(x, torch.full((shape[0],), t)), self.keep[t]
            if t == 0:
                return (x - (1 - a**2).sqrt() * e) / a
            p = self.keep[t - 1]
            r = a / p
            v = 1 - r**2
            size = (v * (1 - p**2) / (1 - a**2)).sqrt()
            x = (x - v / (1 - a**2).sqrt() * e) / r + size * torch.randn(shape)
"""
SLIPS = {
    "of a loop": ("(1 - p**2) / (1 - a**2)).sqrt()", "(1 - p**2) / (1 - a**2))", "square root"),
    "of a loss": ("a**2).sqrt() * e, t)", "a**2) * e, t)", "no table is shown"),
}


def judged_by_its_loss(T: int, t_of, weights) -> Subject:
    """The subject of a loss with these weights of an image and the noise."""
    image, noise = weights

    def loss(model, x_0, generator):
        t = torch.randint(0, T, (len(x_0),), generator=generator)
        z = torch.randn(x_0.shape, generator=generator)
        a, s = (part[t].reshape(-1, 1, 1, 1) for part in (image, noise))
        return (model(a * x_0 + s * z, t_of(t)) - z).square().mean()

    setting = Setting(num_train_timesteps=T)
    return Subject(Adapter(loss=loss), "loss", base=setting)


def test_a_right_loop_passes_by_it_and_a_slip_is_named(tmp_path: Path) -> None:
    Slip(HEAD + LOOP, "Poly", *SLIPS["of a loop"]).judged(tmp_path)


def test_it_is_said_where_the_table_is_from(tmp_path: Path) -> None:
    report = judged_file(tmp_path, "Poly", HEAD + LOOP)
    assert report.conventions["table"] == "none is shown: read off the x_t of its loss"
    assert report.conventions["betas"] == "own (read off)"


def test_of_a_wrong_loss_none_is_read(tmp_path: Path) -> None:
    right, wrong, said = SLIPS["of a loss"]
    report = judged_file(tmp_path, "Poly", (HEAD + LOOP).replace(right, wrong))
    assert report.exit_status != 0
    assert said in str(report)


@pytest.mark.parametrize("T", [20, 300])
@pytest.mark.parametrize("share", [False, True], ids=["t", "t / T"])
def test_it_is_the_table_to_a_few_roundings(T: int, share: bool) -> None:
    right = (1 - torch.linspace(1e-4, 0.04, T, dtype=torch.float64)).cumprod(0)
    weights = right.sqrt().float(), (1 - right).sqrt().float()
    found = table_of_loss(judged_by_its_loss(T, lambda t: t / T if share else t, weights))
    assert found is not None
    assert torch.allclose(log_snr(found), log_snr(right), rtol=0, atol=2e-6)


def test_none_is_read_of_another_law_or_time() -> None:
    right = (1 - torch.linspace(1e-4, 0.2, 40)).cumprod(0)
    sound = right.sqrt(), (1 - right).sqrt()
    assert table_of_loss(judged_by_its_loss(40, lambda t: t, (right, 1 - right))) is None
    assert table_of_loss(judged_by_its_loss(40, lambda t: t / 37, sound)) is None
    assert table_of_loss(judged_by_its_loss(40, lambda t: t, (sound[0], -sound[1]))) is not None


RESPACED = """
import torch


class Respaced:
    def __init__(self, model, n=1000, s=100):
        self.model, self.n = model, n
        self.train_ab = torch.cumprod(1 - torch.linspace(1e-4, 0.02, n), 0)
        self.timestep_map = torch.linspace(0, n - 1, s).round().long()
        self.ab = self.train_ab[self.timestep_map]

    def loss(self, x):
        t, e = torch.randint(0, self.n, (x.shape[0],)), torch.randn_like(x)
        ab = self.train_ab[t].view(-1, 1, 1, 1)
        return ((self.model(ab.sqrt() * x + (1 - ab).sqrt() * e, t) - e) ** 2).mean()

    @torch.no_grad()
    def sample(self, shape):
        x = torch.randn(shape)
        for i in range(len(self.ab) - 1, -1, -1):
            t, ab = self.timestep_map[i], self.ab[i]
            e = self.model(x, t.repeat(shape[0]))
            abp = self.ab[i - 1] if i else torch.tensor(1.0)
            a = ab / abp
            x = (x - (1 - a) / (1 - ab).sqrt() * e) / a.sqrt()
            if i:
                x = x + ((1 - a) * (1 - abp) / (1 - ab)).sqrt() * torch.randn_like(x)
        return x
"""


def test_a_loss_on_all_steps_beside_a_table_of_some(tmp_path: Path) -> None:
    """The table that is shown is that of the loop's list."""
    said = "the model is told the position in the list, not the timestep"
    Slip(
        RESPACED, "Respaced", "t, ab = self.timestep_map[i]", "t, ab = torch.tensor(i)", said
    ).judged(tmp_path)
