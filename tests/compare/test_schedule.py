"""Stage schedule: tables in log-SNR, families by name, betas beside them."""

import math

import pytest
import torch

import compare
from compare import Adapter
from compare.candidate.door.reading import Fact
from compare.candidate.from_oracle import scheduler
from compare.measure.tolerances import betas_bound, cosine_bound, log_snr
from compare.oracle import Oracle, Setting
from compare.stages.schedule import bound
from compare.verdict.judge import judge
from tests.often import each

SHORT = Setting(num_train_timesteps=60, beta_end=0.2)


def judged(candidate):
    return judge(candidate, "quick", 0, only="schedule", beside=False, base=SHORT)


def test_log_snr_by_hand() -> None:
    found = log_snr(torch.tensor([0.5, 0.8], dtype=torch.float64))
    assert found.tolist() == pytest.approx([0.0, math.log(4)], abs=1e-12)


def test_a_float32_table_is_within_the_bound_and_a_tenth_more_noise_at_one_step_is_not() -> None:
    setting = Setting()
    right = Oracle().alpha_bar(setting)
    single = (1 - Oracle().betas(setting).float()).cumprod(0).double()
    allowed = bound(setting, Oracle())
    assert bool(((log_snr(single) - log_snr(right)).abs() <= allowed).all())
    other = 1 - (1 - right) * torch.where(torch.arange(1000) == 700, 1.0001, 1.0)
    assert bool(((log_snr(other) - log_snr(right)).abs() > allowed).any())


@pytest.mark.parametrize("T", [1, 2, 50, 1000, 4000])
def test_cosines_in_float32_are_within_a_bound_of_two_thousandths(T: int) -> None:
    """The table itself, and betas that are quotients of it."""
    setting = Setting(num_train_timesteps=T, beta_schedule="squaredcos_cap_v2")
    for u in (torch.linspace(0, 1, T + 1), torch.arange(T + 1) / T):
        f = torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
        table, right = (f / f[0])[1:].double(), Oracle().alpha_bar(setting)
        off = (log_snr(table) - log_snr(right)).abs()[:-1]  # at the last a cap acts
        assert bool((off <= bound(setting, Oracle())[:-1]).all())
        betas, wanted = (1 - f[1:] / f[:-1]).clamp(max=0.999).double(), Oracle().betas(setting)
        allowed = betas_bound(wanted, cosine_bound(T))
        assert bool(((betas - wanted).abs() <= allowed).all())
        assert bool((allowed <= 2e-3 * wanted + 1e-6).all())


def test_each_family_that_is_named_is_judged_by_its_name() -> None:
    report = judged(scheduler(Oracle()))
    names = {c.id.split("/")[1] for c in report.checks}
    assert names >= {"linear", "scaled_linear", "sigmoid", "squaredcos_cap_v2", "given", "T=50"}
    assert report.passed


def test_one_wrong_family_among_right_ones() -> None:
    def betas(setting):
        found = Oracle().betas(setting)
        return found * 1.01 if setting.beta_schedule == "sigmoid" else found

    report = judged(scheduler(Oracle(betas=betas)))
    failing = [c.id for c in report.checks if not c.passed]
    assert failing == ["schedule/sigmoid", "schedule/zero-snr-sigmoid"]


def test_betas_that_do_not_belong_to_their_table() -> None:
    class Shown(scheduler(Oracle())):
        @property
        def betas(self):
            return Oracle().betas(self.setting).sqrt()

    report = judged(Shown)
    assert "schedule/linear/betas" in [c.id for c in report.checks if not c.passed]


def test_a_table_of_another_length_is_told() -> None:
    class Longer(scheduler(Oracle())):
        def __init__(self, num_train_timesteps=60, beta_end=0.2):
            super().__init__(num_train_timesteps, beta_end=beta_end)
            self.alphas_cumprod = torch.cat([self.alphas_cumprod, self.alphas_cumprod[-1:] / 2])

    report = judged(Longer)
    assert "has 61 entries, should have 60" in report.checks[0].message
    assert report.exit_status == 1


@pytest.mark.parametrize(("start", "end"), [(0.02, 1e-4), (0.1, 0.03)])
def test_betas_that_fall_are_told_of(start: float, end: float) -> None:
    def report_of(first: float, last: float):
        table = (1 - torch.linspace(first, last, 200)).cumprod(0)
        return judged(Adapter(alpha_bar=lambda: table))

    told = [c for c in report_of(start, end).checks if c.id == "schedule/falls"]
    assert f"betas fall from {start:.2g} at t=0 to {end:.2g}" in told[0].message
    assert not any(c.id == "schedule/falls" for c in report_of(end, start).checks)


LINEAR = torch.linspace(1e-4, 0.02, 201)
SCALED = torch.linspace(0.001**0.5, 0.04**0.5, 101) ** 2
LONG = torch.linspace(1e-4, 0.02, 1001)


def of_one_more(beta, handed, loop=True, trains=True, first=1, whole=False):
    """A loop and a loss on tables of T + 1 entries, whose first is in the product and no step."""
    T, alpha = len(beta) - 1, 1 - beta
    abar = alpha.cumprod(0)

    def sample(model, shape):
        model.eval()
        x = torch.randn(shape)
        for i in range(T, 0, -1):
            eps = model(x, torch.full((shape[0],), i if whole else i / T))
            x = (x - beta[i] / (1 - abar[i]).sqrt() * eps) / alpha[i].sqrt()
            if i > 1:
                x = x + beta[i].sqrt() * torch.randn_like(x)
        return x

    def loss(model, x0):
        t = torch.randint(first, T + 1, (len(x0),))
        eps = torch.randn_like(x0)
        a = abar[t].reshape(-1, 1, 1, 1)
        return (model(a.sqrt() * x0 + (1 - a).sqrt() * eps, t / T) - eps).square().mean()

    roles = {"sample": sample if loop else None, "loss": loss if trains else None}
    return Adapter(alpha_bar=lambda: handed(abar), **roles)


@pytest.mark.parametrize(
    ("candidate", "bugs"),
    each(
        2,
        [
            (of_one_more(LINEAR, lambda abar: abar), ["1"]),
            (of_one_more(LINEAR, lambda abar: abar[1:]), ["1"]),
            (of_one_more(SCALED, lambda abar: abar, trains=False), ["1"]),
            (of_one_more(SCALED, lambda abar: abar[1:]), ["1"]),
            (of_one_more(LONG, lambda abar: abar, loop=False), ["1"]),
            (of_one_more(LONG, lambda abar: abar[1:], loop=False), ["1"]),
            (of_one_more(LINEAR, lambda abar: abar[1:], first=2), ["1", "20-first"]),
        ],
    ),
    ids=["whole", "cut", "scaled-whole", "scaled-cut", "long-whole", "long-cut", "and-20"],
)
def test_a_beta_before_the_first_is_one_factor_too_many(candidate: Adapter, bugs: list) -> None:
    """Also where the loop is told t / T from 1 / T to 1: that is no fault."""
    report = judge(candidate, "quick", 0, beside=False)
    assert [d.bug for d in report.diagnoses] == bugs, str(report)
    assert "sampling/loop/visits" not in [c.id for c in report.checks if not c.passed]


@pytest.mark.parametrize("beta", [LINEAR, SCALED], ids=["linear", "scaled"])
def test_whole_numbers_from_1_may_be_of_t_from_0_whose_last_step_is_missing(beta) -> None:
    candidate = of_one_more(beta, lambda abar: abar, trains=False, whole=True)
    report = judge(candidate, "quick", 0, beside=False)
    assert [d.bug for d in report.diagnoses] == ["79"], str(report)
    assert "if t counts from 1 (say --reading t=1)" in report.verdict
    told = judge(candidate, "quick", 0, beside=False, reading={"t_base": Fact(1, "declared")})
    assert [d.bug for d in told.diagnoses] == ["1"], str(told)


class Product:
    """A right step by the class's own table, whose product may begin with another factor."""

    shows, spare = False, 0.0

    def __init__(self):
        betas = torch.linspace(2e-3, 0.3, 51, dtype=torch.float64)[1:]
        self.alphas_cumprod = (1 - betas).cumprod(0) * (1 - self.spare)
        if self.shows:
            self.betas = betas

    def add_noise(self, x_0, noise, t):
        a = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)
        return (a.sqrt() * x_0 + (1 - a).sqrt() * noise).to(x_0.dtype)

    def step(self, out, t, x, generator=None):
        a, p = self.alphas_cumprod[t], self.alphas_cumprod[t - 1] if t else 1
        mean = (x - (1 - a / p) / (1 - a).sqrt() * out) / (a / p).sqrt()
        z = torch.randn(x.shape, generator=generator) if t else 0
        return (mean + (1 - a / p).sqrt() * z).to(x.dtype)


@pytest.mark.parametrize("shows", [False, True])
@pytest.mark.parametrize("spare", [0.0, 2e-3, 5e-3])
def test_a_spare_beta_of_a_class_is_seen_by_its_curve_or_beside_its_betas(shows, spare) -> None:
    """Of any size where the betas are shown; else of the size that the curve had before."""
    candidate = type("Candidate", (Product,), {"shows": shows, "spare": spare})
    report = judge(candidate, "quick", 0, beside=False)
    wrong = spare == 2e-3 or (shows and spare > 0)
    assert [d.bug for d in report.diagnoses] == ["1"] * wrong, str(report)


@pytest.mark.parametrize("ends", [(1e-3, 0.2), (1e-4, 0.05)])
def test_betas_by_which_float32_runs_out_of_numbers_are_those_of_a_family(ends) -> None:
    class Steep:
        def __init__(self, num_train_timesteps: int = 1000) -> None:
            self.betas = torch.linspace(*ends, num_train_timesteps)
            self.alphas_cumprod = (1 - self.betas).cumprod(0)

    report = compare.run(Steep)
    assert report.exit_status == 2 * (ends[1] > 0.1), str(report)  # it is noise from early on
    assert report.conventions["betas"] == f"linear {ends[0]:g}..{ends[1]:g} (read off)"
