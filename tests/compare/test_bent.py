"""What a step of a loop that is no sum makes of one of its parts is told by that part."""

from itertools import product

import pytest
import torch

from compare import Adapter
from compare.verdict.judge import judge
from tests.often import each

T = 60
BETAS = torch.linspace(1e-3, 0.2, T, dtype=torch.float64)
ALPHA_BAR = (1 - BETAS).cumprod(0)


def same(part):
    return part


def loop(of_x_0=same, of_x_t=same, of_out=same, of_mean=same, of_prev=same, kind="epsilon"):
    """Ho et al. eq. 7, with something made of a part."""

    def sample(model, shape, generator):
        model.eval()
        x = torch.randn(shape, generator=generator)
        for t in reversed(range(T)):
            ab, b = ALPHA_BAR[t], BETAS[t]
            before = ALPHA_BAR[t - 1] if t else torch.ones((), dtype=torch.float64)
            out = of_out(model(x, torch.full(shape[:1], t)).double())
            x_0 = ab.sqrt() * x - (1 - ab).sqrt() * out
            x_0 = (x - (1 - ab).sqrt() * out) / ab.sqrt() if kind == "epsilon" else x_0
            mean = before.sqrt() * b / (1 - ab) * of_x_0(x_0)
            mean = mean + (1 - b).sqrt() * (1 - before) / (1 - ab) * of_x_t(x)
            if t:
                z = torch.randn(shape, generator=generator)
                x = of_prev(of_mean(mean) + (b * (1 - before) / (1 - ab)).sqrt() * z).float()
        return mean.float()

    return Adapter(lambda: ALPHA_BAR, sample=sample, prediction_type=kind)


def test_a_clip_that_does_not_act_is_none():
    assert judge(loop(of_x_0=lambda x_0: x_0.clamp(-1, 1)), "quick", 0, beside=False).passed


MADE = {  # {what is made of a part: what is said}
    "x0-hat is limited to [-0.4, 0.3]": {"of_x_0": lambda x_0: x_0.clamp(-0.4, 0.3)},
    "x0-hat is limited to 0 and more": {"of_x_0": torch.relu},
    "x0-hat is limited to 0.25 and less": {"of_x_0": lambda x_0: x_0.clamp(max=0.25)},
    "x_t beside x0-hat is limited to [-1.5, 1.5]": {"of_x_t": lambda x: x.clamp(-1.5, 1.5)},
    "x_t beside x0-hat is limited to [-2.5, 2.5]": {"of_x_t": lambda x: x.clamp(-2.5, 2.5)},
    "the model's output is limited to [-1, 1]": {"of_out": lambda out: out.clamp(-1, 1)},
    "the mean is limited to [-1, 1]": {"of_mean": lambda mean: mean.clamp(-1, 1)},
    "x0-hat of image 0 is that of image 31 of the batch": {"of_x_0": lambda x_0: x_0.roll(1, 0)},
    "x0-hat is divided by the largest value of the batch": {"of_x_0": lambda x: x / x.abs().max()},
    "x0-hat is divided by the largest value of its image": {
        "of_x_0": lambda x: x / x.abs().amax(dim=(1, 2, 3), keepdim=True)
    },
    "x0-hat is bent: ": {"of_x_0": lambda x_0: x_0.sin()},
}


@pytest.mark.parametrize(("said", "kind"), each(5, product(MADE, ["epsilon", "v_prediction"])))
def test_what_is_made_of_a_part_is_told(said, kind):
    report = judge(loop(**MADE[said], kind=kind), "quick", 0, beside=False)
    assert report.diagnoses[0].bug is None
    assert report.diagnoses[0].explanation.startswith(f"loop/bent: {said}"), str(report)
