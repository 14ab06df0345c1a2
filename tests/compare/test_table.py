"""A wrong alpha-bar table is told in letters, and no form is stated that it does not have."""

import pytest
import torch
from torch import Tensor

import compare
from compare.formulas.parts.table import form_of
from compare.oracle import Oracle
from tests.compare.test_schedule import SHORT, judged
from tests.often import each


class Tabled:
    """A class of betas that it shows, whose table is something else than their product."""

    table = staticmethod(lambda betas: (1 - betas).cumprod(0))
    dtype = torch.float64

    def __init__(self, num_train_timesteps: int = 60) -> None:
        self.betas = torch.linspace(1e-3, 0.2, num_train_timesteps, dtype=self.dtype)
        self.alphas_cumprod = self.table(self.betas)


@pytest.mark.parametrize("dtype", each(2, [torch.float32, torch.float64]))
@pytest.mark.parametrize(
    ("table", "holds"),
    [
        (lambda b: (1 - b).cumprod(0) ** 2, "alpha-bar_t^2"),
        (lambda b: (1 - b).cumprod(0) ** 1.5, "alpha-bar_t^(3/2)"),
        (lambda b: 1 - (1 - b).cumprod(0), "1 - alpha-bar_t"),
        (lambda b: (1 - b) ** 2, "alpha_t^2"),
        (lambda b: 1 - 0.1 * b.cumsum(0), None),
        (lambda b: (-b.cumsum(0)).exp(), "exp(-the sum of beta_s for s = 0..t)"),
        (lambda b: (1 - b / 2).cumprod(0), "the product of 1 - 0.5 * beta_s for s = 0..t"),
        (lambda b: (1 - b**2).cumprod(0), "the product of 1 - beta_s^2 for s = 0..t"),
        (lambda b: (1 + b).cumprod(0), "the product of 1 + beta_s for s = 0..t"),
        (lambda b: (1 - b).cumprod(0) * (1 + 0.1 * b), None),
    ],
)
def test_a_wrong_table_is_told_in_letters(table, holds: str | None, dtype: torch.dtype) -> None:
    mine = type("Mine", (Tabled,), {"table": staticmethod(table), "dtype": dtype})
    report = judged(mine)
    (found,) = report.diagnoses
    assert found.bug is None
    if holds is None:
        assert found.formula is None
        assert "log-SNR" in found.explanation
    else:
        assert found.formula is not None
        assert found.formula.startswith(f"the table holds {holds}")
    assert judged(type("Right", (Tabled,), {"dtype": dtype})).passed


def test_a_table_without_shown_betas_is_told_by_those_of_a_family() -> None:
    class Mine:
        def __init__(self, num_train_timesteps=60, beta_start=1e-4, beta_end=0.02):
            betas = torch.linspace(beta_start, beta_end, num_train_timesteps)
            self.alphas_cumprod = (1 - betas).cumprod(0) ** 2

    (found,) = judged(Mine).diagnoses
    assert found.formula is not None
    assert "the table holds alpha-bar_t^2 of linear betas" in found.formula


def test_no_form_is_stated_that_a_table_does_not_have() -> None:
    """Tables that fall at random, or are off from a form at one entry, have no form."""
    stream = torch.Generator().manual_seed(0)
    betas = Oracle().betas(SHORT)
    for _ in range(200):
        fall = torch.rand(60, generator=stream, dtype=torch.float64).sort(descending=True).values
        assert form_of(fall, betas) is None
        spoilt = (1 - betas).cumprod(0) ** 2
        spoilt[int(60 * fall[0])] *= 1 + 1e-4
        assert form_of(spoilt, betas) is None


def test_a_table_that_is_the_product_of_its_betas_gets_no_form() -> None:
    """Its betas are off: what it holds of them is what it should."""

    class Unsquared:
        def __init__(self) -> None:
            t = torch.arange(61, dtype=torch.float64) / 60
            f = ((t + 0.008) / 1.008 * torch.pi / 2).cos()
            self.betas = (1 - f[1:] / f[:-1]).clamp(max=0.999)
            self.alphas_cumprod = (1 - self.betas).cumprod(0)

    (only,) = judged(Unsquared).diagnoses
    assert (only.bug, only.formula) == ("10-square", None)


def test_betas_that_are_no_numbers_make_no_form() -> None:
    assert (
        form_of(torch.linspace(0.9, 0.1, 20, dtype=torch.float64), torch.full((20,), torch.nan))
        is None
    )


def test_a_beta_of_0_makes_no_form() -> None:
    """As where a cosine begins at t = 0: its logarithm is none."""
    betas = torch.linspace(0, 0.2, 60, dtype=torch.float64)
    table = (1 - betas / 2).cumprod(0)
    assert form_of(table, betas) is None


@pytest.mark.parametrize(
    ("betas", "said"),
    [
        (
            1 - torch.cos(torch.linspace(0, 1, 1000) * torch.pi / 2) ** 2,
            "alpha-bar is 0 from t=320",
        ),
        (torch.linspace(1e-3, 0.2, 1000), "alpha-bar is 0 from t="),
        (torch.linspace(1e-4, 0.02, 1000), ""),
    ],
    ids=["a table of alpha-bar taken for alpha", "ten times too much", "the usual ones"],
)
def test_a_chain_that_is_noise_from_early_on_is_left_open(betas: Tensor, said: str) -> None:
    table = (1 - betas.clip(1e-5, 0.99999)).cumprod(0)

    def add_noise(x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        a = table[t].reshape(-1, 1, 1, 1)
        return a.sqrt() * x_0 + (1 - a).sqrt() * noise

    report = compare.run(compare.Adapter(alpha_bar=lambda: table, add_noise=add_noise))
    assert report.exit_status == (2 if said else 0), str(report)
    assert said in report.verdict


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (lambda betas: betas.cumprod(0), "the table holds the product of beta_s for s = 0..t"),
        (lambda betas: (1 - 1000 * betas).cumprod(0), "beta is above 1 from t="),
        (lambda betas: torch.ones(len(betas)), "alpha-bar is 1 at every t"),
    ],
    ids=["of betas", "of an SDE", "of none"],
)
def test_a_table_of_another_thing_is_told_in_words(table, said: str) -> None:
    made = table(torch.linspace(1e-4, 0.02, 1000))
    report = compare.run(compare.Adapter(alpha_bar=lambda: made))
    assert report.exit_status == 1
    assert said in report.verdict
