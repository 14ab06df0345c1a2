"""Programs with several mistakes at once: where one hides another, both are told, or neither."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from compare import Adapter
from compare.verdict.judge import judge
from compare.verdict.report import Report
from tests.often import each

T = 60
BETA = torch.linspace(1e-3, 0.2, T, dtype=torch.float64)
ALPHA_BAR = (1 - BETA).cumprod(0)


def whole(x: Tensor) -> Tensor:
    return x


def cut(x: Tensor) -> Tensor:
    return ((x.clamp(-1, 1) + 1) / 2 * 255).type(torch.uint8)


def rounded(x: Tensor) -> Tensor:
    return ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


@dataclass(frozen=True)
class Loop:
    """Algorithm 2; its last step adds no noise, at whatever t it is."""

    stop: int = 0
    root: float = 0.5
    thrown: bool = False
    end: Callable[[Tensor], Tensor] = whole
    draw: Callable[..., Tensor] = torch.randn
    of: Callable[[tuple[int, ...]], tuple[int, ...]] = tuple
    beta: Tensor = BETA

    def __call__(self, model, shape, generator):
        alpha_bar = (1 - self.beta).cumprod(0)
        model.eval()
        x = torch.randn(shape, generator=generator)
        for i in range(len(self.beta) - 1, self.stop - 1, -1):
            out = model(x, torch.full((shape[0],), i))
            if self.thrown and i == 0:
                break
            mean = x - self.beta[i] / (1 - alpha_bar[i]) ** self.root * out
            mean = mean / (1 - self.beta[i]).sqrt()
            z = self.draw(self.of(shape), generator=generator) if i > self.stop else 0.0
            x = (mean + self.beta[i].sqrt() * z).float()
        return self.end(x)


class Ddim(Loop):
    """Eq. 12 of Song et al. without noise, the direction subtracted."""

    def __call__(self, model, shape, generator):
        model.eval()
        x = torch.randn(shape, generator=generator)
        for i in range(T - 1, self.stop - 1, -1):
            out = model(x, torch.full((shape[0],), i)).double()
            before = ALPHA_BAR[i - 1] if i else torch.ones(())
            x_0 = (x - (1 - ALPHA_BAR[i]).sqrt() * out) / ALPHA_BAR[i].sqrt()
            x = (before.sqrt() * x_0 - (1 - before).sqrt() * out).float()
        return x


def judged(loop: Loop, **roles: object) -> Report:
    alpha_bar = (1 - loop.beta).cumprod(0)
    adapter = Adapter(alpha_bar=lambda: alpha_bar, sample=loop, **roles)
    return judge(adapter, "quick", 0, beside=False)


def named(report: Report) -> list[str | None]:
    return [d.bug for d in report.diagnoses]


def loss(model, x_0, generator):
    """t = 0 is never drawn."""
    t = torch.randint(1, T, (len(x_0),), generator=generator)
    noise = torch.randn(x_0.shape, generator=generator)
    a = ALPHA_BAR[t].reshape(-1, 1, 1, 1)
    return (model((a.sqrt() * x_0 + (1 - a).sqrt() * noise).float(), t) - noise).square().mean()


@pytest.mark.parametrize(
    ("loop", "bugs"),
    each(
        3,
        [
            (Loop(stop=1), ["79"]),
            (Loop(stop=1, end=rounded), ["79"]),
            (Loop(stop=1, end=cut), ["79", "69"]),
            (Loop(stop=1, root=1.0), ["79", "43"]),
            (Loop(stop=1, end=lambda x: x.clamp(0, 1)), ["79", None]),
        ],
    ),
)
def test_behind_a_list_that_ends_early_steps_and_end_are_judged(loop: Loop, bugs: list) -> None:
    assert named(judged(loop)) == bugs


def test_a_loss_beside_keeps_its_own() -> None:
    assert named(judged(Loop(stop=1, end=cut), loss=loss)) == ["79", "69", "20-first"]


def test_behind_a_list_that_ends_early_a_coefficient_is_told_in_letters() -> None:
    report = judged(Ddim(stop=1))
    assert named(report) == ["79", None]
    assert "your eps has -sqrt(1 - ab_prev), should have sqrt(1 - ab_prev)" in str(report)


def for_image(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], *[1] * (len(shape) - 1))


def for_channel(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:2], *[1] * (len(shape) - 2))


def for_batch(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (1, *shape[1:])


def centred(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return 2 * torch.rand(shape, generator=generator) - 1


@pytest.mark.parametrize(
    ("draw", "of", "bugs"),
    each(
        3,
        [
            (torch.rand, for_image, {"63", "62-image"}),
            (torch.randn, for_image, {"62-image"}),
            (torch.rand, for_channel, {"63", "62-channel"}),
            (torch.randn, for_channel, {"62-channel"}),
            (torch.rand, for_batch, {"63", "62"}),
            (torch.rand, tuple, {"63"}),
            (centred, for_image, {"63-centred", "62-image"}),
        ],
    ),
)
def test_two_mistakes_of_one_draw_are_both_named(draw, of, bugs: set) -> None:
    assert set(named(judged(Loop(draw=draw, of=of)))) == bugs


def test_another_law_of_few_numbers_has_no_name() -> None:
    """Shared by the pixels of an image, and neither normal nor uniform from 0 or -1 to 1."""

    def far(shape, generator):
        return torch.rand(shape, generator=generator) + 2

    assert named(judged(Loop(draw=far, of=for_image))) == [None]


def test_of_a_step_too() -> None:
    def step(out, t, x, generator):
        mean = (x - BETA[t] / (1 - ALPHA_BAR[t]).sqrt() * out) / (1 - BETA[t]).sqrt()
        z = torch.rand(for_channel(x.shape), generator=generator)
        return (mean + (t > 0) * BETA[t].sqrt() * z).float()

    report = judge(Adapter(alpha_bar=lambda: ALPHA_BAR, step=step), "quick", 0, beside=False)
    assert set(named(report)) == {"63", "62-channel"}, str(report)


def test_a_list_is_not_named_where_nothing_behind_it_is() -> None:
    """Steps that are no DDPM's may stand for another reading of the list."""

    class Odd(Loop):
        def __call__(self, model, shape, generator):
            model.eval()
            x = torch.randn(shape, generator=generator)
            for i in range(T - 1, 0, -1):
                out = model(x, torch.full((shape[0],), i)).sin()
                x = (0.9 * x - 0.3 * out + 0.1 * torch.randn(shape, generator=generator)).float()
            return x

    assert named(judged(Odd())) == [None]


@pytest.mark.long
def test_the_end_is_judged_whatever_the_steps_made_of_x() -> None:
    """Such as numbers in the thousands."""
    beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    assert named(judged(Loop(root=1.0, thrown=True, beta=beta))) == ["79-thrown", "43"]
