"""Steps whose model returns twice the channels: a learned variance, in other people's words."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from compare import Adapter, run
from compare.candidate.door.reading import told_by
from compare.verdict.judge import judge
from compare.verdict.report import Report
from tests.often import each

T = 40
BETAS = torch.linspace(1e-4, 0.2, T, dtype=torch.float64)
ALPHA_BAR = (1 - BETAS).cumprod(0)
BEFORE = torch.cat([torch.ones(1, dtype=torch.float64), ALPHA_BAR[:-1]])
SMALL = BETAS * (1 - BEFORE) / (1 - ALPHA_BAR)
CLIPPED = torch.cat([SMALL[1:2], SMALL[1:]])
Size = Callable[[Tensor, Tensor, Tensor], Tensor]  # (second half, beta-tilde, beta) -> sigma


class Guided:
    """By tables of logarithms, clipped at t = 0, a mask, and t a tensor: as the authors do."""

    def __init__(self):
        self.alphas_cumprod = ALPHA_BAR
        self.posterior_log_variance_clipped = CLIPPED.log()
        self.coef_1 = BETAS * BEFORE.sqrt() / (1 - ALPHA_BAR)
        self.coef_2 = (1 - BEFORE) * (1 - BETAS).sqrt() / (1 - ALPHA_BAR)

    @staticmethod
    def at(table: Tensor, t: Tensor) -> Tensor:
        return table[t].float().reshape(-1, 1, 1, 1)

    def log_variance(self, v: Tensor, t: Tensor) -> Tensor:
        low, high = self.at(self.posterior_log_variance_clipped, t), self.at(BETAS.log(), t)
        share = (v + 1) / 2
        return share * high + (1 - share) * low

    def step(self, model_output, t, x):
        eps, v = torch.split(model_output, x.shape[1], dim=1)
        a = self.at(ALPHA_BAR, t)
        x_0 = (x - (1 - a).sqrt() * eps) / a.sqrt()
        mean = self.at(self.coef_1, t) * x_0 + self.at(self.coef_2, t) * x
        mask = (t != 0).float().reshape(-1, 1, 1, 1)
        return mean + mask * (0.5 * self.log_variance(v, t)).exp() * torch.randn_like(x)


def power(second: Tensor, small: Tensor, beta: Tensor) -> Tensor:
    """beta^(v/2) beta-tilde^((1-v)/2), v from 0 to 1."""
    return beta ** (second / 2) * small ** ((1 - second) / 2)


def mapped(second: Tensor, small: Tensor, beta: Tensor) -> Tensor:
    return power((second + 1) / 2, small, beta)


def adapter(size: Size, exchanged: bool = False, masked: bool = True) -> Adapter:
    """Algorithm 2 in closed form, by slices, t a number."""

    def step(out, t, x, generator):
        c = x.shape[1]
        eps, second = (out[:, c:], out[:, :c]) if exchanged else (out[:, :c], out[:, c:])
        assert second.shape == x.shape
        a, beta = ALPHA_BAR[t], BETAS[t]
        x = (x - beta / (1 - a).sqrt() * eps) / (1 - beta).sqrt()
        z = torch.randn(x.shape, generator=generator)
        if masked and not t:
            return x.float()
        return (x + (t > 0) * size(second, SMALL[t], beta) * z).float()

    return Adapter(alpha_bar=lambda: ALPHA_BAR, step=step)


RIGHT: dict[str, tuple[type | Adapter, str]] = {
    "as the authors do": (Guided(), "v of -1 to 1"),
    "a v of 0 to 1": (adapter(power), "v of 0 to 1"),
    "a v of -1 to 1": (adapter(mapped), "v of -1 to 1"),
    "a log-variance": (adapter(lambda s, low, high: (s / 2).exp()), "the logarithm of the"),
    "not used": (adapter(lambda s, low, high: high.sqrt()), "fixed_large"),
}


def judged(candidate: object, *words: str) -> Report:
    return judge(candidate, "quick", 0, beside=False, reading=told_by(words))


def failing(report: Report) -> list[str]:
    return [check.id for check in report.checks if not check.passed]


@pytest.mark.parametrize(("candidate", "words"), RIGHT.values(), ids=RIGHT)
def test_a_right_step_is_right_and_its_rule_is_said(candidate: Adapter, words: str) -> None:
    report = judged(candidate)
    assert report.passed, str(report)
    assert words in report.conventions["variance"]
    assert report.readings["output"]["value"].startswith("twice the channels, the second half")
    every = [c.id for c in report.checks if c.id.startswith("variance/learned")]
    assert bool(every) == words.startswith(("v of", "the log")), every


def of_halves(second: Tensor, small: Tensor, beta: Tensor) -> Tensor:
    """Variances instead of their logarithms."""
    share = (second + 1) / 2
    return (share * beta + (1 - share) * small).sqrt()


def by_logs(second: Tensor, small: Tensor, beta: Tensor) -> Tensor:
    """beta-tilde not clipped."""
    share = (second + 1) / 2
    return (0.5 * (share * beta.log() + (1 - share) * small.log())).exp()


WRONG: dict[str, tuple[object, str | None]] = {
    "52": (adapter(of_halves), "52"),
    "exchanged ends": (adapter(lambda s, low, high: mapped(s, high, low)), "52-exchanged"),
    "no half": (adapter(lambda s, low, high: mapped(s, low, high) ** 2), "49-learned"),
    "not clipped": (adapter(by_logs, masked=False), "52-unclipped"),
    "noise of the mean pixel": (
        adapter(lambda s, low, high: mapped(s.mean((1, 2, 3), keepdim=True), low, high)),
        None,
    ),
}


@pytest.mark.parametrize(("candidate", "bug"), each(3, WRONG.values()), ids=WRONG)
def test_a_wrong_step_is_found(candidate: object, bug: str | None) -> None:
    report = judged(candidate)
    assert report.exit_status == 1, str(report)
    assert [(d.bug, d.stage) for d in report.diagnoses] == [(bug, "variance")], str(report)


OWN: dict[str, Size] = {
    "a sigmoid between the ends": lambda s, low, high: power(s.sigmoid(), low, high),
    "the standard deviation itself": lambda s, low, high: torch.nn.functional.softplus(s) + 0 * low,
    "the variance itself": lambda s, low, high: s.clamp(min=1e-6).sqrt() + 0 * low,
    "the logarithm of sigma": lambda s, low, high: s.exp() + 0 * low,
}


@pytest.mark.parametrize("size", each(2, OWN.values()), ids=OWN)
def test_another_rule_that_may_be_right_is_neither_blamed_nor_passed(size: Size) -> None:
    report = judged(adapter(size))
    assert report.exit_status == 2, str(report)
    assert failing(report) == ["variance/learned"]
    assert "Another rule is not judged" in report.verdict


def test_which_half_is_the_output_is_undecided_and_a_word_decides() -> None:
    candidate = adapter(mapped, exchanged=True)
    report = judged(candidate)
    assert report.exit_status == 2, str(report)
    assert "--reading output=out,v" in report.verdict
    assert "--reading output=v,out" in report.verdict
    assert judged(candidate, "output=v,out").passed
    assert judged(candidate, "output=out,v").exit_status == 1
    assert judged(adapter(mapped), "output=v,out").exit_status == 1


class Declared:
    """Diffusers' words; the step is right for any list of timesteps."""

    def __init__(self, num_train_timesteps=1000, variance_type="learned_range"):
        if variance_type not in self.kinds:
            raise ValueError(f"no {variance_type}")
        self.T, self.kind = num_train_timesteps, variance_type
        self.betas = torch.linspace(1e-4, 0.02, self.T, dtype=torch.float64)
        self.alphas_cumprod = (1 - self.betas).cumprod(0)
        self.set_timesteps(self.T)

    kinds = ("fixed_small", "fixed_large", "learned_range", "learned")

    def set_timesteps(self, n):
        self.timesteps = torch.arange(n).flip(0) * (self.T // n)

    def sizes(self, said: Tensor, small: Tensor, beta: Tensor) -> Tensor:
        return mapped(said, small, beta)

    def of_log(self, said: Tensor) -> Tensor:
        return (said / 2).exp()

    def upper(self, t: int, beta: Tensor) -> Tensor:
        return beta

    def split(self, out: Tensor) -> tuple[Tensor, ...]:
        return out.chunk(2, dim=1)

    def step(self, out, t, x, generator=None):
        i = int((self.timesteps == t).nonzero())
        last = i + 1 == len(self.timesteps)
        a = self.alphas_cumprod[t]
        p = torch.ones_like(a) if last else self.alphas_cumprod[self.timesteps[i + 1]]
        beta, small = 1 - a / p, (1 - a / p) * (1 - p) / (1 - a)
        size = small.sqrt() if self.kind == "fixed_small" else beta.sqrt()
        if self.kind.startswith("learned"):
            out, said = self.split(out)
            of_range = self.kind == "learned_range"
            size = self.sizes(said, small, self.upper(t, beta)) if of_range else self.of_log(said)
        mean = (x - beta / (1 - a).sqrt() * out) / (a / p).sqrt()
        z = torch.randn(x.shape, generator=generator)
        return mean.float() if last else (mean + size * z).float()


class LearnedAlone(Declared):
    kinds = ("learned_range",)


class Unmapped(Declared):
    def sizes(self, said, small, beta):
        return power(said, small, beta)


class UnmappedAlone(Unmapped):
    kinds = ("learned_range",)


class Rooted(Declared):
    def of_log(self, said):
        return said.sqrt()


class FullChain(Declared):
    def upper(self, t, beta):
        return self.betas[t]


class SecondFirst(Declared):
    def split(self, out):
        return out.chunk(2, dim=1)[::-1]


@pytest.mark.parametrize("candidate", each(2, [Declared, LearnedAlone]))
def test_a_right_class_that_names_its_kinds_is_right(candidate: type) -> None:
    report = judged(candidate)
    assert report.passed, str(report)
    ids = {check.id for check in report.checks}
    assert {
        "mean/learned_range",
        "variance/learned_range",
        "variance/learned_range/leading-10",
    } <= ids
    assert ("variance/learned" in ids) == ("learned" in candidate.kinds)


@pytest.mark.parametrize(
    ("candidate", "bug"),
    each(
        2,
        [
            (Unmapped, "52-unmapped"),
            (UnmappedAlone, "52-unmapped"),
            (FullChain, "71-learned"),
            (SecondFirst, "52-halves"),
        ],
    ),
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_a_class_names_is_judged_as_named(candidate: type, bug: str) -> None:
    report = judged(candidate)
    assert report.exit_status == 1, str(report)
    assert [d.bug for d in report.diagnoses] == [bug], str(report)


def test_the_root_of_a_log_variance_is_a_finding_shared_with_diffusers() -> None:
    report = judged(Rooted)
    assert report.passed, str(report)
    assert [f["id"] for f in report.findings] == ["learned-nan"]
    assert {c.id.split("/")[1] for c in report.checks if c.status == "known"} == {"learned"}


def test_a_kind_that_is_not_built_is_not_offered_and_not_judged() -> None:
    import scratch

    report = run(scratch.DDPMScheduler)
    assert report.passed
    assert any("learned_range" in said for said in report.not_offered)
    assert not any("learned" in check.id for check in report.checks)
