"""A loop that returns the pictures after each of its steps, not the last alone."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import compare
from compare import Adapter

T = 60
BETAS = torch.linspace(1e-4, 0.02, T)
AB = (1 - BETAS).cumprod(0)
Return = Callable[[list[Tensor]], Any]


def adapter(returned: Return, share: float = 1.0) -> Adapter:
    """A loop of which `returned` makes an answer; its noise is `share` of what it should be."""

    def sample(model: nn.Module, shape: tuple[int, ...]) -> Any:
        x = torch.randn(shape)
        course = [x]
        for t in reversed(range(T)):
            out = model(x, torch.full((shape[0],), t))
            x = (x - BETAS[t] / (1 - AB[t]).sqrt() * out) / (1 - BETAS[t]).sqrt()
            x = x + (t > 0) * share * BETAS[t].sqrt() * torch.randn_like(x)
            course.append(x)
        return returned(course)

    return Adapter(alpha_bar=lambda: AB, sample=sample)


RETURNED: dict[str, Return] = {
    "a list": lambda course: course,
    "a list of arrays": lambda course: [each.numpy() for each in course],
    "stacked": torch.stack,
    "beside the pictures": lambda course: (course[-1], course),
    "in a dict": lambda course: {"x": course[-1], "steps": T},
    "a list of pictures": lambda course: [*course[-1]],
}


@pytest.mark.parametrize("returned", RETURNED.values(), ids=RETURNED)
def test_the_last_pictures_are_judged(returned: Return) -> None:
    right, wrong = (compare.run(adapter(returned, share)) for share in (1.0, 0.9))
    assert right.passed, right.verdict
    assert wrong.exit_status == 1
    assert "0.9" in wrong.verdict


def test_the_card_says_so() -> None:
    alone, listed = (compare.run(adapter(RETURNED[name])) for name in ("a list", "stacked"))
    assert "after each of its steps" in alone.conventions["returned"]
    assert listed.conventions == alone.conventions
    assert "returned" not in compare.run(adapter(lambda course: course[-1])).conventions
