"""DPM-Solver++(2M), whose step goes by the one before it: as a class, and as a loop."""

from pathlib import Path

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from torch.testing import assert_close

from compare.candidate.from_oracle import scheduler
from compare.candidate.subject import Subject
from compare.measure.tolerances import FACTOR, UNIT
from compare.oracle import F64, Oracle, Setting
from compare.oracle.samplers import DPMSolver
from tests.compare.written import judged_file

CLASS = """
import torch

class Solver:
    def __init__(self):
        self.T = 40
        betas = torch.linspace(1e-3, 0.3, self.T, dtype=torch.float64)
        self.alphas_cumprod = torch.cumprod(1 - betas, 0)
        self.a, self.s = self.alphas_cumprod.sqrt(), (1 - self.alphas_cumprod).sqrt()
        self.lam = self.a.log() - self.s.log()
        self.set_timesteps(self.T)

    def set_timesteps(self, n):
        self.timesteps = torch.arange(n - 1, -1, -1) * (self.T // n)
        self.old = []

    def step(self, eps, t, x):
        t = int(t)
        i = self.timesteps.tolist().index(t)
        x0 = (x - self.s[t] * eps) / self.a[t]
        if i + 1 == len(self.timesteps):
            return x0.float()
        p = int(self.timesteps[i + 1])
        h, d = self.lam[p] - self.lam[t], x0
        if self.old:
            r = (self.lam[t] - self.old[-1][1]) / h
            d = (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * self.old[-1][0]
        self.old.append((x0, self.lam[t]))
        return (self.s[p] / self.s[t] * x - self.a[p] * torch.expm1(-h) * d).float()
"""
LOOP = """
import torch

ab = torch.cumprod(1 - torch.linspace(1e-4, 0.03, 400), 0)

class Solver:
    def __init__(self):
        self.alphas_cumprod = ab

    @torch.no_grad()
    def sample(self, model, shape, n=20):
        x, old, h_old = torch.randn(shape), None, None
        ts = torch.linspace(399, 0, n).round().long().tolist()
        for t, p in zip(ts, ts[1:] + [-1]):
            v = model(x, torch.full((shape[0],), t))
            x0 = (ab[t].sqrt() * x - (1 - ab[t]).sqrt() * v).clamp(-1, 1)
            if p < 0:
                return x0
            lam = (ab / (1 - ab)).log() / 2
            h = lam[p] - lam[t]
            d = x0 if old is None else x0 + h / (2 * h_old) * (x0 - old)
            shrinks = ((1 - ab[p]) / (1 - ab[t])).sqrt()
            x = shrinks * x + ab[p].sqrt() * (1 - torch.exp(-h)) * d
            old, h_old = x0, h

    def loss(self, model, x0):
        t, e = torch.randint(0, 400, (len(x0),)), torch.randn_like(x0)
        a = ab[t].view(-1, 1, 1, 1)
        v = a.sqrt() * e - (1 - a).sqrt() * x0
        return ((model(a.sqrt() * x0 + (1 - a).sqrt() * e, t) - v) ** 2).mean()
"""
COUNTS = CLASS.replace("self.old = []", "self.old, self.i = [], 0").replace(
    "        i = self.timesteps.tolist().index(t)\n", "        i, self.i = self.i, self.i + 1\n"
)
OF_CLASS = [  # (what is right, what stands there instead, what is said)
    ("(self.lam[t] - self.old[-1][1]) / h", "h / (self.lam[t] - self.old[-1][1])", "82-solver:"),
    ("(1 + 1 / (2 * r)) * x0 - 1 / (2 * r)", "(1 + 1 / r) * x0 - 1 / r", "82-solver-r:"),
    ("(1 + 1 / (2 * r)) * x0 - 1", "(1 - 1 / (2 * r)) * x0 + 1", "82-solver-neg:"),
    ("self.s[p] / self.s[t] * x", "self.a[p] / self.a[t] * x", "83-solver:"),
    ("self.a[p] * torch.expm1", "self.a[t] * torch.expm1", "83-solver-ab:"),
    ("self.a.log() - self.s.log()", "2 * (self.a.log() - self.s.log())", "83-solver-snr:"),
    ("append((x0, ", "append((eps, ", "step-before: what a step keeps of the one before it is"),
]
OF_LOOP = [
    ("h / (2 * h_old)", "h_old / (2 * h)", "82-solver:"),
    ("h / (2 * h_old)", "h / h_old", "82-solver-r:"),
    ("(x0 - old)", "(old - x0)", "82-solver-neg:"),
    ("shrinks * x", "(ab[p] / ab[t]).sqrt() * x", "83-solver:"),
    ("ab[p].sqrt() * (1", "ab[t].sqrt() * (1", "83-solver-ab:"),
    ("(ab / (1 - ab)).log() / 2", "(ab / (1 - ab)).log()", "83-solver-snr:"),
]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CLASS, "DPM-Solver++(2M), without noise (read off)"),
        (COUNTS, "DPM-Solver++(2M), without noise (read off)"),
        (LOOP, "not read, as there is no step"),
    ],
    ids=["class", "one that counts its calls", "loop"],
)
def test_a_right_one_passes_and_is_told_whose_step_it_is(
    tmp_path: Path, text: str, said: str
) -> None:
    report = judged_file(tmp_path, "Solver", text)
    assert report.exit_status == 0, str(report)
    assert report.conventions["variance"] == said


@pytest.mark.parametrize(
    ("text", "slip"),
    [(CLASS, slip) for slip in OF_CLASS] + [(LOOP, slip) for slip in OF_LOOP],
    ids=lambda part: part[2].partition(":")[0] if isinstance(part, tuple) else "",
)
def test_a_slip_is_named(tmp_path: Path, text: str, slip: tuple[str, str, str]) -> None:
    right, wrong, said = slip
    assert text.count(right) == 1
    report = judged_file(tmp_path, "Solver", text.replace(right, wrong))
    assert report.exit_status == 1, str(report)
    assert said in str(report)


def test_what_is_kept_of_the_chain_before_is_found(tmp_path: Path) -> None:
    """Where no chain begins anew, the first step of the second goes by the last of the first."""
    text = CLASS.replace("        self.old = []\n", "").replace(
        "self.T = 40", "self.T, self.old = 40, []"
    )
    report = judged_file(tmp_path, "Solver", text)
    assert report.exit_status != 0
    assert {c.stage for c in report.checks if not c.passed} == {"sampling"}


def test_a_step_that_corrects_the_noise_is_left_open(tmp_path: Path) -> None:
    """Adams and Bashforth's, which is right as what it is."""
    of_noise = "eps = eps if not self.old else 1.5 * eps - 0.5 * self.old[-1][0]"
    text = CLASS.replace("        x0 = (x", f"        told = eps; {of_noise}\n        x0 = (x")
    text = text.replace("        if self.old:", "        if False:")
    text = text.replace("append((x0, ", "append((told, ")
    report = judged_file(tmp_path, "Solver", text)
    assert report.exit_status == 2, str(report)
    assert "those of other multistep solvers are not judged" in str(report)


def test_the_form_for_the_noise_is_left_open(tmp_path: Path) -> None:
    """DPM-Solver's own, which corrects the noise in place of x0-hat."""
    text = LOOP
    for right, other in {
        ".clamp(-1, 1)": "; eps = (1 - ab[t]).sqrt() * x + ab[t].sqrt() * v",
        "x0 if old is None else x0 +": "eps if old is None else eps +",
        "(x0 - old)": "(eps - old)",
        "shrinks * x": "(ab[p] / ab[t]).sqrt() * x",
        "ab[p].sqrt() * (1 - torch.exp(-h))": "(1 - ab[p]).sqrt() * (1 - torch.exp(h))",
        "old, h_old = x0": "old, h_old = eps",
    }.items():
        assert text.count(right) == 1
        text = text.replace(right, other)
    report = judged_file(tmp_path, "Solver", text)
    assert report.exit_status == 2, str(report)
    assert "other multistep solvers" in str(report)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # theirs
def test_the_chain_of_the_oracle_is_that_of_diffusers() -> None:
    """Twelve steps on one network; both compute in float32, and errors add up over the steps."""
    theirs = DPMSolverMultistepScheduler(beta_end=0.02, timestep_spacing="trailing")
    ours = scheduler(Oracle(), DPMSolver.name)(timestep_spacing="trailing", clip_sample=False)
    for each in (theirs, ours):
        each.set_timesteps(12)
    listed = [int(t) for t in theirs.timesteps]
    assert listed == ours.timesteps.tolist()
    x_T = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    ends = []
    for each in (theirs, ours):
        x = x_T
        for t in listed:
            x = each.step(0.8 * x.tanh(), t, x).prev_sample
        ends.append(x)
    size = float(ends[1].abs().max())
    lam = 5.1  # the largest, of t = 999: the difference of two is rounded by so much of its size
    assert_close(ends[0], ends[1], rtol=0, atol=12 * FACTOR * UNIT * (1 + lam) * size)


def test_it_comes_to_a_step_through_its_list() -> None:
    """After zeros its step adds to x0-hat what DDIM's does not; they agree at the first."""
    setting = Setting(num_train_timesteps=30, beta_end=0.4, sampler=DPMSolver.name)
    subject = Subject(scheduler(Oracle(), DPMSolver.name), "solver", base=setting)
    built = subject.scheduler()
    built.visit(None)
    one, zero = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    by_t = {t: built.alone(one, t, zero, 0).prev for t in (29, 12)}
    again = built.alone(one, 12, zero, 0, before=(one, zero)).prev
    right, ddim = Oracle(), Setting(num_train_timesteps=30, beta_end=0.4, sampler="ddim")
    table = right.alpha_bar(setting)
    for t, same in ((29, True), (12, False)):
        at, prev = torch.tensor([[t]]), torch.tensor([[t - 1]])
        level = right.level(table, at, prev, ddim)
        plain = right.step_mean(torch.ones(1, 4, dtype=F64), torch.zeros(1, 4).to(F64), level, ddim)
        assert torch.allclose(by_t[t].reshape(1, 4), plain, rtol=1e-5) == same
    assert (again - by_t[12]).abs().min() > 0.01


def test_a_loop_may_end_at_the_first_noise_of_its_list(tmp_path: Path) -> None:
    """As the solver's own list does; what is left of the noise is said."""
    text = LOOP.replace("            if p < 0:\n                return x0\n", "").replace(
        "zip(ts, ts[1:] + [-1])", "zip(ts, ts[1:])"
    )
    text = text.replace(
        "            old, h_old = x0, h\n", "            old, h_old = x0, h\n        return x\n"
    )
    report = judged_file(tmp_path, "Solver", text)
    assert report.exit_status == 0, str(report)
    assert "sampling/loop/last-alpha" in [check.id for check in report.checks]
