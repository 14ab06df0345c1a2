"""Drawing pictures: the loop of either backend's pipeline, with wrappers round its parts.

Guidance and precision wrap the UNet; eta and recording wrap the scheduler. The pipeline itself is
untouched, so whatever it is, ours or Diffusers', it does the sampling; only `fast=True` puts
`workbench.fast` in its place.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch

from workbench import backends, progress_bar
from workbench import fast as fast_path
from workbench.coefficients import Coefficients, NotLinear, coefficients_of
from workbench.config import Precision
from workbench.draws import PICTURES, seed_of
from workbench.precision import in_precision

MOST = 1_000_000  # pictures at once, which lie in memory


@dataclass
class Frame:
    """One moment of a reverse trajectory.

    Attributes:
        timestep: t of the step that made it.
        x_prev: the picture after the step, (b, c, h, w) on the CPU.
        x_0: what the model then believed the picture to be, like `x_prev`.
    """

    timestep: int
    x_prev: torch.Tensor
    x_0: torch.Tensor


class Wrapped:
    """A scheduler that passes everything on to another one, and `step` options with it.

    Args:
        scheduler: either backend's.
        record_every: keep each so many-th step, and the last, in `frames`; 0 keeps none.
        options: more keyword arguments for its `step`, such as `eta=0.5`.
    """

    def __init__(self, scheduler: Any, record_every: int = 0, **options: Any) -> None:
        self.scheduler = scheduler
        self.record_every = record_every
        self.options = options
        self.frames: list[Frame] = []
        self._steps = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.scheduler, name)

    def step(self, model_output: torch.Tensor, timestep: Any, sample: Any, **given: Any) -> Any:
        """The scheduler's own step, recorded."""
        output = self.scheduler.step(model_output, timestep, sample, **given, **self.options)
        self._steps += 1
        last = self._steps == len(self.scheduler.timesteps)
        if self.record_every and (last or self._steps % self.record_every == 0):
            pictures = (output.prev_sample, output.pred_original_sample)
            self.frames.append(Frame(int(timestep), *(p.detach().cpu() for p in pictures)))
        return output


class Guided(torch.nn.Module):
    """A class-conditional UNet told its labels, with classifier-free guidance.

    eps = (1 + w) eps(x_t, label) - w eps(x_t, no label), with 1 + w = `scale`; x_0 and v likewise.

    Source: Ho & Salimans 2022 (arXiv:2207.12598), equation 6.

    Args:
        unet: trained with labels; its last class means "no label".
        labels: (b,) int64, one for each picture.
        scale: 1 for no guidance, 0 for no label at all, above 1 for more typical pictures.
    """

    labels: torch.Tensor

    def __init__(self, unet: Any, labels: torch.Tensor, scale: float = 1.0) -> None:
        super().__init__()
        self.unet = unet
        self.scale = scale
        self.config = unet.config
        self.register_buffer("labels", labels.to(unet.device), persistent=False)
        self.train(unet.training)

    @property
    def device(self) -> torch.device:
        """Where the UNet is."""
        return self.unet.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the UNet."""
        return self.unet.dtype

    def forward(self, sample: torch.Tensor, timestep: Any) -> SimpleNamespace:
        """The guided prediction for `sample` (b, c, h, w), as an object with `.sample`."""
        if self.scale == 1:
            return self.unet(sample, timestep, class_labels=self.labels)
        no_label = torch.full_like(self.labels, self.config.num_class_embeds - 1)
        labels = torch.cat([self.labels, no_label])
        both = self.unet(torch.cat([sample, sample]), timestep, class_labels=labels).sample
        told, untold = both.chunk(2)  # (b, c, h, w) each
        return SimpleNamespace(sample=untold + self.scale * (told - untold))


@dataclass
class Samples:
    """What `sample` returns.

    Attributes:
        images: (n, c, h, w) float32 in [-1, 1], as all images here, on the CPU.
        frames: the recorded trajectory of the first batch, oldest first.
    """

    images: torch.Tensor
    frames: list[Frame] = field(default_factory=list)


def sample(
    backend: str,
    unet: Any,
    scheduler: Any,
    count: int,
    *,
    seed: int,
    steps: int,
    batch_size: int = 64,
    labels: Sequence[int] | None = None,
    guidance: float = 1.0,
    eta: float | None = None,
    record_every: int = 0,
    fast: bool = False,
    precision: Precision = "float32",
    progress: bool = True,
) -> Samples:
    """Draw `count` pictures with a backend's pipeline.

    Picture i depends on (seed, i) alone, up to rounding, not on how many are drawn or in which
    batches. The UNet is put into eval mode and back; the timesteps of `scheduler` are set.

    Args:
        backend: whose pipeline runs: `scratch` or `diffusers`.
        unet, scheduler: of either backend.
        count: how many pictures, at least 1.
        seed: of the pictures.
        steps: n in 1..T.
        batch_size: how many at a time.
        labels: one for each picture, or one for all; for a UNet trained with labels.
        guidance: see `Guided`.
        eta: DDIM's, in [0, 1]; None for a scheduler that has none.
        record_every: see `Wrapped`.
        fast: see `workbench.fast`; the same pictures up to rounding. What cannot be had fast is
            drawn as ever, and a line on stderr says why.
        precision: in which the network computes: float32, bf16, or fp16 on a GPU.
        progress: whether to show a bar.

    Raises:
        ValueError: an argument is out of range or does not fit the UNet.
    """
    classes, T = unet.config.num_class_embeds, scheduler.config.num_train_timesteps
    _check(count, batch_size, steps, T, eta)
    if not math.isfinite(guidance):
        raise ValueError(f"guidance must be a finite number, 1 for none, got {guidance}")
    if guidance != 1 and labels is None:
        raise ValueError(f"guidance leads towards a label: give labels, or leave out {guidance}")
    chosen = _labels(labels, count, classes)
    options = {} if eta is None else {"eta": eta}
    shown = progress_bar.options(f"sampling with {backend}", progress)
    with in_eval_mode(unet):
        net = in_precision(unet, precision)
        if fast:
            try:
                if record_every:
                    raise NotLinear("a trajectory is recorded")
                plan = coefficients_of(scheduler, steps, **options)
                return Samples(_fast(net, plan, count, seed, batch_size, chosen, guidance, shown))
            except NotLinear as reason:
                fast_path.say_it(f"not the fast path: {reason}")
        images, frames = [], []
        for start in range(0, count, batch_size):
            part = range(start, min(start + batch_size, count))
            wrapped = Wrapped(scheduler, record_every if start == 0 else 0, **options)
            told = _told(net, chosen[part.start : part.stop], guidance)
            pipeline = backends.load(backend).DDPMPipeline(told, wrapped)
            pipeline.set_progress_bar_config(**shown)
            output = pipeline(
                batch_size=len(part),
                generator=_generators(seed, part),
                num_inference_steps=steps,
                output_type="np",  # of Diffusers before 0.41 "pt" is an array too
            )
            drawn = torch.from_numpy(output.images).permute(0, 3, 1, 2)  # (b, c, h, w) in [0, 1]
            images.append(drawn * 2 - 1)
            frames += wrapped.frames
    return Samples(torch.cat(images), frames)


@torch.no_grad()
def _fast(
    unet: Any,
    plan: Coefficients,
    count: int,
    seed: int,
    batch_size: int,
    labels: torch.Tensor,
    guidance: float,
    shown: dict[str, Any],
) -> torch.Tensor:
    """The pictures (count, c, h, w) in [-1, 1] on the CPU, in batches of one size.

    A graph is of one shape: the batches are as even as they can be, and the last one draws a few
    pictures too many, which are thrown away.
    """
    from tqdm.auto import tqdm

    batches = math.ceil(count / batch_size)
    b = math.ceil(count / batches)
    padded = torch.cat([labels, labels[-1:].expand(b * batches - count)]).to(unet.device)
    told = _told(fast_path.laid_out(unet), padded[:b], guidance)
    size = unet.config.sample_size
    h, w = (size, size) if isinstance(size, int) else size
    chain = fast_path.make_chain(told, plan, (b, unet.config.in_channels, h, w), fast_path.say_it)
    images = []
    for start in range(0, b * batches, b):
        if isinstance(told, Guided):
            told.labels.copy_(padded[start : start + b])
        with tqdm(total=len(plan.timesteps), **shown) as bar:
            x_0 = chain.run(_generators(seed, range(start, start + b)), bar)
        images.append(x_0.clamp(-1, 1).float().cpu())
    return torch.cat(images)[:count]


def _generators(seed: int, part: range) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed_of(seed, PICTURES, i)) for i in part]


def _told(unet: Any, labels: torch.Tensor, guidance: float) -> Any:
    """`unet`, told its labels if it has any."""
    return unet if unet.config.num_class_embeds is None else Guided(unet, labels, guidance)


@contextmanager
def in_eval_mode(model: torch.nn.Module) -> Iterator[None]:
    """`model` without dropout inside the block, in its own mode again afterwards."""
    mode = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(mode)


def refuse_wrong_config(backend: str, scheduler: Any) -> None:
    """Refuse options that leave no chain of the backend's scheduler right, with the reason.

    Args:
        backend: whose scheduler it is.
        scheduler: the backend's.

    Raises:
        ValueError: the backend takes the options in silence and draws NaN or noise with them.
    """
    _refuse(backends.load(backend).config_problem(scheduler))


def refuse_wrong_steps(backend: str, scheduler: Any, steps: int) -> None:
    """Refuse a chain that the backend's scheduler gets wrong, with the reason.

    Args:
        backend: whose scheduler it is.
        scheduler: the backend's.
        steps: n in 1..T.

    Raises:
        ValueError: the backend's list of timesteps, or a step that it takes along it, is wrong for
            this spacing, count and variance.
    """
    _check_steps(steps, scheduler.config.num_train_timesteps)
    _refuse(backends.load(backend).chain_problem(scheduler, steps))


def _refuse(problem: str | None) -> None:
    if problem is not None:
        raise ValueError(f"{problem}; the scratch backend does this right")


def _check(count: int, batch_size: int, steps: int, T: int, eta: float | None) -> None:
    if not (1 <= count <= MOST and 1 <= batch_size <= MOST):
        raise ValueError(
            f"count and batch_size must lie in 1..{MOST}, got {count} and {batch_size}"
        )
    _check_steps(steps, T)
    if eta is not None and not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in [0, 1] (0 draws no noise, 1 is DDPM), got {eta}")


def _check_steps(steps: int, T: int) -> None:
    if not 1 <= steps <= T:
        raise ValueError(f"steps must lie in 1..{T}, as the model has {T} timesteps, got {steps}")


def _labels(labels: Sequence[int] | None, count: int, classes: int | None) -> torch.Tensor:
    """(count,) int64 labels; without any, "no label" for a UNet that has labels."""
    if labels is None:
        return torch.full((count,), (classes or 1) - 1)
    if classes is None:
        raise ValueError("this model was trained without labels; leave them out")
    if len(labels) not in (1, count):
        raise ValueError(
            f"give one label, or one for each of the {count} pictures, not {len(labels)}"
        )
    if not all(0 <= label < classes - 1 for label in labels):
        raise ValueError(f"labels must lie in 0..{classes - 2}, got {list(labels)}")
    return torch.tensor(list(labels) * (count // len(labels)))
