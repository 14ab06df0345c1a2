"""Loops and losses whose model returns twice the channels: a learned variance beside the output."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from compare import Adapter, run
from tests.often import each

T = 40
BETAS = torch.linspace(1e-4, 0.2, T, dtype=torch.float64)
ALPHA_BAR = (1 - BETAS).cumprod(0)
BEFORE = torch.cat([torch.ones(1, dtype=torch.float64), ALPHA_BAR[:-1]])
Halve = Callable[[Tensor, int], Any]
LogVariance = Callable[[Tensor, float, float], Tensor]  # (v, log beta-tilde, log beta)


def with_a_look(out: Tensor, c: int) -> Any:
    assert out.shape[1] == 2 * c
    return torch.split(out, c, dim=1)


HALVES: dict[str, Halve] = {
    "chunk": lambda out, c: out.chunk(2, dim=1),
    "split": lambda out, c: out.split(c, 1),
    "slices": lambda out, c: (out[:, :c], out[:, c:]),
    "after a look at its shape": with_a_look,
}
READINGS: dict[str, tuple[LogVariance, str]] = {
    "-1 to 1": (lambda v, low, high: (v + 1) / 2 * high + (1 - v) / 2 * low, "a v of -1 to 1"),
    "0 to 1": (lambda v, low, high: v * high + (1 - v) * low, "a v of 0 to 1"),
    "not used": (lambda v, low, high: 0 * v + high, "the second is not used"),
}


def loop(
    log_variance: LogVariance, halve: Halve = HALVES["chunk"], n: int = T, power: float = 0.5
) -> Adapter:
    """Algorithm 2 with a variance of the model's, on every or every second t."""

    def sample(model, shape, generator):
        model.eval()
        x = torch.randn(shape, generator=generator)
        listed = [*range(0, T, T // n)]
        for i in reversed(range(n)):
            t, before = listed[i], listed[i - 1] if i else -1
            a = float(ALPHA_BAR[t])
            p = float(ALPHA_BAR[before]) if i else 1.0
            beta = 1 - a / p
            eps, v = halve(model(x, torch.full((len(x),), t)), shape[1])
            x = (x - beta / (1 - a) ** power * eps) / (1 - beta) ** 0.5
            if i:
                low = torch.tensor(beta * (1 - p) / (1 - a)).log()
                size = (0.5 * log_variance(v, float(low), float(torch.tensor(beta).log()))).exp()
                x = x + size * torch.randn(shape, generator=generator)
        return x

    return Adapter(alpha_bar=lambda: ALPHA_BAR, sample=sample)


@pytest.mark.parametrize("halve", HALVES.values(), ids=HALVES)
def test_a_second_half_is_given_to_who_takes_it_apart(halve: Halve) -> None:
    report = run(loop(READINGS["-1 to 1"][0], halve))
    assert report.passed, str(report)
    assert "a v of -1 to 1" in report.conventions["output"]


@pytest.mark.parametrize("n", each(2, [T, T // 2]))
@pytest.mark.parametrize(("log_variance", "words"), READINGS.values(), ids=READINGS)
def test_the_range_of_v_is_read_off_the_noise(log_variance: LogVariance, words: str, n: int):
    report = run(loop(log_variance, n=n))
    assert report.passed, str(report)
    assert words in report.conventions["output"]
    seen = {check.id for check in report.checks}
    assert ("sampling/loop/learned" in seen) == words.startswith("a v")


def in_a_pair(log_variance: LogVariance) -> Adapter:
    """The same where the network returns its output and v."""
    return loop(log_variance, halve=lambda out, c: out)


def test_a_v_in_a_pair_is_judged_too() -> None:
    report = run(in_a_pair(READINGS["-1 to 1"][0]))
    assert report.passed, str(report)
    assert report.conventions["output"].startswith("a pair: the second a v of -1 to 1")


def test_a_variance_by_another_rule_in_a_pair_is_neither_blamed_nor_passed() -> None:
    report = run(in_a_pair(lambda v, low, high: v))
    assert report.exit_status == 2


def test_a_log_variance_is_neither_blamed_nor_passed() -> None:
    report = run(loop(lambda v, low, high: v))
    assert report.exit_status == 2
    assert "for the logarithm of the variance" in report.verdict


def between(v: Tensor, low: float, high: float) -> Tensor:
    """Variances instead of their logarithms."""
    share = (v + 1) / 2
    ends = torch.tensor([low, high]).exp()
    return (share * ends[1] + (1 - share) * ends[0]).log()


WRONG: dict[str, tuple[Adapter, str]] = {
    "52": (loop(between), "52"),
    "43": (loop(READINGS["-1 to 1"][0], power=1.0), "43"),
    "exchanged ends": (loop(lambda v, low, high: READINGS["-1 to 1"][0](-v, low, high)), ""),
    "the root twice": (loop(lambda v, low, high: READINGS["-1 to 1"][0](v, low, high) / 2), ""),
}


@pytest.mark.parametrize(("candidate", "bug"), each(2, WRONG.values()), ids=WRONG)
def test_a_wrong_loop_of_a_learned_variance_is_found(candidate: Adapter, bug: str) -> None:
    report = run(candidate)
    assert report.exit_status == 1, str(report)
    assert not bug or [d.bug for d in report.diagnoses] == [bug], str(report)


Target = Callable[[Tensor, Tensor, Tensor], Tensor]  # (x_0, noise, alpha-bar)
Bound = Callable[[Tensor, Tensor], Tensor]  # (log-variances: of the posterior, of the model)


def divergence(right: Tensor, own: Tensor) -> Tensor:
    """Of two normal laws whose means are alike."""
    return 0.5 * (own - right - 1 + (right - own).exp())


def hybrid_loss(
    halve: Halve,
    target: Target = lambda x_0, e, a: e,
    log_variance: Any = READINGS["-1 to 1"][0],
    bound: Bound = divergence,
    share: float = 0.1,
    sample: Any = None,
) -> Adapter:
    """L_simple, and a bound of its variance that takes the output for a constant."""

    def loss(model, x_0):
        t = torch.randint(0, T, (len(x_0),))
        a, e = ALPHA_BAR[t].float().reshape(-1, 1, 1, 1), torch.randn_like(x_0)
        out, v = halve(model(a.sqrt() * x_0 + (1 - a).sqrt() * e, t), x_0.shape[1])
        beta, p = BETAS[t].reshape(a.shape), BEFORE[t.clamp(min=1)].reshape(a.shape)
        low, high = (beta * (1 - p) / (1 - a)).log(), beta.log()
        off = (out.detach() - e).square()
        cost = bound(low, log_variance(v, low, high)) + off * (beta / (1 - a)).square()
        return (out - target(x_0, e, a)).square().mean() + share * cost.mean()

    known = {"alpha_bar": lambda: ALPHA_BAR, "sample": sample}
    return Adapter(**known, loss=loss, prediction_type="epsilon")


BESIDE: dict[str, Halve] = {**HALVES, "a pair": lambda out, c: out}


@pytest.mark.parametrize("halve", each(2, BESIDE.values()), ids=BESIDE)
def test_the_simple_loss_beside_a_learned_variance_is_judged(halve: Halve) -> None:
    report = run(hybrid_loss(halve))
    assert report.passed, str(report)
    seen = {check.id for check in report.checks}
    assert {"loss/target/noise", "loss/target/x_0", "loss/variance"} <= seen


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (lambda x_0, e, a: x_0, "the target is x_0 although the model predicts the noise"),
        (lambda x_0, e, a: a.sqrt() * e - (1 - a).sqrt() * x_0, "the target is the velocity"),
        (lambda x_0, e, a: 0.8 * e, "your noise in the target has 0.8, should have 1"),
    ],
    ids=["x_0", "v", "less"],
)
def test_a_wrong_target_beside_a_learned_variance_is_found(target: Target, said: str) -> None:
    report = run(hybrid_loss(HALVES["chunk"], target))
    assert report.exit_status == 1, str(report)
    assert said in str(report)


RANGES = [name for name, (_, words) in READINGS.items() if words.startswith("a v")]


@pytest.mark.parametrize("trained", RANGES)
@pytest.mark.parametrize("sampled", RANGES)
def test_loss_and_loop_are_to_take_v_alike(trained: str, sampled: str) -> None:
    drawn = loop(READINGS[sampled][0]).sample
    log_variance = READINGS[trained][0]
    report = run(hybrid_loss(HALVES["chunk"], log_variance=log_variance, sample=drawn))
    assert report.exit_status == int(trained != sampled), str(report)
    words = f"by a v of {trained}, and the loop takes it for one of {sampled}"
    assert (words in str(report)) == (trained != sampled)


@pytest.mark.parametrize(
    "bound",
    [lambda right, own: divergence(own, right), lambda right, own: own],
    ids=["the other way round", "the variance itself"],
)
def test_a_bound_that_is_not_known_is_neither_blamed_nor_passed(bound: Bound) -> None:
    report = run(hybrid_loss(HALVES["chunk"], bound=bound))
    assert report.exit_status == 2, str(report)
    assert "trains a learned variance by a rule that is not known" in report.verdict


def test_a_variance_that_nothing_trains_is_said() -> None:
    report = run(hybrid_loss(HALVES["chunk"], share=0.0))
    assert report.passed, str(report)
    assert "nothing in this loss trains it" in str(report)


def test_a_target_that_cannot_be_read_is_neither_blamed_nor_passed() -> None:
    report = run(hybrid_loss(HALVES["chunk"], lambda x_0, e, a: e.abs()))
    assert report.exit_status == 2, str(report)
    assert "cannot be read beside a learned variance" in str(report)
