"""The exact denoiser against a numerical integral, and loops and losses made from an oracle."""

import pytest
import torch
from torch.testing import assert_close

from compare.candidate.from_oracle import loss_of, sample_of
from compare.candidate.spy import Model, exact_denoiser, exact_output
from compare.oracle import F64, Oracle, Setting

SHORT = Setting(num_train_timesteps=50, beta_end=0.2)
TABLE = Oracle().alpha_bar(SHORT)


@pytest.mark.parametrize(("spread", "apart"), [(0.2, 0.0), (0.3, 0.7), (0.05, 0.9)])
@pytest.mark.parametrize("t", [0, 20, 49])
def test_the_exact_denoiser_is_the_posterior_mean(spread: float, apart: float, t: int) -> None:
    """E[x_0 given x_t] by a sum over a fine grid, for one pixel."""
    centre, x_t = 0.1, torch.tensor([-1.2, -0.3, 0.1, 0.4, 2.0], dtype=F64)
    grid = torch.linspace(-4, 4, 80_001, dtype=F64)
    prior = sum((-(((grid - centre - mode) / spread) ** 2) / 2).exp() for mode in (apart, -apart))
    a = TABLE[t]
    likely = prior * (-((x_t[:, None] - a.sqrt() * grid) ** 2) / (2 * (1 - a))).exp()
    expected = (likely * grid).sum(1) / likely.sum(1)
    answer = exact_denoiser("sample", TABLE, centre, spread, apart)
    images = x_t.reshape(-1, 1, 1, 1)
    got = answer(images, torch.tensor([t]))
    assert_close(got.flatten(), expected, rtol=0, atol=1e-6)  # of the grid's spacing


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
def test_an_output_says_the_same_x_0_whatever_its_kind(kind: str) -> None:
    x_t, x_0 = torch.randn(2, 4, 1, 2, 2, dtype=F64)
    t = torch.tensor([0, 7, 30, 49])
    out = exact_output(kind, TABLE, x_t, t, x_0)
    level = Oracle().level(TABLE, t, t - 1, SHORT)
    flat = (v.flatten(1).T for v in (out, x_t))
    got = Oracle().x_0(kind, *flat, level).T
    assert_close(got, x_0.flatten(1), rtol=0, atol=1e-9)  # float64 over sqrt(alpha-bar)


def test_a_right_loop_draws_the_data_and_asks_every_t_once() -> None:
    table = Oracle().alpha_bar(Setting())
    model = Model(exact_denoiser("epsilon", table), table)
    with torch.no_grad():
        loop = sample_of(Oracle(), Setting())
        images = loop(model, (64, 1, 4, 4), torch.Generator().manual_seed(0))
    assert [int(t[0]) for _, t, *_ in model.seen] == list(range(999, -1, -1))
    # 1,024 pixels of N(0.1, 0.2^2): four standard errors
    assert abs(float(images.mean()) - 0.1) < 4 * 0.2 / 32
    assert abs(float(images.std()) - 0.2) < 4 * 0.2 / 45


def test_a_right_loss_is_0_for_who_knows_and_1_for_who_says_nothing() -> None:
    x_0 = torch.zeros(256, 1, 4, 4)
    known = Model(lambda x, t: exact_output("epsilon", TABLE, x, t, torch.zeros_like(x)), TABLE)
    silent = Model(lambda x, t: torch.zeros_like(x), TABLE)
    with torch.no_grad():
        of_known, of_silent = (
            float(loss_of(Oracle(), SHORT)(model, x_0, torch.Generator().manual_seed(0)))
            for model in (known, silent)
        )
    assert of_known < 1e-9
    # 4,096 squares of N(0, 1): four standard errors of their mean
    assert abs(of_silent - 1) < 4 * 2**0.5 / 64
