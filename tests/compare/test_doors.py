"""How a scheduler is called is read, and no door hides a mistake.

Right programs behind other doors; convention, mistake or undecided, case by case; and mistakes of
the catalogue behind each door.
"""

import inspect
import json
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import compare
from compare.candidate.door.reading import told_by
from compare.candidate.from_oracle import scheduler
from compare.mistakes import MISTAKES, WHOLE, Mistake
from compare.oracle import Oracle, Setting
from compare.verdict.judge import judge
from compare.verdict.report import Report
from tests.often import each

SHORT = Setting(num_train_timesteps=30, beta_start=0.001, beta_end=0.4)


class Base:
    """Tables, and the formulas that every program below calls."""

    def __init__(self):
        self.betas = torch.linspace(1e-3, 0.4, 30)
        self.alphas = 1 - self.betas
        self.alphas_cumprod = self.alphas.cumprod(0)

    def noised(self, x, e, t):
        a = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)
        return a.sqrt() * x + (1 - a).sqrt() * e

    def mean(self, eps, t, x):
        beta, ab = self.betas[t], self.alphas_cumprod[t]
        return (x - beta / (1 - ab).sqrt() * eps) / self.alphas[t].sqrt()

    def sigma(self, t):
        return self.betas[t].sqrt() if t > 0 else 0.0


class OtherOrder(Base):
    def add_noise(self, x_0, noise, t):
        return self.noised(x_0, noise, t)

    def step(self, x_t, t, noise_pred):
        return self.mean(noise_pred, t, x_t) + self.sigma(t) * torch.randn_like(x_t)


class PictureFirst(OtherOrder):
    def step(self, x, t, eps):
        return self.mean(eps, t, x) + self.sigma(t) * torch.randn_like(x)


class TimeFirst(OtherOrder):
    def add_noise(self, t, x_start, eps):
        return self.noised(x_start, eps, t)

    def step(self, t, xt, e_t):
        return self.mean(e_t, t, xt) + self.sigma(t) * torch.randn_like(xt)


class ByKeyword(OtherOrder):
    def step(self, sample, *, predicted_noise, timestep):
        z = torch.randn_like(sample)
        return self.mean(predicted_noise, timestep, sample) + self.sigma(timestep) * z


class FromOne(Base):
    def add_noise(self, x_0, noise, t):
        return self.noised(x_0, noise, t - 1)

    def step(self, model_output, t, x_t):
        return self.mean(model_output, t - 1, x_t) + self.sigma(t - 1) * torch.randn_like(x_t)


class FromOneListed(FromOne):
    def __init__(self):
        super().__init__()
        self.timesteps = list(range(30, 0, -1))

    def step(self, x, t, eps):
        return super().step(eps, t, x)


class FromOneInClosedForm:
    """No table at all: every level is worked out from t in 1..30."""

    T = 30

    def level(self, t):
        return (1 - torch.linspace(1e-3, 0.4, 30, dtype=torch.float64)).log().cumsum(0)[t - 1].exp()

    def add_noise(self, x_0, noise, t):
        a = self.level(t).reshape(-1, 1, 1, 1)
        return (a.sqrt() * x_0 + (1 - a).sqrt() * noise).to(x_0.dtype)

    def step(self, eps, t, x):
        a = self.level(t)
        p = self.level(t - 1) if t > 1 else torch.ones(())
        mean = (x - (1 - a / p) / (1 - a).sqrt() * eps) / (a / p).sqrt()
        z = torch.randn_like(x) if t > 1 else 0
        return (mean + ((1 - p) / (1 - a) * (1 - a / p)).sqrt() * z).to(x.dtype)


class OneMoreEntry:
    """T + 1 levels, the first that of the image itself; t from 1."""

    def __init__(self):
        self.betas = torch.cat([torch.zeros(1), torch.linspace(1e-3, 0.4, 30)])
        self.alphas_cumprod = (1 - self.betas).cumprod(0)

    noised, mean = Base.noised, Base.mean

    def add_noise(self, x_0, noise, t):
        return self.noised(x_0, noise, t)

    def step(self, x, t, eps):
        self.alphas = 1 - self.betas
        z = torch.randn_like(x) if t > 1 else 0
        return self.mean(eps, t, x) + self.betas[t].sqrt() * z


class Vectors(Base):
    def add_noise(self, x_0, noise, t):
        a = self.alphas_cumprod[t].reshape(-1, 1)
        return a.sqrt() * x_0 + (1 - a).sqrt() * noise

    def step(self, model_output, t, x_t):
        return self.mean(model_output, t, x_t) + self.sigma(t) * torch.randn_like(x_t)


class ThreeChannels(OtherOrder):
    """Its noise has three channels, whatever it is given."""

    def step(self, eps, t, x):
        b, _, h, w = x.shape
        z = torch.cat([torch.randn(b, 1, h, w) for _ in range(3)], dim=1)
        out = torch.empty(b, 3, h, w)
        out[:] = self.mean(eps, t, x) + self.sigma(t) * z
        return out


class NoiseInside(Base):
    def step(self, model_output, t, x_t, z=None):
        z = torch.randn_like(x_t) if z is None else z
        return self.mean(model_output, t, x_t) + self.sigma(t) * z


class NoiseRequired(Base):
    def step(self, model_output, t, x_t, z):
        return self.mean(model_output, t, x_t) + self.sigma(t) * z


class NoiseOfTheCaller(Base):
    """Algorithm 2 as a caller writes it: z is 0 at the last step."""

    def step(self, x, t, eps, noise):
        return self.mean(eps, t, x) + self.betas[t].sqrt() * noise

    def walk(self, model, x):
        for t in reversed(range(30)):
            z = torch.randn_like(x) if t > 0 else torch.zeros_like(x)
            x = self.step(x, t, model(x, t), z)
        return x


class TensorT(Base):
    def step(self, model_output, t, x_t):
        tables = (self.alphas, self.betas, self.alphas_cumprod)
        a, b, ab = (v.gather(0, t).reshape(-1, 1, 1, 1) for v in tables)
        keep = (t > 0).float().reshape(-1, 1, 1, 1)
        mean = (x_t - b / (1 - ab).sqrt() * model_output) / a.sqrt()
        return mean + keep * b.sqrt() * torch.randn_like(x_t)


class FourAxes(Base):
    """t is (b, 1, 1, 1), as its own loop says."""

    def add_noise(self, x_0, noise, t):
        a = self.alphas_cumprod[t]
        return a.sqrt() * x_0 + (1 - a).sqrt() * noise

    def loss(self, model, x):
        t, noise = torch.randint(0, 30, (len(x),)), torch.randn_like(x)
        return (model(self.add_noise(x, noise, t.view(-1, 1, 1, 1)), t) - noise) ** 2


class AddNoiseOrder(Base):
    def add_noise(self, x_0, t, noise):
        return self.noised(x_0, noise, t)


class OneImage(Base):
    """Its t is one int, as it says."""

    def add_noise(self, x_0, noise, t: int):
        a = float(self.alphas_cumprod[t])
        return a**0.5 * x_0 + (1 - a) ** 0.5 * noise


class NoiseFirst(Base):
    def add_noise(self, noise, x_0, t):
        return self.noised(x_0, noise, t)


class ReturnsPair(Base):
    def add_noise(self, x_0, t):
        noise = torch.randn_like(x_0)
        return self.noised(x_0, noise, t), noise


class PairOfThree(Base):
    def add_noise(self, x_0, noise, t):
        return self.noised(x_0, noise, t), noise


class NoiseThenPicture(Base):
    def add_noise(self, x_0, noise, t):
        return noise, self.noised(x_0, noise, t)


class ReturnsDict(OtherOrder):
    def step(self, eps, t, x):
        return {"sample": super().step(x, t, eps)}


class LearnedRange(OtherOrder):
    """The model's output has 2c channels (Nichol & Dhariwal eq. 15)."""

    def step(self, model_output, t, x_t):
        eps, v = model_output.chunk(2, dim=1)
        a = self.alphas_cumprod[t]
        b = self.alphas_cumprod[t - 1] if t > 0 else torch.tensor(1.0)
        small = ((1 - b) / (1 - a) * self.betas[t]).clamp(min=1e-20)
        share = (v + 1) / 2
        sigma = (0.5 * (share * self.betas[t].log() + (1 - share) * small.log())).exp()
        return self.mean(eps, t, x_t) + (sigma * torch.randn_like(x_t) if t > 0 else 0)


RIGHT = {
    OtherOrder: {"step": "x,t,out"},
    PictureFirst: {"step": "x,t,out"},
    TimeFirst: {"step": "t,x,out", "add_noise": "t,x_0,noise"},
    ByKeyword: {"step": "x,out,t"},
    FromOne: {"t_base": 1},
    FromOneListed: {"t_base": 1, "step": "x,t,out"},
    FromOneInClosedForm: {"t_base": 1},
    OneMoreEntry: {"t_base": 1, "step": "x,t,out"},
    Vectors: {"data": "points (b, d)"},
    ThreeChannels: {"data": "images (b, 3, h, w)"},
    NoiseInside: {},
    NoiseRequired: {"step": "out,t,x,z"},
    NoiseOfTheCaller: {"step": "x,t,out,z", "z": "z but for the last step, where it is 0"},
    TensorT: {"t_of_step": "a tensor (b,)"},
    FourAxes: {"t_of_add_noise": "a tensor (b, 1, 1, 1)"},
    AddNoiseOrder: {"add_noise": "x_0,t,noise"},
    OneImage: {"t_of_add_noise": "an int"},
    NoiseFirst: {"add_noise": "noise,x_0,t"},
    ReturnsPair: {"add_noise": "x_0,t", "add_noise_returns": "2 things, the wanted one first"},
    PairOfThree: {"add_noise_returns": "2 things, the wanted one first"},
    NoiseThenPicture: {"add_noise_returns": "2 things, the wanted one first"},
    ReturnsDict: {"step_returns": "a dict"},
    LearnedRange: {"output": "twice the channels, the second half for the variance"},
}


def departing(report: Report) -> dict[str, object]:
    """What is not read as in the contract."""
    return {name: fact["value"] for name, fact in report.readings.items() if fact["words"]}


@pytest.mark.parametrize("program", RIGHT, ids=lambda program: program.__name__)
def test_a_right_program_is_right_behind_its_door(program: type) -> None:
    report = judge(program, "quick", 0, beside=False)
    assert report.passed, str(report)
    assert departing(report) == RIGHT[program]
    said = [line for line in str(report).splitlines()[1:] if line.startswith("read: ")]
    assert len(said) == len(RIGHT[program])


def draw(self, t, x):
    return self.sigma(t) * torch.randn_like(x)


class Forward(Base):
    def add_noise(self, x_0, noise, t):
        return self.noised(x_0, noise, t)


class ExchangedInside(Forward):
    def step(self, model_output, t, sample):
        return self.mean(sample, t, model_output) + draw(self, t, sample)


class Nameless(Forward):
    def step(self, a, t, b):
        return self.mean(b, t, a) + draw(self, t, a)


class NamelessByContract(Forward):
    def step(self, a, t, b):
        return self.mean(a, t, b) + draw(self, t, a)


class NamelessAndCalled(Nameless):
    def sample(self, model, x):
        for t in reversed(range(30)):
            eps = model(x, t)
            x = self.step(x, t, eps)
        return x


class Swapped(Base):
    def add_noise(self, x_0, noise, t):
        return self.noised(noise, x_0, t)


class NamelessForward(Base):
    def add_noise(self, a, b, t):
        return self.noised(b, a, t)


class ForwardFromOne(Forward):
    """`add_noise` from 1, `step` from 0."""

    def add_noise(self, x_0, noise, t):
        return self.noised(x_0, noise, t - 1)

    def step(self, out, t, x):
        return self.mean(out, t, x) + draw(self, t, x)


class StepEarly(Base):
    def step(self, out, t, x):
        return self.mean(out, t - 1, x) + draw(self, t - 1, x)


class StepEarlyBesideForward(StepEarly, Forward):
    pass


class StepEarlyListed(StepEarly):
    def __init__(self):
        super().__init__()
        self.timesteps = torch.arange(29, -1, -1)


class OneMoreEntryFromZero:
    """Its list says that t counts from 0, and then t = 0 adds no noise."""

    def __init__(self):
        betas = torch.cat([torch.zeros(1), torch.linspace(1e-4, 0.02, 1000)])
        self.alphas_cumprod = (1 - betas).cumprod(0)
        self.timesteps = list(range(999, -1, -1))

    noised, add_noise = Base.noised, Forward.add_noise


class NoiseAtTheLast(Base):
    def step(self, out, t, x, z):
        return self.mean(out, t, x) + self.betas[t].sqrt() * z


class NoiseNotUsed(NoiseRequired):
    def step(self, model_output, t, x_t, z):
        return self.mean(model_output, t, x_t) + draw(self, t, x_t)


class HalfTheNoise(NoiseRequired):
    def step(self, model_output, t, x_t, z):
        return self.mean(model_output, t, x_t) + 0.5 * self.sigma(t) * z


class PairOfOtherNoise(Base):
    def add_noise(self, x_0, t):
        noise = torch.randn_like(x_0)
        return self.noised(x_0, noise, t), torch.randn_like(x_0)


class PairOfUniform(Base):
    def add_noise(self, x_0, t):
        noise = torch.rand_like(x_0)
        return self.noised(x_0, noise, t), noise


class OnlyTheNoised(Base):
    def add_noise(self, x_0, t):
        return self.noised(x_0, torch.randn_like(x_0), t)


class TooLoud(Base):
    def add_noise(self, x_0, t):
        return self.noised(x_0, 1.1 * torch.randn_like(x_0), t)


class OwnStream(Base):
    def add_noise(self, x_0, t):
        noise = np.random.default_rng(0).standard_normal(x_0.shape)
        return self.noised(x_0, torch.from_numpy(noise), t)


class OneImageSwapped(OneImage):
    def add_noise(self, x_0, noise, t: int):
        return super().add_noise(noise, x_0, t)


class OneImageUnsaid(OneImage):
    def add_noise(self, x_0, noise, t):
        return super().add_noise(x_0, noise, t)


class NotReshaped(Base):
    def add_noise(self, x_0, noise, t):
        a = self.alphas_cumprod[t]
        return a.sqrt() * x_0 + (1 - a).sqrt() * noise


def judged(program: type, *words: str) -> Report:
    told = told_by(words)
    return judge(program, "quick", 0, beside=False, reading=told)


def test_that_images_are_noised_one_by_one_has_to_be_said() -> None:
    """Code that does not reshape its coefficients is right of one image at a time."""
    unsaid = judged(OneImageUnsaid)
    assert unsaid.exit_status == 2
    assert "--reading t_of_add_noise=int" in unsaid.diagnoses[0].fix
    assert judged(OneImageUnsaid, "t_of_add_noise=int").passed
    assert [d.bug for d in judged(OneImageSwapped).diagnoses] == ["5-swapped"]


@pytest.mark.parametrize(
    "program",
    [NamelessByContract, NamelessAndCalled],
    ids=lambda program: program.__name__,
)
def test_names_that_say_nothing_need_a_call_or_the_contract(program: type) -> None:
    report = judged(program)
    assert report.passed, str(report)


@pytest.mark.parametrize(
    ("program", "stage", "bug"),
    each(
        2,
        [
            (ExchangedInside, "mean", None),
            (Swapped, "forward", "5-swapped"),
            (ForwardFromOne, "forward", "2-wraps"),
            (StepEarlyBesideForward, "mean", None),
            (StepEarlyListed, "mean", None),
            (OneMoreEntryFromZero, "schedule", "1-leading-one"),
            (NoiseNotUsed, "variance", None),
            (HalfTheNoise, "variance", None),
            (PairOfOtherNoise, "forward", None),
            (PairOfUniform, "forward", None),
        ],
    ),
    ids=lambda value: getattr(value, "__name__", None),
)
def test_mistakes(program: type, stage: str, bug: str | None) -> None:
    report = judged(program)
    assert report.exit_status == 1, str(report)
    assert (report.diagnoses[0].stage, report.diagnoses[0].bug) == (stage, bug)


@pytest.mark.parametrize(
    ("program", "stage", "contract", "other"),
    each(
        2,
        [
            (Nameless, "mean", "step=out,t,x", "step=x,t,out"),
            (NamelessForward, "forward", "add_noise=x_0,noise,t", "add_noise=noise,x_0,t"),
            (StepEarly, "mean", "t=0", "t=1"),
            (NoiseAtTheLast, "variance", "z=1", "z=0"),
        ],
    ),
    ids=lambda value: getattr(value, "__name__", None),
)
def test_undecided(program: type, stage: str, contract: str, other: str) -> None:
    """Both verdicts and both words, neither blamed nor passed; a word decides."""
    report = judged(program)
    assert report.exit_status == 2, str(report)
    assert not report.diagnoses
    assert report.verdict.startswith(f"{program.__name__} is undecided: ")
    assert f"it differs from the papers in {stage}: " in report.verdict
    assert "it is right. Say " in report.verdict
    assert report.verdict.endswith(f"Say --reading {contract} or --reading {other}")
    assert all(c.passed for c in report.checks if c.id != "reading")
    assert judged(program, other).passed
    told = judged(program, contract)
    assert (told.exit_status, told.diagnoses[0].stage) == (1, stage)


def test_a_nameless_program_that_is_wrong_either_way_is_named() -> None:
    class Mistaken(Nameless):
        def mean(self, eps, t, x):
            beta, ab = self.betas[t], self.alphas_cumprod[t]
            return (x - beta / (1 - ab) * eps) / self.alphas[t].sqrt()

    report = judged(Mistaken)
    assert report.exit_status == 1
    assert report.diagnoses[0].stage == "mean"
    assert report.diagnoses[0].bug in ("43", "42-minus-one")
    assert any("by the contract's reading it is wrong too" in c.message for c in report.checks)
    assert "every check holds so" not in str(report)


def test_noise_that_is_drawn_and_not_shown_is_seen() -> None:
    report = judged(OnlyTheNoised)
    assert report.passed, str(report)
    assert "forward/noise/std" in {c.id for c in report.checks}
    report = judged(TooLoud)
    assert [d.stage for d in report.diagnoses] == ["forward"]


def test_what_cannot_be_called_is_said_with_the_call() -> None:
    report = judged(OwnStream)
    assert report.exit_status == 2
    assert "add_noise(x_0, t) cannot be judged: it takes no noise" in str(report)
    report = judged(NotReshaped)
    assert not report.passed
    assert "add_noise(x_0, noise, t) raises RuntimeError: The size of tensor a" in str(report)


SOURCE = """
import torch


class M:
    def __init__(self):
        self.betas = torch.linspace(1e-3, 0.4, 30)
        self.alphas_cumprod = (1 - self.betas).cumprod(0)

    def add_noise(self, a, b, t):
        s = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)
        return s.sqrt() * b + (1 - s).sqrt() * a
"""


def test_on_the_command_line_a_word_decides(tmp_path: Path) -> None:
    file, out = tmp_path / "mine.py", tmp_path / "report.json"
    file.write_text(SOURCE)

    def run(*words: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "compare", "--candidate", f"{file}:M", *words]
        return subprocess.run(command, capture_output=True, text=True)

    undecided = run()
    assert undecided.returncode == 2
    assert "M is undecided" in undecided.stdout
    page = tmp_path / "report.html"
    word = ("--reading", "add_noise=noise,x_0,t")
    right = run(*word, "--json", str(out), "--html", str(page))
    assert "How it is called" in page.read_text()
    assert right.returncode == 0, right.stdout
    first = "read: called as add_noise(noise, x_0, t) (declared: as --reading says)"
    assert right.stdout.splitlines()[1] == first
    fact = json.loads(out.read_text())["readings"]["add_noise"]
    assert (fact["value"], fact["rank"]) == ("noise,x_0,t", "declared")
    unknown = run("--reading", "steps=x")
    assert unknown.returncode == 2
    assert len(unknown.stderr.splitlines()) == 1
    assert "--reading steps=x is not known" in unknown.stderr


def test_in_python_a_word_decides(tmp_path: Path) -> None:
    assert compare.run(NamelessForward, reading="add_noise=noise,x_0,t").passed
    with pytest.raises(ValueError, match="is not known"):
        compare.run(NamelessForward, reading="steps=x")


SHARED = ("31", "51-learned", "73", "76")  # all that a mutant does is a finding


def scheduler_mistakes() -> list[Mistake]:
    """Those that a scheduler can have, known findings of Diffusers aside."""
    return [m for m in MISTAKES if m.only not in WHOLE and m.id not in SHARED]


def with_step(parent: type, names: tuple[str, ...], run: Callable) -> Callable:
    """A step whose parameters have these names, then the parent's options; `run` orders them."""

    def step(self, *given, **more):
        return run(self, *given, **more)

    own = inspect.signature(parent.step).parameters
    options = [p.replace(kind=p.KEYWORD_ONLY) for p in list(own.values())[4:]]
    by_place = inspect.Parameter.POSITIONAL_OR_KEYWORD
    named = [inspect.Parameter(name, by_place) for name in ("self", *names)]
    step.__signature__ = inspect.Signature([*named, *options])
    return step


def told(parent: type) -> dict:
    def run(self, x, t, eps, **more):
        return parent.step(self, eps, t, x, **more)

    return {"step": with_step(parent, ("x", "t", "eps"), run)}


def not_told(parent: type) -> dict:
    def run(self, a, t, b, **more):
        return parent.step(self, b, t, a, **more)

    return {"step": with_step(parent, ("a", "t", "b"), run)}


def from_one(parent: type) -> dict:
    def run(self, out, t, x, **more):
        return parent.step(self, out, t - 1, x, **more)

    def visit(self, visited):
        parent._visit(self, visited)
        self.timesteps = visited + 1

    return {
        "step": with_step(parent, ("model_output", "t", "sample"), run),
        "add_noise": lambda self, x_0, noise, t: parent.add_noise(self, x_0, noise, t - 1),
        "get_velocity": lambda self, x_0, noise, t: parent.get_velocity(self, x_0, noise, t - 1),
        "_visit": visit,
    }


def one_more_entry(parent: type) -> dict:
    def visit(self, visited):
        parent._visit(self, visited)
        self.timesteps = visited + 1
        self.alphas_cumprod = torch.cat([torch.ones(1), self.table.float()])

    return from_one(parent) | {"_visit": visit}


def pair(parent: type) -> dict:
    def add_noise(self, x_0, t):
        noise = torch.randn_like(x_0)
        return parent.add_noise(self, x_0, noise, t), noise

    return {"add_noise": add_noise}


def given_z(parent: type) -> dict:
    def run(self, out, t, x, z, **more):
        self.oracle = replace(type(self).oracle, draw=lambda shape, g, dtype: z.to(dtype))
        return parent.step(self, out, t, x, **more)

    step = with_step(parent, ("model_output", "t", "sample", "z"), run)
    parameters = step.__signature__.parameters.values()
    step.__signature__ = inspect.Signature([p for p in parameters if p.name != "generator"])
    return {"step": step}


def of_axes(axes: int, parent: type) -> dict:
    def only(self, x):
        if x.dim() != axes:
            raise ValueError(f"{axes} axes")

    def run(self, out, t, x, **more):
        only(self, x)
        return parent.step(self, out, t, x, **more)

    def add_noise(self, x_0, noise, t):
        only(self, x_0)
        return parent.add_noise(self, x_0, noise, t)

    step = with_step(parent, ("model_output", "t", "sample"), run)
    return {"step": step, "add_noise": add_noise}


def points(parent: type) -> dict:
    return of_axes(2, parent)


def sequences(parent: type) -> dict:
    return of_axes(3, parent)


def tensor_t(parent: type) -> dict:
    def run(self, out, t, x, **more):
        if not isinstance(t, torch.Tensor) or t.shape != (len(x),):
            raise TypeError("t is a tensor (b,)")
        return parent.step(self, out, int(t[0]), x, **more)

    return {"step": with_step(parent, ("model_output", "t", "sample"), run)}


def own_list(parent: type) -> dict:
    def init(self, *given, **named):
        parent.__init__(self, *given, **named)
        parent.set_timesteps(self, self.setting.num_train_timesteps // 2)

    init.__signature__ = inspect.signature(parent.__init__)
    return {"__init__": init, "set_timesteps": None}


DOORS = (
    told,
    not_told,
    from_one,
    one_more_entry,
    pair,
    given_z,
    points,
    sequences,
    tensor_t,
    own_list,
)
# What a door takes away with it: who is handed z draws none, a pair shows the noise it drew, and a
# list of its own is as good as any.
GONE = {own_list: ("timesteps",), given_z: ("draw",), pair: ("own_noise", "own_uniform_noise")}


def dressed(door: Callable, parent: type) -> type:
    """A class behind a door."""
    return type(f"{parent.__name__}_{door.__name__}", (parent,), door(parent))


def has_it(door: Callable, mistake: Mistake) -> bool:
    """False for what cannot be written behind a door."""
    gone = GONE.get(door, ())
    names = (*mistake.seams, *(f.__name__ for f in mistake.functions))
    return not any(name in gone for name in names)


def is_fault(door: Callable, mistake: Mistake) -> bool:
    """False for 22, which is told in a note, for what cannot be run on other axes, and for what
    a list of every second step does not show: t = 1, and another way to its next entry."""
    flat = ("21", "62-channel")
    unseen = {points: flat, sequences: flat, own_list: ("57", "57-mask", "72")}
    return mistake.id not in ("22", *unseen.get(door, ()))


PAIRS = [(door, m) for door in DOORS for m in scheduler_mistakes() if has_it(door, m)]
SOME = [p for p in random.Random(10).sample(PAIRS, len(PAIRS) // 10) if is_fault(*p)]


def names_of(pair: tuple) -> str:
    return f"{pair[0].__name__}-{pair[1].id}"


def assert_not_hidden(door: Callable, mistake: Mistake) -> None:
    class_ = dressed(door, scheduler(mistake.oracle(), mistake.only, "Mistaken"))
    for only in (mistake.stage, None):  # all of it, where its own stage alone does not name it
        report = judge(class_, "quick", 0, beside=False, base=SHORT, only=only)
        open_ = door is not_told or (door, mistake.id) == (given_z, "56")  # z = 0 may be handed in
        undecided = any(c.id == "reading" for c in report.checks) and open_
        if mistake.id in [d.bug for d in report.diagnoses] or undecided:
            break
    else:
        pytest.fail(str(report))
    assert not report.passed, str(report)


@pytest.mark.parametrize("pair", SOME, ids=names_of)
def test_no_door_hides_a_mistake(pair: tuple) -> None:
    assert_not_hidden(*pair)


@pytest.mark.long
@pytest.mark.parametrize("pair", [p for p in PAIRS if is_fault(*p)], ids=names_of)
def test_no_door_hides_any_mistake(pair: tuple) -> None:
    assert_not_hidden(*pair)


@pytest.mark.parametrize("only", ["", "ddim", "dpm-solver++"])
@pytest.mark.parametrize("door", each(4, DOORS), ids=lambda door: door.__name__)
def test_the_same_without_a_mistake_is_right(door: Callable, only: str) -> None:
    class_ = dressed(door, scheduler(Oracle(), only))
    words = "step=x,t,out" if door is not_told else ()
    report = judge(
        class_,
        "quick",
        0,
        beside=False,
        base=SHORT,
        reading=told_by(words),
    )
    assert report.passed, str(report)
    assert departing(report) or door is told


@pytest.mark.parametrize("spec", ["scratch:DDPMScheduler", "diffusers:DDIMScheduler"])
def test_the_backends_are_called_by_the_contract(spec: str) -> None:
    report = judge(spec, "quick", 0, beside=False, only="forward")
    assert report.readings["step"]["rank"] == "declared"
    assert not departing(report)
