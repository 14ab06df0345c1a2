"""How a candidate is built, called and remembered."""

from itertools import product

import pytest
import torch

import scratch
from compare.candidate.load import Broken
from compare.candidate.subject import Subject
from compare.oracle import Setting, betas
from compare.verdict.judge import judge
from tests.often import each


def tables(cosine_is: str) -> type:
    """A scheduler with names of its own for its two schedules."""

    class Own:
        def __init__(self, num_train_timesteps=1000, beta_schedule="linear"):
            if beta_schedule not in ("linear", "cosine"):
                raise ValueError(f"no schedule {beta_schedule}")
            chosen = cosine_is if beta_schedule == "cosine" else "linear"
            setting = Setting(num_train_timesteps=num_train_timesteps, beta_schedule=chosen)
            self.alphas_cumprod = (1 - betas(setting)).cumprod(0)

    return Own


def test_a_value_is_tried_under_its_other_name() -> None:
    right = judge(tables("squaredcos_cap_v2"), "quick", 0, only="schedule", beside=False)
    assert right.passed, str(right)
    assert "schedule/squaredcos_cap_v2" in {c.id for c in right.checks}
    assert not any("squaredcos" in said for said in right.not_offered)
    assert any("sigmoid" in said for said in right.not_offered)
    wrong = judge(tables("linear"), "quick", 0, only="schedule", beside=False)
    assert [d.bug for d in wrong.diagnoses] == ["10-linear"]


def test_only_named_keywords_are_passed_and_offered() -> None:
    class Few:
        def __init__(self, num_train_timesteps=1000, **rest):
            assert not rest
            self.alphas_cumprod = torch.linspace(0.99, 0.01, num_train_timesteps)

    subject = Subject(Few, "few")
    assert subject.named == {"num_train_timesteps"}
    assert subject.offers(num_train_timesteps=50) is not None
    assert subject.offers(clip_sample=True) is None  # not named, and not what it does
    assert subject.offers(clip_sample=False) is not None


def test_what_is_passed_on_to_a_base_is_offered() -> None:
    class Mine(scratch.DDPMScheduler):
        def __init__(self, **kwargs):
            super().__init__(beta_schedule="scaled_linear", **kwargs)

    subject = Subject(Mine, "mine")
    assert {"num_train_timesteps", "clip_sample", "variance_type"} <= subject.named
    assert "beta_schedule" not in subject.named  # it has one already
    report = judge(Mine, "quick", 0, only="schedule", beside=False)
    assert report.passed, str(report)
    assert report.conventions["betas"].startswith("scaled_linear")


def test_an_answer_is_asked_for_once_and_an_error_is_an_answer() -> None:
    subject, asked = Subject(tables("linear"), "own"), []

    def ask() -> int:
        asked.append(1)
        if len(asked) == 2:
            raise Broken("step raises")
        return 7

    assert [subject.remember("a", ask), subject.remember("a", ask)] == [7, 7]
    for _ in range(2):
        with pytest.raises(Broken, match="step raises"):
            subject.remember("b", ask)
    assert len(asked) == 2


def test_an_error_says_how_the_method_was_called() -> None:
    class Turned:
        alphas_cumprod = torch.linspace(0.99, 0.01, 10)

        def step(self, t, x, out):
            return x[t] * out

    subject = Subject(Turned, "turned")
    built = subject.scheduler()
    with pytest.raises(Broken, match=r"^step\(model_output, t, x_t\) raises .*\.py, line \d+\)$"):
        built.step(torch.zeros(1, 1, 2, 2), 3, torch.zeros(1, 1, 2, 2), 0)


class OneStep:
    """A right step, which has both ends of its betas, and no table."""

    betas = (1e-4, 0.02)

    def step(self, out, t, x, generator=None):
        beta = torch.linspace(*self.betas, 1000, dtype=torch.float64)
        alpha_bar, t = (1 - beta).cumprod(0), int(t)
        mean = (x - beta[t] / (1 - alpha_bar[t]).sqrt() * out) / (1 - beta[t]).sqrt()
        if t == 0:
            return mean
        sigma = (beta[t] * (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t])).sqrt()
        return mean + sigma * torch.randn(x.shape, generator=generator)


def test_both_ends_of_betas_are_no_table() -> None:
    report = judge(OneStep, "quick", 0, beside=False)
    assert report.passed, str(report)
    assert report.conventions["T"].startswith("1000")


@pytest.mark.parametrize(("answer", "kind"), [({"next": torch.zeros(1)}, "dict"), ((), "tuple")])
def test_what_a_step_returns_in_no_known_place_is_told_as_it_is(answer, kind: str) -> None:
    class Mine(OneStep):
        def step(self, out, t, x, generator=None):
            return answer

    report = judge(Mine, "quick", 0, only="mean", beside=False)
    assert f"step returned {kind}, not a tensor" in report.verdict


def test_pictures_that_a_class_makes_large_are_asked_for_small() -> None:
    class Large:
        def __init__(self, img_size: int = 256, depth: int = 256):
            self.img_size, self.depth = img_size, depth

        def step(self, out, t, x): ...

    class Small(Large):
        def __init__(self, img_size: int = 16):
            super().__init__(img_size)

    assert (Subject(Large, "large").first.img_size, Subject(Large, "large").first.depth) == (8, 256)

    class Picky(Large):
        def __init__(self, img_size: int = 64):
            if img_size < 64:
                raise ValueError("too small")
            super().__init__(img_size)

    assert Subject(Small, "small").first.img_size == 16
    assert Subject(Picky, "picky").first.img_size == 64


class OfWords:
    """A constructor that goes by words and has no answer to others."""

    def __init__(self, num_timesteps: int = 60, beta_schedule: str = "linear"):
        ends = {"linear": (1e-3, 0.2), "steep": (1e-2, 0.3)}[beta_schedule]
        self.alphas_cumprod = (1 - torch.linspace(*ends, num_timesteps)).cumprod(0)


class OfBranches:
    def __init__(self, num_timesteps: int = 60, beta_schedule: str = "linear"):
        if beta_schedule == "linear":
            self.betas = torch.linspace(1e-3, 0.2, num_timesteps)
        self.alphas_cumprod = (1 - self.betas).cumprod(0)


@pytest.mark.parametrize(("candidate", "error"), [(OfWords, "KeyError"), (OfBranches, "betas")])
def test_a_word_that_a_constructor_breaks_at_is_not_offered(candidate: type, error: str) -> None:
    subject = Subject(candidate, "words")
    assert subject.scheduler() is not None
    assert subject.offers(beta_schedule="sigmoid") is None
    (said,) = {text for text in subject.not_offered if "sigmoid" in text}
    assert error in said


class Unready:
    """A scheduler with a table that is not there yet; a step says it another way."""

    def __init__(self) -> None:
        self.alphas_cumprod = (1 - torch.linspace(1e-3, 0.2, 40, dtype=torch.float64)).cumprod(0)

    @property
    def betas(self) -> torch.Tensor:
        raise NotImplementedError

    @property
    def pred_original_sample(self) -> torch.Tensor:
        raise NotImplementedError

    def add_noise(self, x_0, noise, t) -> torch.Tensor:
        ab = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)
        return (ab.sqrt() * x_0 + (1 - ab).sqrt() * noise).to(x_0.dtype)

    def step(self, model_output, t, x_t, generator=None) -> "Unready":
        ab, prev = (float(self.alphas_cumprod[i]) if i >= 0 else 1.0 for i in (t, t - 1))
        x_0 = (x_t - (1 - ab) ** 0.5 * model_output) / ab**0.5
        mean = prev**0.5 * (1 - ab / prev) * x_0 + (ab / prev) ** 0.5 * (1 - prev) * x_t
        size = ((1 - prev) / (1 - ab) * (1 - ab / prev)) ** 0.5
        self.prev_sample = mean / (1 - ab) + size * torch.randn(x_t.shape, generator=generator)
        return self


def test_a_property_that_raises_is_not_there() -> None:
    report = judge(Unready, "quick", 0, beside=False)
    assert report.passed, str(report)


class Loud(torch.Tensor):
    """Nothing can be computed with it."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None) -> None:
        raise RuntimeError("too loud")


RETURNED = {
    "meta": (lambda x: x.to("meta"), "a tensor on the device meta"),
    "sparse": (lambda x: x.to_sparse(), "a tensor of layout torch.sparse_coo"),
    "complex": (lambda x: x * 1j, "complex numbers"),
    "class": (lambda x: x.as_subclass(Loud), ""),
}


@pytest.mark.parametrize(("method", "kind"), each(3, product(["add_noise", "step"], RETURNED)))
def test_what_holds_no_numbers_is_told_of_the_method(method: str, kind: str) -> None:
    turned, words = RETURNED[kind]

    class Odd(Unready):
        def add_noise(self, *given) -> torch.Tensor:
            noised = super().add_noise(*given)
            return turned(noised) if method == "add_noise" else noised

        def step(self, *given, generator=None) -> torch.Tensor:
            prev = super().step(*given, generator).prev_sample
            return turned(prev) if method == "step" else prev

    report = judge(Odd, "quick", 0, only="forward" if method == "add_noise" else "mean")
    assert report.exit_status == (1 if words else 0), str(report)
    assert not words or f"{method} returned {words}" in report.verdict
