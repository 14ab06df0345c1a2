"""What the page What changed shows: each of the ten lines against what it must give."""

import torch
from exact_laws import Humps
from what_changed import (
    Latent,
    SmallNetwork,
    consistency_loss,
    edm_x_0,
    flow_loss,
    flow_sample,
    train,
)

from scratch.reverse import x_0_from_v
from workbench import data

LAW = Humps((0.7, 0.3), (-0.5, 0.6), (0.15, 0.1))
MIDDLES = (torch.arange(500, dtype=torch.float64) + 0.5) / 500
STARTS = torch.special.ndtri(MIDDLES)[:, None]


def slope(x: torch.Tensor, tau: torch.Tensor) -> torch.Tensor:
    """The exact eps - x_0 on the straight line."""
    k = ((1 - tau) ** 2 + tau**2) ** 0.5
    alpha_bar = ((1 - tau) / k) ** 2
    return LAW.eps(x / k, alpha_bar) - LAW.x_0(x / k, alpha_bar)


def test_edms_network_for_std_1_is_v_prediction_with_the_sign_turned() -> None:
    x_t = torch.randn(50, 3, dtype=torch.float64)
    f = torch.randn(50, 3, dtype=torch.float64)
    for a in (0.9, 0.3, 0.001):
        s = torch.full((50, 1), ((1 - a) / a) ** 0.5, dtype=torch.float64)
        seen = []

        def network(scaled: torch.Tensor, level: torch.Tensor, seen=seen) -> torch.Tensor:
            seen.append(scaled)
            return f

        x_0 = edm_x_0(network, x_t / a**0.5, s, std=1.0)
        torch.testing.assert_close(x_0, x_0_from_v(x_t, -f, a))
        torch.testing.assert_close(seen[0], x_t)


def test_edms_target_has_variance_1() -> None:
    g = torch.Generator().manual_seed(0)
    x_0 = 0.5 * torch.randn(100_000, 1, generator=g, dtype=torch.float64)
    for level in (0.01, 0.5, 20.0):
        s = torch.full_like(x_0, level)
        y = x_0 + s * torch.randn(x_0.shape, generator=g, dtype=torch.float64)
        skipped = edm_x_0(lambda y, s: torch.zeros_like(y), y, s)
        out = edm_x_0(lambda y, s: torch.ones_like(y), y, s) - skipped
        target = (x_0 - skipped) / out
        assert abs(float(target.var()) - 1) < 0.03  # five times the std of a variance of 100 000


def test_the_exact_slope_has_the_smallest_loss_and_carries_noise_to_the_law() -> None:
    g = torch.Generator().manual_seed(0)
    x_0 = LAW.draw(50_000, g)[:, None]
    eps = torch.randn(x_0.shape, generator=g, dtype=torch.float64)
    tau = torch.rand(x_0.shape, generator=g, dtype=torch.float64)
    best = flow_loss(slope, x_0, eps, tau)
    for other in (lambda x, t: 0.9 * slope(x, t), lambda x, t: slope(x, t) + 0.1):
        assert flow_loss(other, x_0, eps, tau) > best
    off = flow_sample(slope, STARTS, 100).flatten() - LAW.quantile(MIDDLES)
    assert off.abs().mean() < 0.01


def test_the_exact_ends_of_paths_are_consistent_and_the_guess_of_x_0_is_not() -> None:
    def eps_of(y: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        return LAW.eps(y / (1 + s**2) ** 0.5, 1 / (1 + s**2))

    def as_network(x_0_of):
        """What the network must say for `edm_x_0` to give this."""

        def network(scaled: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
            s = (4 * level).exp()
            scale = (s**2 + 0.25) ** 0.5
            y = scaled * scale
            return (x_0_of(y, s) - 0.25 / scale**2 * y) * scale / (0.5 * s)

        return network

    def end(y: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        return LAW.quantile(LAW.share_below(y / (1 + s**2) ** 0.5, 1 / (1 + s**2)))

    s = torch.full_like(STARTS, 2.0)
    y, lower = 2.2 * STARTS, torch.full_like(STARTS, 1.98)
    consistent = consistency_loss(as_network(end), eps_of, y, s, lower)
    guess = as_network(lambda y, s: y - s * eps_of(y, s))
    assert consistent < 0.02 * consistency_loss(guess, eps_of, y, s, lower)


def test_the_small_network_learns_a_slope() -> None:
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(0)
    known = LAW.draw(2000, g).float()[:, None]
    network = SmallNetwork(1)

    def loss() -> torch.Tensor:
        x_0 = known[torch.randint(len(known), (128,), generator=g)]
        eps = torch.randn(x_0.shape, generator=g)
        return flow_loss(network, x_0, eps, torch.rand(x_0.shape, generator=g))

    train(network, loss, 500)
    with torch.no_grad():
        ends = flow_sample(network, STARTS.float(), 20).flatten().double()
    assert (ends.sort().values - LAW.quantile(MIDDLES)).abs().mean() < 0.1


def test_a_latent_has_std_1_and_loses_less_with_more_numbers() -> None:
    images = data.load("digits").images[:300]
    lost = []
    for d in (4, 16, 64):
        latent = Latent(images, d)
        z = latent.encode(images)
        assert z.shape == (300, d)
        assert abs(float(z.std()) - 1) < 1e-4
        back = latent.decode(z)
        assert back.shape == images.shape
        lost.append(float((back - images).square().mean()))
    assert lost[0] > lost[1] > lost[2]
    assert lost[2] < 1e-8  # all 64 numbers of 64 pixels, in float32
