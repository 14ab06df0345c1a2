"""A candidate with the face of a backend's scheduler: what trainer and pipelines ask for."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor

from compare.bring.read import read
from compare.candidate.door.reading import SAME, Reading
from compare.candidate.interrupts import interrupts_told
from compare.candidate.load import Broken
from compare.candidate.scheduler import Answer
from compare.candidate.subject import Subject
from compare.oracle import F64, Oracle
from compare.verdict.quiet import quiet
from workbench import backends
from workbench.config import VarianceType

Generators = torch.Generator | list[torch.Generator] | None
KEPT = (
    "clip_sample",
    "clip_sample_range",
    "timestep_spacing",
    "steps_offset",
    "thresholding",
    "dynamic_thresholding_ratio",
    "sample_max_value",
    "prediction_type",
)
RIGHT = Oracle()


class Output(NamedTuple):
    """What one reverse step returns.

    Attributes:
        prev_sample: x_prev, (b, c, h, w).
        pred_original_sample: the prediction of x_0, its own where it shows one, else by its table,
            its prediction type and its clipping.
    """

    prev_sample: Tensor
    pred_original_sample: Tensor


class OwnScheduler:
    """Somebody's scheduler in Diffusers' words; `compare.as_scheduler` makes it.

    Its own methods are called, in the way in which `compare` reads that they are called, and on
    the CPU: pictures that lie elsewhere come and go. `add_noise` and `get_velocity` that it does
    not have are those of its table. Pictures of a list of generators are stepped one by one, each
    with its own, so that a step that takes no generator draws from it too.

    Attributes:
        name: of the candidate.
        config: that of `scratch`'s DDPMScheduler with its table as `trained_betas`.
        betas, alphas, alphas_cumprod: (T,) float32; `alpha_bar` (T,) float64.
        timesteps: (n,) int64 from 0, the list of the chain; all T of them at first.
        num_inference_steps: n, or None.
        words: what departs from the contract in how it is called.
        order, init_noise_sigma: 1; Diffusers' pipelines ask for them.
    """

    order = 1
    init_noise_sigma = 1.0

    def __init__(self, subject: Subject) -> None:
        self.name = subject.name
        self._subject = subject
        with _told(self.name):
            self._own = subject.fresh(subject.setting)
            table = subject.scheduler().table()
        self._stand_in = _stand_in(subject, table)
        self.config = self._stand_in.config
        self.alpha_bar: Tensor = self._stand_in.alpha_bar
        self.betas, self.alphas = self._stand_in.betas, self._stand_in.alphas
        self.alphas_cumprod = self._stand_in.alphas_cumprod
        self.num_inference_steps: int | None = None
        self._visit(len(self))

    def __len__(self) -> int:
        return int(self.config.num_train_timesteps)

    def __repr__(self) -> str:
        kind = self.config.prediction_type
        return f"OwnScheduler({self.name}, num_train_timesteps={len(self)}, {kind})"

    @property
    def words(self) -> tuple[str, ...]:
        """What departs from the contract in how it is called."""
        return words_of(self._subject.door)

    def set_timesteps(
        self, num_inference_steps: int, device: str | torch.device | None = None
    ) -> None:
        """Choose its chain of `num_inference_steps`; `timesteps` then lies on `device`.

        Raises:
            ValueError: n is not in 1..T, or it has no such chain.
        """
        T = len(self)
        if not 1 <= num_inference_steps <= T:
            raise ValueError(
                f"num_inference_steps must be a whole number in 1..{T}, since {self.name} has {T} "
                f"timesteps, got {num_inference_steps!r}"
            )
        if num_inference_steps != T and not self._subject.has("set_timesteps"):
            raise ValueError(
                f"{self.name} has no set_timesteps(n), so that it visits all its timesteps; "
                f"got {num_inference_steps}, expected {T}"
            )
        self._visit(num_inference_steps, device)
        self.num_inference_steps = num_inference_steps

    def _visit(self, n: int, device: str | torch.device | None = None) -> None:
        with _told(self.name):
            visited = self._own.visit(n)
        if not visited:
            raise ValueError(f"{self.name}: set_timesteps({n}) leaves no timestep in 0..T-1")
        self._previous = dict(zip(visited, [*visited[1:], -1], strict=True))
        self.timesteps = torch.tensor(visited, dtype=torch.int64, device=device)

    def previous_timestep(self, timestep: int | Tensor) -> int:
        """The next timestep of its list after `timestep`; -1 after the last."""
        return self._previous[self._chosen(timestep)]

    def _chosen(self, timestep: int | Tensor) -> int:
        t = int(timestep)
        if t not in self._previous:
            raise ValueError(
                f"timestep {t} is not one of the {len(self._previous)} of {self.name}; call step "
                "with the values of scheduler.timesteps"
            )
        return t

    def scale_model_input(self, sample: Tensor, timestep: int | Tensor | None = None) -> Tensor:
        """DDPM feeds x_t to the network as it is: returns `sample`."""
        return sample

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x_t from x_0 in one jump, by its own `add_noise`, or by its table if it has none.

        Args:
            original_samples: x_0, (b, c, h, w) float, in [-1, 1].
            noise: eps, like x_0, from N(0, I).
            timesteps: t, (b,) integers in 0..T-1.

        Returns:
            x_t: like x_0.

        Raises:
            ValueError: it raises, or returns something of another shape.
        """
        return self._noised("add_noise", original_samples, noise, timesteps)

    def get_velocity(self, sample: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """v of clean images, as `add_noise`."""
        return self._noised("get_velocity", sample, noise, timesteps)

    def _noised(self, method: str, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        if not self._subject.has(method):
            made: Tensor = getattr(self._stand_in, method)(x_0, noise, t)
            return made
        at = torch.as_tensor(t).cpu().flatten().long().expand(len(x_0))
        with _told(self.name), drawing_from(None, kept=True):
            noised = self._own.noised(x_0.cpu(), noise.cpu(), at, method)
        return noised.to(x_0)

    def step(
        self,
        model_output: Tensor,
        timestep: int | Tensor,
        sample: Tensor,
        generator: Generators = None,
        return_dict: bool = True,
    ) -> Output | tuple[Tensor, Tensor]:
        """One reverse step, x_t -> x_prev, by its own `step`.

        Args:
            model_output: eps, x_0 or v by `config.prediction_type`, (b, c, h, w) float.
            timestep: t, one of `self.timesteps`.
            sample: x_t, like `model_output`.
            generator: where the step's noise comes from: one, or one for each image.
            return_dict: False returns the tuple (prev_sample, pred_original_sample).

        Raises:
            ValueError: it raises, or returns something of another shape, or `timestep` is none of
                its list.
        """
        t, out, x = self._chosen(timestep), model_output.detach().cpu(), sample.detach().cpu()
        one_by_one = isinstance(generator, list)
        parts = list(zip(out.split(1), x.split(1), strict=True)) if one_by_one else [(out, x)]
        sources = generator if isinstance(generator, list) else [generator]
        pairs = zip(parts, sources, strict=True)
        made = [self._stepped(o, t, part, source) for (o, part), source in pairs]
        prev, x_0 = (torch.cat(each).to(sample) for each in zip(*made, strict=True))
        return Output(prev, x_0) if return_dict else (prev, x_0)

    def _stepped(
        self, out: Tensor, t: int, x: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        source = None if self._subject.draws_from_generator else generator
        with _told(self.name), drawing_from(source):
            answer: Answer = self._own.step(out, t, x, None, generator or torch.default_generator)
        x_0 = self._x_0(out, t, x) if answer.x_0 is None else answer.x_0
        return answer.prev, x_0

    def _x_0(self, out: Tensor, t: int, x: Tensor) -> Tensor:
        """The prediction of x_0 of a step that does not show it."""
        setting, at = self._subject.setting, torch.tensor([t])
        level = RIGHT.level(self.alpha_bar.cpu(), at, at - 1, setting)
        x_0 = RIGHT.x_0(self.config.prediction_type, out.to(F64), x.to(F64), level)
        return RIGHT.limit(x_0.flatten(1), setting).reshape(x.shape)

    def save_pretrained(self, save_directory: str | os.PathLike) -> None:
        """Write `scheduler_config.json`: a DDPMScheduler of either backend with its table."""
        self._stand_in.save_pretrained(save_directory)


def as_scheduler(
    candidate: Any, reading: str | Sequence[str] = (), keywords: Mapping[str, Any] | None = None
) -> OwnScheduler:
    """Somebody's scheduler as one that trains and draws in the place of a backend's.

    Args:
        candidate: a class or factory, `"FILE.py:NAME"`, `"package.module:NAME"`, or an `Adapter`
            with a step, as for `compare.run`. It needs a `step`, and a table: `alphas_cumprod`,
            `betas`, or an `add_noise` that shows it.
        reading: how it is called where its code does not say so: `"step=x,t,out"`, `"t=1"` ...
        keywords: of its constructor, that are to be other than by default.

    Returns:
        The scheduler; it is built once, with its own defaults beside `keywords`.

    Raises:
        ValueError: it cannot be loaded, built or called, has no step, nothing says what its
            arguments are, or its numbers cannot be a table; one line.

    >>> class Mine:
    ...     alphas_cumprod = torch.linspace(0.99, 0.01, 10)
    ...     def step(self, model_output, t, x_t): return x_t - model_output
    >>> scheduler = as_scheduler(Mine, reading="t=0")
    >>> scheduler.step(torch.ones(1, 1, 2, 2), 3, torch.ones(1, 1, 2, 2)).prev_sample.sum()
    tensor(0.)
    """
    return scheduler_of(read(candidate, reading, keywords))


def scheduler_of(subject: Subject) -> OwnScheduler:
    """`as_scheduler` of a candidate that is read.

    Raises:
        ValueError: as for `as_scheduler`.
    """
    with quiet():
        _refuse_step(subject)
        scheduler = OwnScheduler(subject)
        _try(scheduler)
    return scheduler


def _refuse_step(subject: Subject) -> None:
    if not subject.has("step"):
        found = [m for m in ("sample", "loss", "network", "add_noise") if subject.has(m)]
        beside = f" (it has {', '.join(found)})" if found else ""
        raise ValueError(f"{subject.name} has no step(model_output, t, x_t){beside}; add one")
    if subject.door.output.value != SAME:
        raise ValueError(
            f"the step of {subject.name} wants {subject.door.output.value}, which no network here "
            "has; give it one of a fixed variance"
        )


def _stand_in(subject: Subject, table: Tensor | None) -> Any:
    """`scratch`'s scheduler with its table, which says whether it can be one."""
    name, setting = subject.name, subject.setting
    assert table is not None  # by compare.bring.read
    betas = 1 - table / torch.cat([table.new_ones(1), table[:-1]])
    kept = {option: getattr(setting, option) for option in KEPT}
    if setting.variance_type in get_args(VarianceType):
        kept["variance_type"] = setting.variance_type
    try:
        made = backends.load("scratch").DDPMScheduler
        return made(num_train_timesteps=len(table), trained_betas=betas.tolist(), **kept)
    except ValueError as error:
        raise ValueError(f"the table of {name} cannot be that of a DDPM: {error}") from None


def _try(scheduler: OwnScheduler) -> None:
    """Noises one picture at every level, and takes its first and its last step.

    Raises:
        ValueError: it raises, or something of it is no number.
    """
    T, name = len(scheduler), scheduler.name
    x = torch.linspace(-1, 1, 3 * 4 * 4).reshape(1, 3, 4, 4).expand(T, 3, 4, 4)
    noised = scheduler.add_noise(x, -x, torch.arange(T))
    wrong = (~noised.isfinite()).flatten(1).any(1).nonzero()
    if len(wrong):
        raise ValueError(f"add_noise of {name} gives what is no number, first at t={int(wrong[0])}")
    for t in dict.fromkeys((int(scheduler.timesteps[0]), int(scheduler.timesteps[-1]))):
        prev = scheduler.step(-x[:2], t, x[:2], torch.Generator().manual_seed(0))[0]
        if not bool(prev.isfinite().all()):
            raise ValueError(f"step of {name} gives what is no number at t={t}")


def words_of(door: Reading) -> tuple[str, ...]:
    """What of a door departs from the contract, in words."""
    return tuple(fact["words"] for fact in door.plain().values() if fact["words"])


@contextmanager
def drawing_from(generator: torch.Generator | None, kept: bool = False) -> Iterator[None]:
    """Inside the block the CPU's global generator is this one; then it is as it was.

    Args:
        generator: goes on by what is drawn; None for the global one itself.
        kept: whether the global one is put back all the same.
    """
    if generator is None and not kept:
        yield
        return
    before = torch.get_rng_state()
    if generator is not None:
        torch.set_rng_state(generator.get_state())
    try:
        yield
    finally:
        if generator is not None:
            generator.set_state(torch.get_rng_state())
        torch.set_rng_state(before)


@contextmanager
def _told(name: str) -> Iterator[None]:
    """What a candidate does instead of answering, as one line."""
    try:
        with interrupts_told():  # a Ctrl-C of the user's is no fault of theirs
            yield
    except Broken as broken:
        raise ValueError(f"{name}: {broken}") from None
