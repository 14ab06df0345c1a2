"""Stage variance: its power at the limit, and noise that cannot be drawn again."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from compare.candidate.from_oracle import scheduler
from compare.oracle import Oracle, Setting
from compare.verdict.judge import judge
from tests.often import each

RIGHT = Oracle()


@pytest.mark.parametrize(
    ("t", "stride"),
    each(3, [(1, 1), (999, 1), (500, 1), (980, 20), (20, 20)]),
    ids=lambda value: str(value),
)
def test_one_per_cent_of_one_std_is_found(t: int, stride: int) -> None:
    """At a single t of the chain of 1000 steps, or of that of 50 (stride 20) alone."""

    def std(kind, level, out=None):
        size = RIGHT.std(kind, level, out)
        there = (level.t == t) & (level.prev == t - stride)
        return torch.where(there, size * 1.01, size)

    class Weak(scheduler(replace(RIGHT, std=std))):
        def __init__(self):
            super().__init__(clip_sample=False)

    report = judge(Weak, "quick", 0, beside=False)
    failing = [c for c in report.checks if not c.passed]
    chain = "fixed_small" if stride == 1 else "fixed_small/leading-50"
    assert [c.id for c in failing] == [f"variance/{chain}"], str(report)
    assert f"t={t}," in failing[0].message
    assert [d.stage for d in report.diagnoses] == ["variance"]


def test_noise_that_torch_cannot_draw_again_is_no_fault() -> None:
    """Its z is read off a step of the candidate's own, as precisely as float32 says it."""

    class Numpy(scheduler(RIGHT)):
        def __init__(self, beta_schedule="linear", variance_type="fixed_small"):
            super().__init__(
                beta_schedule=beta_schedule, variance_type=variance_type, clip_sample=False
            )

        def step(self, model_output, timestep, sample):
            result = super().step(model_output, timestep, sample)
            _, sigma, noisy = self._at(int(timestep), self.setting)
            if noisy:
                drawn = np.random.standard_normal(tuple(sample.shape))  # noqa: NPY002
                result.prev_sample = result.prev_sample + sigma * torch.tensor(drawn).float()
            return result

        oracle = replace(RIGHT, draw=lambda shape, generator, dtype: torch.zeros(shape))

    report = judge(Numpy, "quick", 0, beside=False, base=Setting(num_train_timesteps=1000))
    assert report.passed, str(report)
