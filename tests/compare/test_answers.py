"""A model that gives minus what it predicts, or the score: a convention if all of a program has it.
And functions whose file says that t counts from 1, and steps that ask a model themselves."""

from pathlib import Path

import pytest

from compare.candidate.text.does import counts_from_one
from tests.compare.written import judged_file

ALL = """
import torch

T = 60
betas = torch.linspace(1e-3, 0.2, T)
ab = (1 - betas).cumprod(0)

class Program:
    alphas_cumprod = ab

    def loss(self, model, x0):
        t, z = torch.randint(0, T, (len(x0),)), torch.randn_like(x0)
        a = ab[t].view(-1, 1, 1, 1)
        return ((EPS(model(a.sqrt() * x0 + (1 - a).sqrt() * z, t), a) - z) ** 2).mean()

    @torch.no_grad()
    def sample(self, model, n):
        model.eval()
        x = torch.randn(n, 3, 8, 8)
        for i in reversed(range(T)):
            eps = EPS(model(x, torch.full((n,), i)), ab[i])
            x = (x - betas[i] / (1 - ab[i]).sqrt() * eps) / (1 - betas[i]).sqrt()
            x = x + betas[i].sqrt() * torch.randn_like(x) if i else x
        return x
"""
ANSWERS = {"minus": "-out", "score": "-out * (1 - a).sqrt()"}
FUNCTIONS = """
import torch

T = 60
alpha_bar = (1 - torch.linspace(1e-3, 0.2, T)).cumprod(0)

def q_sample(x0, t, noise):
    s, n = alpha_bar[t - 1].view(-1, 1, 1, 1), alpha_bar[t - 1].view(-1, 1, 1, 1)
    return s.sqrt() * x0 + (1 - n).sqrt() * noise

def loss(model, x0):
    t, noise = torch.randint(1, T + 1, (len(x0),)), torch.randn_like(x0)
    return ((model(q_sample(x0, t, noise), t) - noise) ** 2).mean()
"""
OWNER = """
import torch
import torch.nn.functional as F

class DenoiseDiffusion:
    def __init__(self, eps_model, n_steps=60):
        self.eps_model, self.n_steps = eps_model, n_steps
        self.beta = torch.linspace(1e-3, 0.2, n_steps)
        self.alpha_bar = (1 - self.beta).cumprod(0)

    def q_sample(self, x0, t, eps):
        a = self.alpha_bar[t].view(-1, 1, 1, 1)
        return a.sqrt() * x0 + (1 - a).sqrt() * eps

    def p_sample(self, xt, t):
        out = self.eps_model(xt, TOLD)
        b, a = self.beta[t].view(-1, 1, 1, 1), self.alpha_bar[t].view(-1, 1, 1, 1)
        mean = (xt - b / (1 - a).sqrt() * out) / (1 - b).sqrt()
        return mean + (t > 0).float().view(-1, 1, 1, 1) * b.sqrt() * torch.randn(xt.shape)

    def loss(self, x0):
        t, noise = torch.randint(0, self.n_steps, (len(x0),)), torch.randn_like(x0)
        return F.mse_loss(noise, self.eps_model(self.q_sample(x0, t, noise), t))
"""


def with_answers(by_loss: str, by_loop: str) -> str:
    """A program whose model gives what these two words say."""
    text = ALL.replace("EPS", "of_loss", 1).replace("EPS", "of_loop")
    defined = [f"def {n}(out, a):\n    return {v}\n" for n, v in (("of_loss", by_loss),)]
    defined.append(f"def of_loop(out, a):\n    return {by_loop}\n")
    return text + "\n" + "\n".join(defined)


@pytest.mark.parametrize("answers", ANSWERS)
def test_what_all_of_a_program_shares_is_a_convention(answers: str, tmp_path: Path) -> None:
    text = with_answers(ANSWERS[answers], ANSWERS[answers])
    report = judged_file(tmp_path, "Program", text)
    assert report.exit_status == 0, str(report)
    assert answers in str(report.readings["answers"]["words"])


@pytest.mark.parametrize("answers", ANSWERS)
@pytest.mark.parametrize("alone", ["loss", "loop"])
def test_what_one_of_the_two_has_alone_is_a_mistake(
    alone: str, answers: str, tmp_path: Path
) -> None:
    by = ("out", ANSWERS[answers])
    text = with_answers(*(by if alone == "loop" else by[::-1]))
    report = judged_file(tmp_path, "Program", text)
    assert report.exit_status == 1
    assert report.readings["answers"]["words"] == ""


@pytest.mark.parametrize("answers", ANSWERS)
def test_a_slip_in_a_loop_leaves_the_loss_alone(answers: str, tmp_path: Path) -> None:
    text = with_answers(ANSWERS[answers], ANSWERS[answers])
    right = "betas[i] / (1 - ab[i]).sqrt() * eps"
    assert right in text
    report = judged_file(tmp_path, "Program", text.replace(right, f"0.5 * {right}"))
    assert report.exit_status == 1
    assert all(check.passed for check in report.checks if check.stage == "loss"), str(report)
    assert "-0.5 * beta_t" in str(report)


def test_a_function_counts_as_those_that_call_it(tmp_path: Path) -> None:
    report = judged_file(tmp_path, "q_sample", FUNCTIONS)
    assert report.exit_status == 0, str(report)
    right = "s, n = alpha_bar[t - 1].view(-1, 1, 1, 1), alpha_bar[t - 1]"
    assert right in FUNCTIONS
    wrong = FUNCTIONS.replace(right, right[:-2] + "2]")
    report = judged_file(tmp_path, "q_sample", wrong)
    assert "your noise has sqrt(1 - ab[t - 1])" in str(report)


def test_t_that_is_lowered_before_it_is_used_counts_from_0() -> None:
    import ast

    drawn = "t = torch.randint(1, T + 1, (8,))\n"
    assert counts_from_one(ast.parse(drawn + "x = q(x, t)"))
    assert not counts_from_one(ast.parse(drawn + "x = q(x, t - 1)"))


@pytest.mark.parametrize("told", ["t", "self.n_steps - 1 - t", "t.float() / 60"])
def test_what_a_step_tells_its_model_is_what_the_loss_tells(told: str, tmp_path: Path) -> None:
    report = judged_file(tmp_path, "DenoiseDiffusion", OWNER.replace("TOLD", told))
    assert report.exit_status == int(told != "t"), str(report)
    wrong = {check.id for check in report.checks if not check.passed}
    assert wrong == (set() if told == "t" else {"loss/told"})


def test_a_mistake_that_is_tried_asks_no_step_again(tmp_path: Path) -> None:
    counted = OWNER.replace("TOLD", "t").replace(
        "        out = self.eps_model(xt, t)",
        "        open(COUNT, 'a').write('x')\n        out = self.eps_model(xt, t)",
    )
    calls = []
    for slip in ("self.n_steps, (len(x0),)", "self.n_steps - 1, (len(x0),)"):
        text = counted.replace("self.n_steps, (len(x0),)", slip)
        file = tmp_path / str(len(calls))
        report = judged_file(tmp_path, "DenoiseDiffusion", f"COUNT = {str(file)!r}\n{text}")
        assert report.exit_status == len(calls), str(report)
        calls.append(len(file.read_text()))
    assert calls[0] == calls[1]
