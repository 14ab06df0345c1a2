"""A DDPM by other people, judged: the public package `denoising-diffusion-pytorch`.

    pip install "ddpm-side-by-side[independent]"
    ddpm compare --candidate compare.independent:ddpm
    python -m compare.independent > page.md

The page says what agrees, what is a convention, what differs and why. Everything on it is measured
when it is made.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from compare.candidate.load import Adapter, brief
from compare.verdict.report import Report, stage_line

PACKAGE = "denoising-diffusion-pytorch"
OBJECTIVES = {"epsilon": "pred_noise", "sample": "pred_x0", "v_prediction": "pred_v"}
SCHEDULES = {"linear": "linear", "squaredcos_cap_v2": "cosine"}


class Network(nn.Module):
    """A network in the package's words round any function of (x, t).

    Args:
        answer: (x, t) -> output.
        channels: of the images.
        outputs: channels of the output.
    """

    self_condition = False

    def __init__(self, answer: Any, channels: int = 1, outputs: int = 1):
        super().__init__()
        self.answer, self.channels, self.out_dim = answer, channels, outputs

    def forward(self, x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """The function's answer; `condition` is for networks that see their own last x0-hat."""
        out: Tensor = self.answer(x, t)
        return out


def package() -> ModuleType:
    """The package, imported also where torchvision is missing or built for another torch.

    Its folder datasets and its trainer need torchvision, its diffusion does not.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    with _torchvision():
        try:
            return import_module("denoising_diffusion_pytorch")
        except ModuleNotFoundError as error:
            text = f'{brief(error)}; pip install "ddpm-side-by-side[independent]"'
            raise ModuleNotFoundError(text) from None


@contextmanager
def _torchvision() -> Iterator[None]:
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


def diffusion(answer: Any, /, *, learned: bool = False, **options: Any) -> Any:
    """The package's diffusion round a function of (x, t), in evaluation mode."""
    found = package()
    cls = found.LearnedGaussianDiffusion if learned else found.GaussianDiffusion
    made = cls(Network(answer, outputs=2 if learned else 1), image_size=8, **options)
    return made.eval()  # as its trainer does before it samples


def adapt(*, learned: bool = False, **options: Any) -> Adapter:
    """The five roles of the package's diffusion; images are in [0, 1] there, in [-1, 1] here."""
    bare = diffusion(None, learned=learned, **options)
    kinds = {name: kind for kind, name in OBJECTIVES.items()}

    def step(out: Tensor, t: int, x_t: Tensor) -> dict[str, Tensor]:
        bare.model.answer = lambda x, at: out
        x_prev, x_0 = bare.p_sample(x_t, t)
        return {"prev_sample": x_prev.clone(), "pred_original_sample": x_0.clone()}

    def sample(model: nn.Module, shape: tuple[int, ...]) -> Tensor:
        whole = diffusion(model, learned=learned, **options)
        loop = whole.ddim_sample if whole.is_ddim_sampling else whole.p_sample_loop
        pictures: Tensor = loop(shape).clone()
        return pictures * 2 - 1

    def loss(model: nn.Module, x_0: Tensor) -> Tensor:
        whole = diffusion(model, learned=learned, **options)
        whole.image_size = tuple(x_0.shape[-2:])
        value: Tensor = whole((x_0 + 1) / 2)
        return value

    return Adapter(
        alpha_bar=lambda: bare.alphas_cumprod,
        add_noise=lambda x_0, noise, t: bare.q_sample(x_0, t, noise),
        step=step,
        sample=None if learned else sample,
        loss=None if learned else loss,
        prediction_type=kinds[bare.objective],
        name=PACKAGE,
    )


def ddpm(
    prediction_type: str = "epsilon",
    beta_schedule: str = "linear",
    variance_type: str = "fixed_small",
) -> Adapter:
    """The package's options that have a name in Diffusers.

    Raises:
        ValueError: the package has no such option.
    """
    if beta_schedule not in SCHEDULES:
        raise ValueError(f"{PACKAGE} has no beta_schedule={beta_schedule!r}")
    if variance_type not in ("fixed_small", "learned_range"):
        raise ValueError(f"{PACKAGE} has no variance_type={variance_type!r}")
    learned = variance_type == "learned_range"
    if learned and prediction_type != "epsilon":
        raise ValueError(f"{PACKAGE} learns a variance beside the noise only")
    return adapt(
        learned=learned,
        objective=OBJECTIVES[prediction_type],
        beta_schedule=SCHEDULES[beta_schedule],
    )


def as_it_comes() -> Adapter:
    """With the package's defaults: v-prediction and a sigmoid schedule."""
    return adapt()


def ddpm_250() -> Adapter:
    """T = 250 linear betas."""
    return adapt(objective="pred_noise", beta_schedule="linear", timesteps=250)


def ddim_50() -> Adapter:
    """DDIM with 50 steps, eta = 0."""
    return adapt(objective="pred_noise", beta_schedule="linear", sampling_timesteps=50)


def ddim_30() -> Adapter:
    """DDIM with 30 steps, which do not divide T, and eta = 0.5."""
    return adapt(
        objective="pred_noise",
        beta_schedule="linear",
        sampling_timesteps=30,
        ddim_sampling_eta=0.5,
    )


CANDIDATES: tuple[Callable[..., Adapter], ...] = (ddpm, as_it_comes, ddpm_250, ddim_50, ddim_30)


@dataclass(frozen=True)
class Note:
    """A convention or a difference: `words` name it, the two values are measured."""

    words: str
    theirs: str
    ours: str


def conventions() -> list[Note]:
    """Right in another way than Diffusers: what must match between training and sampling."""
    from scratch import DDPMScheduler

    def end(scheduler: Any) -> str:
        return f"sqrt(alpha-bar_T) = {float(scheduler.alphas_cumprod[-1]) ** 0.5:.2g}"

    def middle(scheduler: Any) -> str:
        return f"alpha-bar at T/2 = {float(scheduler.alphas_cumprod[499]):.2g}"

    def weights(kind: str) -> str:
        table = diffusion(None, objective=OBJECTIVES[kind], beta_schedule="linear").loss_weight
        return f"{float(table[0]):.3g} at t=0, {float(table[-1]):.1g} at t=T-1"

    linear: dict[str, Any] = {"objective": "pred_noise", "beta_schedule": "linear"}
    steps = diffusion(None, sampling_timesteps=30, **linear)
    asked = _asked(steps, lambda it: it.sample(batch_size=1))
    ours = DDPMScheduler(timestep_spacing="trailing")
    ours.set_timesteps(30)
    return [
        Note("`linear` betas are scaled by 1000/T; at T=250",
             end(diffusion(None, timesteps=250, **linear)),
             end(DDPMScheduler(num_train_timesteps=250))),
        Note("`sigmoid` is a curve of alpha-bar (Jabri et al. 2022), in Diffusers one of beta",
             middle(diffusion(None)), middle(DDPMScheduler(beta_schedule="sigmoid"))),
        Note("DDIM steps are `trailing`, rounded down, not to the nearest; 30 steps",
             _ends(asked), _ends(ours.timesteps.tolist())),
        Note("x0-hat is always clipped to [-1, 1] while sampling", "no switch", "`clip_sample`"),
        Note("the loss of v-prediction is weighted by SNR / (SNR + 1)",
             weights("v_prediction"), "1"),
        Note("the loss of x_0-prediction is weighted by SNR", weights("sample"), "1"),
        Note("images are in [0, 1] outside, in [-1, 1] inside", "`auto_normalize`", "[-1, 1]"),
        Note("random numbers come from the global state", "no generator", "`generator`"),
    ]  # fmt: skip


def differences() -> list[Note]:
    """Wrong, in parts that no role of an adapter reaches."""
    found = []
    pictures = torch.zeros(1, 1, 8, 8)
    whole = diffusion(None, objective="pred_noise", beta_schedule="linear", timesteps=100)
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
    """The page, in Markdown.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    return "\n".join(_lines([(make, _judged(make)) for make in CANDIDATES])) + "\n"


def _judged(make: Callable[..., Adapter]) -> Report:
    from compare.verdict.judge import judge

    return judge(make, "quick", 0, beside=False)


def _lines(judged: list[tuple[Callable[..., Adapter], Report]]) -> Iterator[str]:
    from compare.verdict.judge import quiet

    package()
    with quiet():
        kept, wrong = conventions(), differences()
    try:
        yield f"# {PACKAGE} {version(PACKAGE)}, judged"
    except PackageNotFoundError:
        yield f"# {PACKAGE}, judged"
    right = [make for make, report in judged if report.passed]
    yield f"\n{len(right)} of {len(judged)} ways to use it agree with the papers."
    yield "\n## What agrees\n"
    for make, report in judged:
        yield f"- `{make.__name__}`: {(make.__doc__ or '').splitlines()[0]} {report.verdict}"
        stages = dict.fromkeys(check.stage for check in report.checks)
        yield "\n  ```text"
        for stage in stages:
            yield f"  {stage_line(stage, [c for c in report.checks if c.stage == stage])}"
        yield "  ```\n"
    yield "## What is a convention\n"
    yield from _table(("", PACKAGE, "Diffusers"), kept)
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


if __name__ == "__main__":
    try:
        print(page(), end="")
    except ModuleNotFoundError as error:
        sys.exit(f"compare.independent: {error}")
