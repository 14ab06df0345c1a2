"""The page on `denoising-diffusion-pytorch`: what agrees, what is a convention, what is wrong.

Everything on it is measured when it is made, through the adapter in `docs/examples`.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from compare import Adapter
from compare.candidate.load import brief
from compare.verdict.report import Report, stage_line

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
LINEAR = {"objective": "pred_noise", "beta_schedule": "linear"}


def example() -> ModuleType:
    """The adapter, imported also where torchvision is missing or built for another torch.

    The package's folder datasets and its trainer need torchvision, its diffusion does not.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    if str(EXAMPLES) not in sys.path:
        sys.path.append(str(EXAMPLES))
    with any_torchvision():
        return import_module("denoising_diffusion_adapter")


@contextmanager
def any_torchvision() -> Iterator[None]:
    """Puts an empty torchvision in place where the real one cannot be imported, for a while."""
    before = set(sys.modules)
    try:
        import_module("torchvision")
    except (ImportError, RuntimeError, OSError):  # a build for another torch lacks its operators
        for name in [n for n in set(sys.modules) - before if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]
    else:
        yield
        return
    names = ("torchvision", "torchvision.transforms", "torchvision.utils")
    empty = {name: ModuleType(name) for name in names}
    for name, module in empty.items():
        module.__spec__ = ModuleSpec(name, None)
        if name != "torchvision":
            setattr(empty["torchvision"], name.rpartition(".")[2], module)
    sys.modules.update(empty)
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


def as_it_comes() -> Adapter:
    """With the package's defaults: v-prediction and a sigmoid schedule."""
    return example().adapt()


def ddpm_250() -> Adapter:
    """T = 250 linear betas."""
    return example().adapt(**LINEAR, timesteps=250)


def ddim_50() -> Adapter:
    """DDIM with 50 steps, eta = 0."""
    return example().adapt(**LINEAR, sampling_timesteps=50)


def ddim_30() -> Adapter:
    """DDIM with 30 steps, which do not divide T, and eta = 0.5."""
    return example().adapt(**LINEAR, sampling_timesteps=30, ddim_sampling_eta=0.5)


WAYS: tuple[Callable[..., Adapter], ...] = (as_it_comes, ddpm_250, ddim_50, ddim_30)


def candidates() -> tuple[Callable[..., Adapter], ...]:
    """The ways to use the package that are judged."""
    return (example().ddpm, *WAYS)


@dataclass(frozen=True)
class Note:
    """A convention or a difference: `words` name it, the two values are measured."""

    words: str
    theirs: str
    ours: str


def conventions() -> list[Note]:
    """Right in another way than Diffusers: what must match between training and sampling."""
    return [*_of_schedules(), *_of_loops(), *_of_losses()]


def _of_schedules() -> Iterator[Note]:
    from scratch import DDPMScheduler

    diffusion = example().diffusion

    def end(scheduler: Any) -> str:
        return f"sqrt(alpha-bar_T) = {float(scheduler.alphas_cumprod[-1]) ** 0.5:.2g}"

    def middle(scheduler: Any) -> str:
        return f"alpha-bar at T/2 = {float(scheduler.alphas_cumprod[499]):.2g}"

    scaled = diffusion(None, timesteps=250, **LINEAR)
    ours = DDPMScheduler(num_train_timesteps=250)
    yield Note("`linear` betas are scaled by 1000/T; at T=250", end(scaled), end(ours))
    words = "`sigmoid` is a curve of alpha-bar (Jabri et al. 2022), in Diffusers one of beta"
    yield Note(words, middle(diffusion(None)), middle(DDPMScheduler(beta_schedule="sigmoid")))


def _of_loops() -> Iterator[Note]:
    from scratch import DDPMScheduler

    steps = example().diffusion(None, sampling_timesteps=30, **LINEAR)
    asked = _asked(steps, lambda it: it.sample(batch_size=1))
    ours = DDPMScheduler(timestep_spacing="trailing")
    ours.set_timesteps(30)
    words = "DDIM steps are `trailing`, rounded down, not to the nearest; 30 steps"
    yield Note(words, _ends(asked), _ends(ours.timesteps.tolist()))
    words = "x0-hat is always clipped to [-1, 1] while sampling"
    yield Note(words, "no switch", "`clip_sample`")
    words = "images are in [0, 1] outside, in [-1, 1] inside"
    yield Note(words, "`auto_normalize`", "[-1, 1]")
    words = "random numbers come from the global state"
    yield Note(words, "no generator", "`generator`")


def _of_losses() -> Iterator[Note]:
    objectives = example().OBJECTIVES

    def weights(kind: str) -> str:
        options = LINEAR | {"objective": objectives[kind]}
        table = example().diffusion(None, **options).loss_weight
        return f"{float(table[0]):.3g} at t=0, {float(table[-1]):.1g} at t=T-1"

    words = "the loss of v-prediction is weighted by SNR / (SNR + 1)"
    yield Note(words, weights("v_prediction"), "1")
    yield Note("the loss of x_0-prediction is weighted by SNR", weights("sample"), "1")


def differences() -> list[Note]:
    """Wrong, in parts that no role of an adapter reaches."""
    found = []
    diffusion = example().diffusion
    pictures = torch.zeros(1, 1, 8, 8)
    whole = diffusion(None, timesteps=100, **LINEAR)
    first = _asked(whole, lambda it: it.interpolate(pictures, pictures, t=50))[0]
    if first != 50:
        words = "`interpolate` noises at t and denoises from another t"
        found.append(Note(words, f"noised at 50, first asked at {first}", "the same t"))
    learned = diffusion(None, learned=True, timesteps=100, sampling_timesteps=10)
    try:
        _asked(learned, lambda it: it.sample(batch_size=1))
    except Exception as error:
        words = "`LearnedGaussianDiffusion` cannot sample with fewer steps"
        found.append(Note(words, f"`{brief(error)}`", "pictures"))
    return found


def _asked(whole: Any, run: Callable[[Any], Any]) -> list[int]:
    """The timesteps at which a loop asks its network."""
    asked: list[int] = []

    def answer(x: Tensor, t: Tensor) -> Tensor:
        asked.append(int(t[0]))
        return torch.cat([x] * (whole.model.out_dim // whole.model.channels), dim=1)

    whole.model.answer = answer
    run(whole)
    return asked


def _ends(listed: list[int]) -> str:
    return f"{listed[0]}, {listed[1]}, {listed[2]}, ..., {listed[-1]}"


def page() -> str:
    """What the page includes, in Markdown.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    from compare.verdict.judge import judge
    from compare.verdict.quiet import quiet

    judged = [(make, judge(make, "quick", 0, beside=False)) for make in candidates()]
    with quiet():
        kept, wrong = conventions(), differences()
    return "\n".join(_lines(judged, kept, wrong)) + "\n"


def _lines(
    judged: list[tuple[Callable[..., Adapter], Report]], kept: list[Note], wrong: list[Note]
) -> Iterator[str]:
    package = example().PACKAGE
    right = [make for make, report in judged if report.passed]
    agree = f"{len(right)} of {len(judged)} ways to use it agree with the papers."
    yield f"Judged: {package} {version(package)}. {agree}"
    yield "\n## What agrees\n"
    for make, report in judged:
        yield f"- `{make.__name__}`: {(make.__doc__ or '').splitlines()[0]} {report.verdict}"
        stages = dict.fromkeys(check.stage for check in report.checks)
        yield "\n  ```text"
        for stage in stages:
            yield f"  {stage_line(stage, [c for c in report.checks if c.stage == stage])}"
        yield "  ```\n"
    yield "## What is a convention\n"
    yield from _table(("", package, "Diffusers"), kept)
    yield "\n## What differs and why\n"
    yield from _table(("", "found", "should be"), wrong)
    for make, report in judged:
        for diagnosis in report.diagnoses:
            yield f"\n`{make.__name__}`, {diagnosis.stage}: {diagnosis.explanation}"
            yield f"fix: {diagnosis.fix}"


def _table(head: tuple[str, str, str], notes: list[Note]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|---|---|---|"
    yield from (f"| {n.words} | {n.theirs} | {n.ours} |" for n in notes)
