"""What a candidate does without naming it is read off, shown on the card, and never failed."""

import pytest
import torch

from compare import Adapter
from compare.candidate.from_oracle import scheduler
from compare.candidate.subject import Subject
from compare.mistakes import BY_ID
from compare.oracle import Oracle
from compare.verdict import conventions
from compare.verdict.judge import judge

T = 60
BETAS = torch.linspace(1e-3, 0.2, T, dtype=torch.float64)


class Plain:
    """A right DDIM or DDPM step in its own words; what it names is nothing."""

    eta: float | None = None
    divided = True
    kind, clip, again, percentile = "epsilon", None, False, None

    def __init__(self):
        self.alphas_cumprod = (1 - BETAS).cumprod(0)

    def add_noise(self, x_0, noise, t):
        a = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)
        return (a.sqrt() * x_0 + (1 - a).sqrt() * noise).to(x_0.dtype)

    def before(self, t):
        return t - 1

    def step(self, out, t, x, generator=None):
        a, before = self.alphas_cumprod[t], self.before(t)
        p = self.alphas_cumprod[before] if before >= 0 else torch.ones(())
        x_0 = {
            "epsilon": (x - (1 - a).sqrt() * out) / a.sqrt().clamp(min=1e-9),
            "sample": out,
            "v_prediction": a.sqrt() * x - (1 - a).sqrt() * out,
        }[self.kind]
        eps = out if self.kind == "epsilon" else (x - a.sqrt() * x_0) / (1 - a).sqrt()
        if self.clip is not None:
            x_0 = x_0.clamp(-self.clip, self.clip)
        if self.percentile is not None:
            s = x_0.abs().flatten(1).quantile(self.percentile, dim=1).clamp(min=1)
            s = s.reshape(-1, 1, 1, 1)
            x_0 = x_0.clamp(-s, s) / (s if self.divided else 1)
        if self.again:
            eps = (x - a.sqrt() * x_0) / (1 - a).sqrt()
        variance = (1 - p) / (1 - a) * (1 - a / p)
        if self.eta is None:
            mean = p.sqrt() * (1 - a / p) * x_0 + (a / p).sqrt() * (1 - p) * x
            mean = mean / (1 - a)
        else:
            variance = self.eta**2 * variance
            mean = p.sqrt() * x_0 + (1 - p - variance).clamp(min=0).sqrt() * eps
        if before >= 0 and self.eta != 0:
            mean = mean + variance.sqrt() * torch.randn(x.shape, generator=generator)
        return mean.to(x.dtype)


def like(**changes):
    return type("Candidate", (Plain,), changes)


def middles(self, n):
    self.timesteps = [int((i + 0.5) * T / n) for i in reversed(range(n))]


def next_of_list(self, t):
    listed = getattr(self, "timesteps", list(range(T - 1, -1, -1)))
    i = listed.index(int(t))
    return listed[i + 1] if i + 1 < len(listed) else -1


CARDS = {
    "plain": (like(), {"clipping": "none", "variance": "fixed_small", "prediction": "epsilon"}),
    "clip": (like(clip=1.0), {"clipping": "1.0"}),
    "clip-2": (like(clip=2.0), {"clipping": "2.0"}),
    "clip-sample": (like(clip=1.0, kind="sample"), {"clipping": "1.0", "prediction": "sample"}),
    "v": (like(kind="v_prediction"), {"prediction": "v_prediction"}),
    "ddim": (like(eta=0.0), {"variance": "DDIM, eta=0 "}),
    "ddim-half": (like(eta=0.5), {"variance": "DDIM, eta=0.5"}),
    "threshold": (like(percentile=0.95), {"clipping": "dynamic, at the 0.95 quantile"}),
    "threshold-ddim": (like(percentile=0.99, eta=0.0), {"clipping": "dynamic, at the 0.99"}),
    "ddim-clip": (like(eta=0.0, clip=1.0), {"clipping": "1.0"}),
    "ddim-again": (like(eta=0.0, clip=1.5, again=True), {"clipping": "1.5"}),
    "own-list": (
        like(set_timesteps=middles, before=next_of_list),
        {"spacing": "own"},
    ),
    "own-betas": (like(), {"betas": "linear 0.001..0.2"}),
}


@pytest.mark.parametrize("name", CARDS)
def test_the_card_says_what_it_does_and_nothing_fails(name):
    candidate, card = CARDS[name]
    report = judge(candidate, "quick", 0, beside=False)
    assert report.passed, str(report)
    for convention, value in card.items():
        assert value in report.conventions[convention]


class OwnList(Plain):
    """DDIM that names its clip, and whose list has ten steps until it is told another."""

    eta, wrong = 0.0, 0

    def __init__(self, clip_sample=True):
        super().__init__()
        self.clip_sample = clip_sample
        self.set_timesteps(10)

    def set_timesteps(self, n):
        self.timesteps = list(range(0, (T // n) * n, T // n))[::-1]

    def step(self, out, t, x):
        a, before = self.alphas_cumprod[t], next_of_list(self, t)
        p = self.alphas_cumprod[before] if before >= 0 else torch.ones(())
        x_0 = (x - (1 - a).sqrt() * out) / a.sqrt()
        if self.clip_sample:
            x_0 = x_0.clamp(-1, 1)
            out = (x - a ** (0.5 + self.wrong) * x_0) / (1 - a).sqrt()
        return (p.sqrt() * x_0 + (1 - p).sqrt() * out).to(x.dtype)


def test_a_direction_derived_anew_is_read_whatever_list_is_the_default():
    right = judge(OwnList, "quick", 0, beside=False)
    assert right.passed, str(right)
    assert right.conventions["direction"].startswith("eps derived anew")
    wrong = judge(type("Wrong", (OwnList,), {"wrong": 0.5}), "quick", 0, beside=False)
    assert wrong.exit_status == 1
    assert "direction" not in wrong.conventions


@pytest.mark.parametrize("eta", [None, 0.0])
def test_a_clip_that_drifts_with_t_is_no_clip(eta):
    """A hundredth from one end of the chain to the other: near is not the same."""

    class Drifting(Plain):
        def step(self, out, t, x, generator=None):
            self.clip = 1 + 0.01 * t / T
            return super().step(out, t, x, generator)

    drifting = judge(type("Drifts", (Drifting,), {"eta": eta}), "quick", 0, beside=False)
    assert drifting.conventions["clipping"] == "none (read off)"
    assert drifting.exit_status == 1, str(drifting)


@pytest.mark.parametrize("bug", ["38", "44"])
def test_the_range_of_a_clip_is_read_whatever_the_mean(bug):
    class Wrong(Plain):
        def __init__(self):
            super().__init__()
            made = scheduler(BY_ID[bug].oracle())
            self.inside = made(
                trained_betas=BETAS.tolist(), num_train_timesteps=T, clip_sample_range=1.5
            )

        def step(self, out, t, x, generator=None):
            return self.inside.step(out, t, x, generator).prev_sample

    report = judge(Wrong, "quick", 0, beside=False)
    assert report.conventions["clipping"] == "1.5 (read off)"
    assert [d.bug for d in report.diagnoses] == [bug], str(report)


def test_zero_terminal_snr_of_a_family_is_a_convention_and_v_is_judged_to_the_end():
    default = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)

    def table(self):
        root = (1 - default).cumprod(0).sqrt()
        self.alphas_cumprod = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2

    right = judge(like(kind="v_prediction", __init__=table), "quick", 0, beside=False)
    assert right.passed, str(right)
    assert {c.stage for c in right.checks} >= {"schedule", "mean", "variance"}


def test_a_wrong_step_is_not_read_as_another_kind_that_it_happens_to_look_like():
    """Without the root of alpha-bar_prev, an epsilon step looks like one of v at high noise."""

    def step(self, out, t, x, generator=None):
        a, p = self.alphas_cumprod[t], self.alphas_cumprod[t - 1] if t else torch.ones(())
        x_0 = ((x - (1 - a).sqrt() * out) / a.sqrt()).clamp(-1, 1)
        mean = p * (1 - a / p) / (1 - a) * x_0 + (a / p).sqrt() * (1 - p) / (1 - a) * x
        noise = torch.randn(x.shape, generator=generator) if t else 0
        return (mean + ((1 - p) / (1 - a) * (1 - a / p)).sqrt() * noise).to(x.dtype)

    report = judge(like(step=step), "quick", 0, beside=False)
    assert report.conventions["prediction"].startswith("epsilon")
    assert [d.bug for d in report.diagnoses] == ["38"]


def test_several_ones_in_a_table_are_not_a_count_from_one():
    def table(self):
        self.alphas_cumprod = (1 - torch.linspace(1e-4, 0.02, 1000)).half().cumprod(0).float()

    report = judge(like(__init__=table), "quick", 0, beside=False)
    assert report.conventions["t base"] == "0"
    assert [d.bug for d in report.diagnoses] == ["13-float16"]


def test_betas_that_are_shown_judge_a_table_of_any_ends():
    def table(self):
        self.betas = BETAS**1.5
        self.alphas_cumprod = (1 - self.betas).cumprod(0) * (1 - self.betas[0])

    report = judge(like(__init__=table), "quick", 0, beside=False)
    assert [d.bug for d in report.diagnoses][:1] == ["1"], str(report)


def test_the_card_says_what_was_judged_read_or_out_of_sight() -> None:
    class Named:
        alphas_cumprod = torch.linspace(0.99, 0.01, 10)

        def __init__(self, clip_sample=True):
            pass

    subject = Subject(Named, "named")
    conventions.read(subject)
    assert subject.conventions["clipping"] == "each value that it takes (named, so judged)"
    assert subject.conventions["T"] == "10 (read off)"
    assert subject.conventions["variance"] == "not read, as there is no step"
    assert subject.conventions["spacing"] == "not read, as there is no set_timesteps"


@pytest.mark.parametrize("bug", ["38", "45"])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_a_wrong_step_that_names_nothing_is_named_whatever_its_model_predicts(bug, kind):
    class Wrong(Plain):
        def __init__(self):
            super().__init__()
            options = {"prediction_type": kind, "clip_sample": False}
            made = scheduler(BY_ID[bug].oracle())
            self.inside = made(trained_betas=BETAS.tolist(), num_train_timesteps=T, **options)

        def step(self, out, t, x, generator=None):
            return self.inside.step(out, t, x, generator).prev_sample

    report = judge(Wrong, "quick", 0, beside=False)
    assert [d.bug for d in report.diagnoses] == [bug], str(report)


def test_a_deterministic_step_is_ddim_and_not_one_of_hardly_any_eta():
    """float32 rounds 1 - alpha-bar_prev - sigma^2: 0.002 fits eta = 0 as well."""

    def table(self):
        self.alphas_cumprod = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)

    report = judge(like(eta=0.0, __init__=table), "quick", 0, beside=False)
    assert report.passed, str(report)
    assert report.conventions["variance"] == "DDIM, eta=0 (read off)"


@pytest.mark.parametrize(("large", "kind"), [(0.0, "fixed_small"), (1.0, "fixed_large")])
def test_a_variance_is_read_only_where_it_fits(large, kind):
    """Halfway between the two it is neither: the usual one stays, and the stage fails."""

    def of(share):
        def std(_, level, out=None):
            small, big = (Oracle().std(k, level) for k in ("fixed_small", "fixed_large"))
            return (share * big**2 + (1 - share) * small**2).sqrt()

        class Hidden(Plain):
            def __init__(self):
                super().__init__()
                made = scheduler(Oracle(std=std))
                self.inside = made(trained_betas=BETAS.tolist(), num_train_timesteps=T)

            def step(self, out, t, x, generator=None):
                return self.inside.step(out, t, x, generator).prev_sample

        return judge(Hidden, "quick", 0, beside=False)

    right = of(large)
    assert right.passed, str(right)
    assert right.conventions["variance"] == f"{kind} (read off)"
    between = of(0.4 + 0.2 * large)
    assert between.conventions["variance"] == "fixed_small (read off)"
    assert {d.stage for d in between.diagnoses} == {"variance"}, str(between)


def test_a_table_that_is_assumed_is_said_to_be():
    assumed = Subject(Adapter(loss=lambda model, x_0: x_0.sum()), "loss")
    conventions.read(assumed)
    assert assumed.conventions["table"].startswith("none is shown")
    shown = Subject(Adapter(alpha_bar=lambda: (1 - BETAS).cumprod(0)), "table")
    conventions.read(shown)
    assert "table" not in shown.conventions


def test_a_threshold_that_is_not_divided_by_is_no_convention() -> None:
    report = judge(like(percentile=0.95, divided=False), "quick", 0, beside=False)
    assert report.exit_status == 1
    assert {c.stage for c in report.checks if not c.passed} <= {"prediction", "mean"}
