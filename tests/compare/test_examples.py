"""The adapters of docs/examples: right as they stand, and a slip in each is named."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from compare.verdict.judge import judge
from tests.often import each

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", each(2, ["labml_like", "lucidrains_like", "minimal_loop"]))
def test_an_example_is_right(name: str) -> None:
    report = judge(f"{EXAMPLES / name}.py:adapted", "quick", 0, beside=False)
    assert report.passed, str(report)
    assert {c.stage for c in report.checks} >= {"schedule", "sampling", "loss"}


def test_noise_at_the_last_step_is_named_in_a_class_like_labml() -> None:
    module = example("labml_like")

    class Noisy(module.DenoiseDiffusion):
        def p_sample(self, xt, t):
            """As ever, but the noise of t = 0, which is drawn there too, is not masked."""
            state = torch.get_rng_state()
            x_prev = super().p_sample(xt, t)
            torch.set_rng_state(state)
            last = (t == 0).reshape(-1, 1, 1, 1)
            return x_prev + last * self.sigma2[0] ** 0.5 * torch.randn_like(xt)

    report = judge(module.adapt(Noisy), "quick", 0, beside=False)
    assert [d.bug for d in report.diagnoses][:1] == ["56"], str(report)


def test_a_variance_for_a_deviation_is_named_in_a_module_like_lucidrains() -> None:
    module = example("lucidrains_like")

    class Overdone(module.GaussianDiffusion):
        def q_posterior(self, x_start, x_t, t):
            law = super().q_posterior(x_start, x_t, t)
            return law._replace(log_variance=2 * law.log_variance)

    report = judge(module.adapt(Overdone), "quick", 0, beside=False)
    assert report.diagnoses[0].bug == "49", str(report)


def test_a_single_t_for_the_batch_is_named_in_a_script() -> None:
    module = example("minimal_loop")

    def loss(model, x0):
        t = torch.randint(0, module.T, (1,)).expand(len(x0))
        noise = torch.randn_like(x0)
        a = module.alphas_bar[t][:, None, None, None]
        return ((model(a.sqrt() * x0 + (1 - a).sqrt() * noise, t) - noise) ** 2).mean()

    from dataclasses import replace

    report = judge(replace(module.adapted, loss=loss), "quick", 0, beside=False)
    assert [(d.bug, d.stage) for d in report.diagnoses] == [("19", "loss")], str(report)
