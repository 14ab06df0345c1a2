"""What a program has in words of its own: tables, lists of kept steps, ends, limits, weights."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from compare import Adapter
from compare.candidate.from_oracle import sample_of
from compare.candidate.load import load
from compare.oracle import Oracle, Setting
from compare.verdict.judge import judge
from compare.verdict.report import Report

F64 = torch.float64
T = 60
BETAS = torch.linspace(2e-3, 0.15, T, dtype=F64)
ALPHA_BAR = (1 - BETAS).cumprod(0)


def judged(candidate: Any) -> Report:
    return judge(candidate, "quick", 0, beside=False)


def mix(ab: Tensor, x_0: Tensor, noise: Tensor) -> Tensor:
    ab = ab.reshape(-1, 1, 1, 1).to(x_0)
    return ab.sqrt() * x_0 + (1 - ab).sqrt() * noise


class Levels:
    """T + 1 levels under a name of its own, t from 1."""

    def __init__(self) -> None:
        self.abars = torch.cat([torch.ones(1, dtype=F64), ALPHA_BAR])

    def add_noise(self, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return mix(self.abars[t], x_0, noise)


class Early(Levels):
    """The same that reads the level of the step before."""

    def add_noise(self, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return mix(self.abars[t - 1], x_0, noise)


class Quadratic:
    """A table and betas under names of its own, beside a loop alone."""

    def __init__(self) -> None:
        self.beta = torch.linspace(0.03, 0.4, T, dtype=F64) ** 2
        self.alpha_hat = (1 - self.beta).cumprod(0)

    def sample(self, model: Any, n: int) -> Tensor:
        model.eval()
        x = torch.randn(n, 3, 8, 8)
        for t in reversed(range(T)):
            eps = model(x, torch.full((n,), t))
            b, ab = float(self.beta[t]), float(self.alpha_hat[t])
            x = (x - b / (1 - ab) ** 0.5 * eps) / (1 - b) ** 0.5
            x = x + b**0.5 * torch.randn_like(x) if t else x
        return self.ended(x)

    def ended(self, x: Tensor) -> Tensor:
        return x


class CutOff(Quadratic):
    """Bytes that are cut off."""

    def ended(self, x: Tensor) -> Tensor:
        return ((x.clamp(-1, 1) + 1) / 2 * 255).to(torch.uint8)


def test_a_table_is_its_own_under_any_name_that_says_so() -> None:
    report = judged(Levels)
    assert report.passed, str(report)
    assert report.readings["t_base"]["value"] == 1
    assert judged(Quadratic).passed


def test_a_wrong_program_is_wrong_by_such_a_table_too() -> None:
    assert not judged(Early).passed
    report = judged(CutOff)
    assert [d.bug for d in report.diagnoses] == ["69"], str(report)


def test_a_fault_with_a_name_blames_nothing_else_where_no_table_is_shown() -> None:
    loop = sample_of(Oracle(), Setting(num_train_timesteps=50, beta_end=0.2))

    def sample(model: Any, shape: Any, generator: Any) -> Tensor:
        x = loop(model, shape, generator)
        return ((x.clamp(-1, 1) + 1) / 2 * 255).to(torch.uint8)

    report = judged(Adapter(sample=sample))
    assert [d.bug for d in report.diagnoses] == ["69"], str(report)
    assert report.exit_status == 1
    assert any("no table is shown" in c.message for c in report.checks if c.status == "error")
    assert not any(c.id.endswith("/steps") for c in report.checks)


def test_pictures_may_come_back_with_their_channels_last() -> None:
    setting = Setting(num_train_timesteps=50, beta_end=0.2)
    loop = sample_of(Oracle(), setting)

    def sample(model: Any, shape: Any, generator: Any) -> Any:
        return loop(model, shape, generator).permute(0, 2, 3, 1).numpy()

    report = judged(Adapter(lambda: Oracle().alpha_bar(setting), sample=sample))
    assert report.passed, str(report)


def test_another_table_is_no_formula_with_numbers_that_were_fitted() -> None:
    """Angles for a table, told t = 1..T, and none of it shown (Salimans & Ho, appendix D)."""
    angle = torch.arange(T + 1, dtype=F64) / T * torch.pi / 2
    alpha, sigma = angle.cos().float(), angle.sin().float()

    def sample(model: Any, shape: Any, generator: Any) -> Tensor:
        model.eval()
        x = torch.randn(shape, generator=generator)
        for i in range(T, 0, -1):
            v = model(x, torch.full(shape[:1], i))
            x_0, eps = alpha[i] * x - sigma[i] * v, sigma[i] * x + alpha[i] * v
            x = alpha[i - 1] * x_0 + sigma[i - 1] * eps
        return x

    report = judged(Adapter(sample=sample, prediction_type="v_prediction"))
    assert report.exit_status == 2, str(report)
    assert f"linear betas 0.0001..0.02 with T = {T}, it differs" in report.verdict
    assert "should have" not in report.verdict
    table = (alpha[1:] ** 2).double()
    told = Adapter(lambda: table, sample=sample, prediction_type="v_prediction", reading="t=1")
    assert judged(told).passed


class Kept:
    """Every third of 240 steps, with betas of its own, its model told their numbers."""

    def __init__(self) -> None:
        base = (1 - torch.linspace(1e-4, 0.02, 240, dtype=F64)).cumprod(0)
        self.kept = list(range(2, 240, 3))
        self.table = self.levels(base)
        self.alphas_cumprod = self.table

    def levels(self, base: Tensor) -> Tensor:
        return base[self.kept]

    def told(self, i: int) -> int:
        return self.kept[i]

    def sample(self, model: Any, n: int) -> Tensor:
        model.eval()
        x = torch.randn(n, 1, 8, 8)
        for i in reversed(range(len(self.kept))):
            ab, prev = float(self.table[i]), float(self.table[i - 1]) if i else 1.0
            eps = model(x, torch.full((n,), self.told(i)))
            x = (x - (1 - ab / prev) / (1 - ab) ** 0.5 * eps) / (ab / prev) ** 0.5
            x = x + (1 - ab / prev) ** 0.5 * torch.randn_like(x) if i else x
        return x


class KeptBetas(Kept):
    """The betas of the longer chain at the kept steps."""

    def levels(self, base: Tensor) -> Tensor:
        return (1 - torch.linspace(1e-4, 0.02, 240, dtype=F64)[self.kept]).cumprod(0)


class ToldPlaces(Kept):
    """Its model is told places in the list."""

    def told(self, i: int) -> int:
        return i


class OfNoFamily(Kept):
    """Levels that no family has at these numbers."""

    def levels(self, base: Tensor) -> Tensor:
        return base[self.kept] ** 1.1


class ToldTheNext(Kept):
    """Its model is told the number of the step after."""

    def told(self, i: int) -> int:
        return self.kept[max(i - 1, 0)]


@pytest.mark.parametrize(
    ("candidate", "exit_status", "words"),
    [
        (Kept, 0, "its levels are those of 240 linear steps at its own kept[t]"),
        (KeptBetas, 1, "its betas are those of 240 linear steps at these numbers"),
        (ToldPlaces, 2, "and its model is told t"),
        (OfNoFamily, 2, "its levels are those of no family at these numbers"),
        (ToldTheNext, 1, "should be 79, 78, ..., 0"),
    ],
)
def test_kept_steps_are_read_by_the_list_of_an_object(candidate, exit_status, words) -> None:
    report = judged(candidate)
    assert report.exit_status == exit_status, str(report)
    assert words in str(report)
    if exit_status == 2:
        assert report.verdict.endswith("Adapter(alpha_bar=...)")


def rescaled(betas: Tensor) -> Tensor:
    root = (1 - betas).cumprod(0).sqrt()
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2


def table_alone(table: Tensor) -> Any:
    return SimpleNamespace(alphas_cumprod=table)


SCALED = torch.linspace(0.02, 0.3, T, dtype=F64) ** 2


@pytest.mark.parametrize(
    ("table", "read"),
    [
        (rescaled(SCALED), "scaled_linear 0.0004..0.09"),
        (rescaled(BETAS), "linear 0.002..0.15"),
        (ALPHA_BAR.clamp(min=0.02), "own"),
        ((torch.arange(T, 0, -1, dtype=F64) - 1) / (T + 5), "own"),
    ],
)
def test_a_table_may_end_at_0_or_at_a_floor(table: Tensor, read: str) -> None:
    report = judged(lambda: table_alone(table))
    assert report.passed, str(report)
    assert report.conventions["betas"].startswith(read)


def test_a_table_that_stands_still_in_the_middle_is_none() -> None:
    table = ALPHA_BAR.clone()
    table[20:25] = table[20]
    assert not judged(lambda: table_alone(table)).passed


def limited(limit: Any, table: Tensor = ALPHA_BAR, bend: Any = lambda x: x) -> Adapter:
    def sample(model: Any, shape: Any) -> Tensor:
        model.eval()
        x = torch.randn(shape)
        for t in reversed(range(T)):
            ab, prev = table[t], table[t - 1] if t else torch.ones((), dtype=F64)
            eps = model(x, torch.full(shape[:1], t))
            x_0 = limit((x - (1 - ab).sqrt() * eps) / ab.sqrt())
            beta = 1 - ab / prev
            mean = prev.sqrt() * beta * x_0 + (1 - beta).sqrt() * (1 - prev) * bend(x)
            noise = (beta * (1 - prev) / (1 - ab)).sqrt() * torch.randn(shape)
            x = (mean / (1 - ab) + noise * (t > 0)).float()
        return x

    return Adapter(alpha_bar=lambda: table, sample=sample)


def threshold(x_0: Tensor) -> Tensor:
    s = x_0.flatten(1).abs().quantile(0.99, dim=1).clamp(min=1).reshape(-1, 1, 1, 1)
    return x_0.clamp(-s, s) / s


@pytest.mark.parametrize("limit", [lambda x: x.clamp(-1, 1), lambda x: x.clamp(-3, 1.2), threshold])
def test_x_0_outside_the_range_may_be_limited_image_by_image(limit: Any) -> None:
    report = judged(limited(limit))
    assert report.passed, str(report)


def test_one_number_by_which_a_batch_is_divided_is_found() -> None:
    report = judged(limited(lambda x: x / x.abs().max().clamp(min=1)))
    assert "divided by 1.9" in report.verdict, str(report)
    assert "the largest value of the batch" in report.verdict


@pytest.mark.parametrize(
    ("bend", "words"),
    [
        (lambda x: x.clamp(-3.2, 3.2), "x_t beside x0-hat is limited to [-3.2, 3.2]"),
        (lambda x: torch.where(x > 3.2, -x, x), " of 4096 pixels alone"),
    ],
)
def test_a_few_pixels_of_which_a_step_makes_something_else_are_found(bend: Any, words: str) -> None:
    report = judged(limited(lambda x: x, bend=bend))
    assert report.exit_status == 1
    assert words in report.verdict, str(report)


def loss_weighed(weight: Any, target: str = "noise") -> Adapter:
    def loss(model: Any, x_0: Tensor) -> Tensor:
        t = torch.randint(0, T, (len(x_0),))
        noise = torch.randn_like(x_0)
        off = model(mix(ALPHA_BAR[t], x_0, noise), t) - (noise if target == "noise" else x_0)
        return (weight(ALPHA_BAR[t] / (1 - ALPHA_BAR[t])) * off.square().flatten(1).mean(1)).mean()

    kind = "epsilon" if target == "noise" else "sample"
    return Adapter(alpha_bar=lambda: ALPHA_BAR, loss=loss, prediction_type=kind)


@pytest.mark.parametrize("order", [lambda w: w.flip(0), lambda w: w.roll(1)])
def test_a_weight_of_another_image_is_found(order: Any) -> None:
    assert judged(loss_weighed(lambda snr: 1 / (1 + snr))).passed
    report = judged(loss_weighed(lambda snr: order(1 / (1 + snr))))
    assert "the weight of an image is that of the t of another image" in report.verdict


def test_weights_that_are_drawn_are_no_other_image_s() -> None:
    report = judged(loss_weighed(lambda snr: 1 + 0 * snr + 0.1 * torch.rand(len(snr))))
    assert "another image" not in str(report)


@pytest.mark.parametrize(
    ("weight", "target", "form"),
    [
        (lambda snr: snr.sqrt().clamp(max=2), "x_0", "min(sqrt(SNR_t), 2)"),
        (lambda snr: snr.sqrt().clamp(max=2) / snr, "noise", "min(sqrt(SNR_t), 2) / SNR_t"),
    ],
)
def test_the_root_of_the_snr_is_named_in_min_snr(weight: Any, target: str, form: str) -> None:
    report = judged(loss_weighed(weight, target))
    assert f"your loss weighs t by {form}" in report.verdict, str(report)
    assert "with sqrt(SNR_t) for SNR_t" in report.verdict


def guided(prev_root: bool) -> Adapter:
    """DDIM of v, the mix of which weighs next to nothing where the image is lost."""
    table = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=F64)).cumprod(0)

    def sample(model: Any, shape: Any) -> Tensor:
        model.eval()
        x, y = torch.randn(shape), torch.arange(shape[0]) % 7
        for t in range(979, -1, -20):
            ab, prev = float(table[t]), float(table[t - 20]) if t > 20 else 1.0
            one, two = (model(x, torch.full(shape[:1], t), c) for c in (y, 0 * y + 7))
            v = 4 * one - 3 * two
            x_0, eps = (
                ab**0.5 * x - (1 - ab) ** 0.5 * v,
                (1 - ab) ** 0.5 * x + ab**0.5 * v,
            )
            x = prev**0.5 * x_0 + (1 - prev) ** (0.5 if prev_root else 1) * eps
        return x

    return Adapter(alpha_bar=lambda: table, sample=sample, prediction_type="v_prediction")


def test_a_guided_loop_is_judged_where_its_answers_weigh_next_to_nothing() -> None:
    assert judged(guided(True)).passed
    report = judged(guided(False))
    assert report.exit_status == 1
    assert "your" in report.verdict, str(report)


def twice(t: Tensor, dim: int) -> Tensor:
    angle = t.float()[:, None] * 10000 ** (-torch.arange(dim // 2) / (dim // 2))
    return torch.cat([angle.cos(), angle.cos().neg()], dim=1)


def test_a_table_that_says_everything_twice_is_wrong() -> None:
    report = judged(Adapter(embedding=twice))
    assert report.exit_status == 1
    assert "entry 16 is entry 0 times -1 at every t" in report.verdict, str(report)


def test_what_a_class_says_it_predicts_is_declared(tmp_path: Any) -> None:
    file = tmp_path / "said.py"
    file.write_text("class Said(object):\n    prediction_type = 'v'\n    betas = [0.1, 0.2]\n")
    report = judge(load(f"{file}:Said", None)[0], "quick", 0, beside=False)
    assert report.readings["prediction"]["value"] == "v_prediction"
    assert report.readings["prediction"]["rank"] == "declared"


def test_a_table_of_the_t_before_is_told_as_that() -> None:
    prev = torch.cat([torch.ones(1, dtype=F64), ALPHA_BAR[:-1]])
    right = (BETAS * (1 - prev) / (1 - ALPHA_BAR)).clamp(min=1e-20)
    shown = {"alphas_cumprod": ALPHA_BAR, "betas": BETAS, "posterior_variance": right}
    assert judged(Adapter(tables=lambda: shown)).passed
    late = shown | {"posterior_variance": torch.cat([right[:1], right[:-1]])}
    report = judged(Adapter(tables=lambda: late))
    assert "posterior_variance[t] is what posterior_variance[t - 1] should be" in report.verdict


LISTED = """
import torch

{name} = {table}


@torch.no_grad()
def sample(model, n):
    model.eval()
    x = torch.randn(n, 1, 8, 8)
    for t in reversed(range(40)):
        cur, prev = AB[t + {off}], AB[t + {off} - 1] if t else 1.0
        e = model(x, torch.full((n,), t))
        x = (x - (1 - cur / prev) / (1 - cur) ** 0.5 * e) / (cur / prev) ** 0.5
        if t:
            x = x + ((1 - prev) / (1 - cur) * (1 - cur / prev)) ** 0.5 * torch.randn_like(x)
    return x
"""
OF_LIST = "torch.cumprod(1 - torch.linspace(1e-3, 0.3, 41), 0).tolist()"
OF_BETAS = "torch.linspace(1e-3, 0.3, 41).tolist()\nAB = torch.cumprod(1 - torch.tensor(betas), 0)"


@pytest.mark.parametrize(("name", "table"), [("AB", OF_LIST), ("betas", OF_BETAS)])
def test_a_list_of_numbers_is_a_table(name: str, table: str, tmp_path: Any) -> None:
    for off, right in ((0, True), (1, False)):
        file = tmp_path / f"listed_{off}.py"
        text = LISTED.format(name=name, table=table.replace("41", str(40 + off)), off=off)
        file.write_text(text)
        report = judged(load(f"{file}:sample", None)[0])
        assert report.passed == right, str(report)
        assert "table" not in report.conventions


def test_a_loss_alone_says_how_long_its_chain_is() -> None:
    """By the usual table it is judged at that length; who leaves t out at either end is not."""

    def of(T: int, low: int = 0, high: int = 0) -> Adapter:
        levels = Oracle().alpha_bar(Setting(num_train_timesteps=T))

        def loss(model: Any, x: Tensor) -> Tensor:
            t, e = torch.randint(low, T - high, (len(x),)), torch.randn_like(x)
            return (model(mix(levels[t], x, e), t) - e).square().mean()

        return Adapter(loss=loss)

    report = judged(of(400))
    assert report.passed, str(report)
    assert report.conventions["T"] == "400 (read off)"
    assert [d.bug for d in judged(of(1000, high=1)).diagnoses] == ["20"]


class WithMore:
    """Tables, beside methods that no contract knows."""

    def __init__(self) -> None:
        self.alphas_cumprod = ALPHA_BAR

    def signal_to_noise(self) -> Tensor:
        return self.alphas_cumprod / (1 - self.alphas_cumprod)


class WithAStep(WithMore):
    """A step by a name that is known, called as nobody can tell."""

    def denoise(self, *parts: Tensor) -> Tensor:
        return parts[0]


def test_right_tables_say_nothing_of_a_step_that_was_not_judged() -> None:
    report = judged(WithAStep)
    assert report.exit_status == 2
    assert "tables alone were judged, and right, and not its denoise" in report.verdict
    assert not report.diagnoses


def test_a_verdict_on_tables_alone_says_so(tmp_path: Any) -> None:
    assert judged(WithMore).verdict.endswith("Tables alone were judged.")
    named = judge(WithMore, "quick", 0, beside=False)
    assert not judged(Levels).verdict.endswith("judged.")
    assert named.not_judged["forward"] == "there is no add_noise or get_velocity"
    file = tmp_path / "tables.py"
    file.write_text("class Tables:\n    alphas_cumprod = [0.9, 0.6, 0.2]\n")
    assert judged(f"{file}:Tables").verdict.endswith("Tables alone were judged.")


class Continuous:
    """Its t is a time from 0 to 1, of which `log_ab` makes the logarithm of alpha-bar."""

    def log_ab(self, t: Tensor) -> Tensor:
        return -0.05 * t - 4.975 * t**2  # of the SDE with betas from 0.1 to 20, halved

    def add_noise(self, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return mix((2 * self.log_ab(t.double())).exp(), x_0, noise)


class Cosine(Continuous):
    def log_ab(self, t: Tensor) -> Tensor:
        return (t.clamp(1e-3, 1 - 1e-3) * torch.pi / 2).cos().log()


class OfSteps(Continuous):
    """The same function of t / T: t counts steps, and what is wrong is told."""

    def log_ab(self, t: Tensor) -> Tensor:
        return 2 * super().log_ab(t / 1000)


@pytest.mark.parametrize("candidate", [Continuous, Cosine])
def test_a_time_from_0_to_1_is_left_open(candidate: type) -> None:
    report = judged(candidate)
    assert report.exit_status == 2
    assert "a time from 0 to 1: alpha-bar is 1 at t=0" in report.verdict
    assert not report.judged
    assert not report.diagnoses


def test_a_function_of_steps_is_none_of_time() -> None:
    assert "a time from 0 to 1" not in judged(OfSteps).verdict
