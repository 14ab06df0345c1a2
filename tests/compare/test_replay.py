"""A loop whose noise can be replayed is judged exactly: faults too small for any std are named."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from compare import Adapter
from compare.candidate.replay import drawn, drawn_as_seen
from compare.verdict.judge import judge
from compare.verdict.report import Report
from tests.often import each

BETA = torch.linspace(1e-4, 0.02, 500)
ALPHA_BAR = (1 - BETA).cumprod(0)


def eps_form(x: Tensor, eps: Tensor, t: int) -> Tensor:
    return (x - BETA[t] / (1 - ALPHA_BAR[t]).sqrt() * eps) / (1 - BETA[t]).sqrt()


def loop(
    mean: Callable[[Tensor, Tensor, int], Tensor] = eps_form,
    beta: Callable[[int], Tensor] = lambda t: BETA[t],
    stops_at: int = 0,
    draw: Callable[..., Tensor] = torch.randn,
) -> Adapter:
    """Algorithm 2 of Ho et al. in 500 steps."""

    def sample(model: Any, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        model.eval()
        x = torch.randn(shape, generator=generator)
        for t in reversed(range(500)):
            out = model(x, torch.full(shape[:1], t))
            if t == 0 and stops_at:
                break  # the last answer is not used
            x = mean(x, out, t)
            if t:
                x = x + beta(t).sqrt() * draw(shape, generator=generator)
        return x

    return Adapter(alpha_bar=lambda: ALPHA_BAR, sample=sample, name="loop")


@pytest.mark.parametrize("given", ["x_T", "z"])
def test_a_loop_that_draws_from_two_streams_is_replayed(given: str) -> None:
    """Such as x_T from the generator and z by `randn_like`: never the same numbers."""

    def sample(model: Any, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        model.eval()
        first, later = (generator, None) if given == "x_T" else (None, generator)
        x = torch.randn(shape, generator=first)
        for t in reversed(range(500)):
            x = eps_form(x, model(x, torch.full(shape[:1], t)), t)
            if t:
                x = x + BETA[t].sqrt() * torch.randn(shape, generator=later)
        return x

    report = judge(Adapter(alpha_bar=lambda: ALPHA_BAR, sample=sample), "quick", 0, beside=False)
    assert report.passed, str(report)
    assert "sampling/loop/weight-of-x_t" in {c.id for c in report.checks}


def test_a_right_loop_passes() -> None:
    report = judge(loop(), "quick", 0, beside=False)
    assert report.passed, str(report)
    assert {"sampling/loop/steps", "sampling/loop/weight-of-x_t"} <= {c.id for c in report.checks}


@pytest.mark.parametrize(
    ("bug", "mean"),
    each(
        2,
        [
            (
                "46",
                lambda x, e, t: x / (1 - BETA[t]).sqrt() - BETA[t] / (1 - ALPHA_BAR[t]).sqrt() * e,
            ),
            ("45-none", lambda x, e, t: eps_form(x, e, t) * (1 - BETA[t]).sqrt()),
        ],
    ),
)
def test_a_mean_that_no_std_shows_is_named(bug: str, mean: Callable[..., Tensor]) -> None:
    report = judge(loop(mean), "quick", 0, beside=False)
    assert [d.bug for d in report.diagnoses] == [bug], str(report)


def test_the_variance_of_the_next_step_is_found() -> None:
    report = judge(loop(beta=lambda t: BETA[min(t + 1, 499)]), "quick", 0, beside=False)
    assert report.exit_status == 1
    assert {c.id for c in report.checks if not c.passed} == {"sampling/loop/steps"}


def test_an_answer_that_is_thrown_away_is_found() -> None:
    report = judge(loop(stops_at=1), "quick", 0, beside=False)
    assert {c.id for c in report.checks if not c.passed} == {"sampling/loop/pictures"}


def test_noise_of_a_stream_of_its_own_is_seen_as_it_is_drawn() -> None:
    """Nothing of it can be replayed from the seed that the loop is given."""
    own = torch.Generator()

    def draw(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return torch.randn(shape, generator=own)

    def seeded(factor: float) -> Adapter:
        inside = loop(draw=draw, mean=lambda x, eps, t: eps_form(x, factor * eps, t))

        def sample(model: Any, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
            own.manual_seed(7 + generator.initial_seed())
            result: Tensor = inside.sample(model, shape, generator)  # type: ignore[misc]
            return result

        return Adapter(alpha_bar=lambda: ALPHA_BAR, sample=sample)

    report = judge(seeded(1.0), "quick", 0, beside=False)
    assert report.passed, str(report)
    assert "sampling/loop/steps" in {c.id for c in report.checks}
    report = judge(seeded(1.01), "quick", 0, beside=False)
    (told,) = report.diagnoses
    assert "your model output has -1.01 * beta_t" in told.explanation, str(report)


OF_NUMPY = {  # the global state of np.random, in other words
    "standard_normal": lambda shape: torch.from_numpy(np.random.standard_normal(shape)).float(),  # noqa: NPY002
    "normal": lambda shape: torch.tensor(np.random.normal(size=shape).astype("float32")),  # noqa: NPY002
    "randn": lambda shape: torch.from_numpy(np.random.randn(*shape)).float(),  # noqa: NPY002
}


@pytest.mark.parametrize("name", each(3, OF_NUMPY))
@pytest.mark.parametrize("start", each(2, [True, False]))
def test_noise_of_numpy_s_global_state_is_replayed(name: str, start: bool) -> None:
    """And so a wrong coefficient is told in letters, whichever stream x_T is of."""

    def seen(factor: float) -> Report:
        def sample(model: Any, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
            model.eval()
            draw = OF_NUMPY[name]
            x = draw(shape) if start else torch.randn(shape, generator=generator)
            for t in reversed(range(500)):
                x = eps_form(x, factor * model(x, torch.full(shape[:1], t)), t)
                if t:
                    x = x + BETA[t].sqrt() * draw(shape)
            return x

        own = Adapter(alpha_bar=lambda: ALPHA_BAR, sample=sample)
        return judge(own, "quick", 0, beside=False)

    report = seen(1.0)
    assert report.passed, str(report)
    assert "sampling/loop/weight-of-x_t" in {c.id for c in report.checks}
    (told,) = seen(1.01).diagnoses
    assert "your model output has -1.01 * beta_t" in told.explanation


def test_noise_of_another_kind_is_left_to_its_law() -> None:
    """A `default_rng` is no global state: from which seed it is made is not known."""
    own = np.random.default_rng(0)

    def draw(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return torch.from_numpy(own.standard_normal(shape)).float()

    inside = loop(draw=draw)

    def sample(model: Any, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        nonlocal own
        own = np.random.default_rng(generator.initial_seed())
        result: Tensor = inside.sample(model, shape, generator)  # type: ignore[misc]
        return result

    report = judge(Adapter(alpha_bar=lambda: ALPHA_BAR, sample=sample), "quick", 0, beside=False)
    assert report.passed, str(report)
    assert "sampling/loop/steps" not in {c.id for c in report.checks}


def test_the_same_numbers_at_two_steps_are_not_taken_for_two() -> None:
    x = torch.randn(3, 4, 1, 2, 2)
    z = torch.randn(4, 1, 2, 2)
    assert drawn_as_seen(x, 0 * x, [x[0], z, z]) is None


def test_what_is_not_a_sum_is_not_replayed() -> None:
    stream = torch.Generator().manual_seed(0)
    x, out = torch.randn(2, 2, 8, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    x[0], z = torch.randn(2, 8, 1, 8, 8, generator=stream)
    x[1] = (0.9 * x[0] + 0.5 * z).clamp(-1, 1)
    assert drawn(x, out, 0) is None


STRIDE = [*range(0, 500, 25)]


def strided(listed: list[int], told: Callable[[int, int], Any], eta: float = 0.3) -> Adapter:
    """DDIM over a list that rises; the model is told `told(t, place)`."""

    def sample(model: Any, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        model.eval()
        x = torch.randn(shape, generator=generator)
        for t in reversed(listed):
            place = STRIDE.index(t)
            ab = ALPHA_BAR[t]
            prev = ALPHA_BAR[STRIDE[place - 1]] if place else torch.ones(())
            eps = model(x, torch.full(shape[:1], told(t, place)))
            sigma = eta * ((1 - prev) / (1 - ab) * (1 - ab / prev)).sqrt()
            x_0 = ((x - (1 - ab).sqrt() * eps) / ab.sqrt()).clamp(-1, 1)
            z = torch.randn(shape, generator=generator)
            x = prev.sqrt() * x_0 + (1 - prev - sigma**2).sqrt() * eps + sigma * z
        return x

    return Adapter(alpha_bar=lambda: ALPHA_BAR, sample=sample, name="strided")


@pytest.mark.parametrize("eta", each(2, [0.3, 0.0, 1.0]))
def test_any_eta_passes_and_so_does_t_over_T(eta: float) -> None:
    report = judge(strided(STRIDE, lambda t, i: t / 500, eta), "quick", 0, beside=False)
    assert report.passed, str(report)
    assert "sampling/loop/t-scale" in {c.id for c in report.checks}


@pytest.mark.parametrize(
    ("bug", "listed", "told"),
    [("78", STRIDE, lambda t, i: i), ("79", STRIDE[1:], lambda t, i: t)],
)
def test_a_place_for_t_and_a_missing_last_step(bug: str, listed: list, told: Any) -> None:
    report = judge(strided(listed, told), "quick", 0, beside=False)
    assert [d.bug for d in report.diagnoses] == [bug], str(report)
