"""The model that a whole loop or a loss is given, and exact denoisers."""

from collections.abc import Callable
from copy import copy
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from compare.candidate.arrays import to_arrays, to_tensors
from compare.candidate.door.handing import given_for
from compare.candidate.door.reading import PLAIN
from compare.candidate.model.call import Manner, Place, read
from compare.candidate.model.output import Use, output
from compare.candidate.model.owner import Owner
from compare.candidate.model.told import Told, taken_for
from compare.oracle import F64

CENTRE, SPREAD = 0.1, 0.2  # of the data that the exact denoiser knows: x0-hat never leaves [-1, 1]
Answer = Callable[[Tensor, Tensor], Tensor]


class Asked(NamedTuple):
    """One question to the model, and its answer.

    Attributes:
        x: (b, c, h, w) float64; points (b, d) are (b, d, 1, 1).
        said: (b,) as it was told t.
        t: (b,) the same in steps.
        out: (b, c, h, w) float64.
        training: whether the model was in training mode.
        labels: {place: value} of what else it was told.
    """

    x: Tensor
    said: Tensor
    t: Tensor
    out: Tensor
    training: bool
    labels: dict[Place, Any]


class OtherPictures(Exception):
    """A model that was to see pictures of one shape was given others, and answers no more."""


class Config(dict[str, Any]):
    """Values that can be asked for as attributes too."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(f"the config of the model has no {name!r}; it has {', '.join(self)}")


class Model(nn.Module):
    """A model in training mode that remembers what it was asked, in whatever way.

    Args:
        answer: (x_t (b, c, h, w), t) -> output, t (b,) int64 from 0.
        table: (T,) alpha-bars.
        manner: how the caller calls it; None if a call says all of it.
        patient: whether it answers pictures of another shape than its manner's too.

    A batch of the same pictures twice is two questions.
    """

    self_condition = random_or_learned_sinusoidal_cond = False  # a sampler may ask for these

    def __init__(
        self, answer: Answer, table: Tensor, manner: Manner | None = None, patient: bool = True
    ):
        super().__init__()
        self.patient = patient
        self.dtype = torch.float32
        self.weight = nn.Parameter(torch.zeros(()))  # a loop may ask for the device of a parameter
        self.answer, self.table, self.manner = answer, table, manner or Manner(())
        self.seen: list[Asked] = []
        self.shapes: list[torch.Size] = []  # of the pictures, as they were given
        self.maybe: dict[Place, list[Tensor]] = {}  # what may have been t, call by call
        self.told = self.manner.told
        self.uses: list[Use] = []
        self.drawn: list[Tensor] = []  # what a loop drew, as many numbers as its pictures have
        self.draws = 0  # how often it drew any
        self.beside = self.manner.beside
        self.trained = self.put_in_training = False  # by who has it; and asked so
        self.owner = Owner()
        self.halves: list[Tensor] | None = None  # the v that it gave, if asked to keep those
        self.in_arrays = False  # whether it was asked by a program in NumPy
        size = self.manner.shape or (0, 0, 0)
        about = dict.fromkeys(("in_channels", "channels", "out_channels", "out_dim"), size[1])
        about |= dict.fromkeys(("image_size", "sample_size", "img_size"), size[-1])
        self.config = Config(about)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Model":
        """A copy, such as one whose weights are averaged, with weights of its own: what it is asked
        the model was asked."""
        other = copy(self)
        own = nn.Parameter(self.weight.detach().clone(), self.weight.requires_grad)
        other._parameters = {"weight": own}
        return other

    def train(self, mode: bool = True) -> "Model":
        """The mode, as of any module; who has it may have put it in training."""
        self.trained = mode
        return super().train(mode)

    @property
    def kept(self) -> bool:
        """Whether an object that is no module keeps it, and asks it."""
        return self.owner.keeps(self)

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.weight.device

    def __getattr__(self, name: str) -> Any:
        config = self.__dict__.get("config", {})
        if name in config:
            return config[name]
        try:
            return super().__getattr__(name)
        except AttributeError:
            known = ", ".join((*config, "device", "dtype", "training"))
            text = f"the model that is handed over has no attribute {name!r}; it has {known}"
            raise AttributeError(text) from None

    def forward(self, *given: Any, **named: Any) -> Any:
        """The answer, also as its own `.sample`; a tuple if that is asked for."""
        whole = named.pop("return_dict", True)
        self.owner.called(self)
        asked_with = [*given, *named.values()]
        if not self.in_arrays and any(isinstance(each, np.ndarray) for each in asked_with):
            self.in_arrays = True
        if self.in_arrays:
            given, named = to_tensors(given), to_tensors(named)
        with torch._C.DisableTorchFunction():  # what it computes is none of the candidate's
            call = read(given, named, self.manner, self.beside)
            for place, value in call.maybe.items():
                self.maybe.setdefault(place, []).append(value.detach().flatten().clone())
            if call.beside.where:
                self.beside = call.beside
            if self.dtype != call.x.dtype:
                self.dtype = call.x.dtype
            out = self._answered(call.x.detach(), call.t.detach(), call.more)
            learned = self.manner.learned
            v = None if learned is None else torch.full_like(call.x, learned)
            if v is not None and self.halves is not None:
                self.halves.append(v.requires_grad_())
            if v is not None and not self.manner.pair:
                out = torch.cat([out, v.to(out)], dim=1)
            out = out.to(call.x.dtype) * (1 + self.weight)  # so that a gradient reaches it
            if self.in_arrays:
                answer = (out, v) if self.manner.pair else out if whole else (out,)
                return to_arrays(answer)
        made = output(out)
        self.uses.append(made.use)
        if self.manner.pair:
            return made.sample, v
        return made if whole else (made.sample,)

    def _answered(self, x: Tensor, t: Tensor, more: dict[Place, Any]) -> Tensor:
        """The answers to all pictures, those of a doubled batch one time after the other."""
        times = self._times(x)
        shape = x[times[0]].shape
        self.shapes.append(shape)
        if not self.patient and tuple(shape) != self.manner.shape:
            raise OtherPictures
        t = t.reshape(-1).expand(len(x)) if t.numel() == 1 else t.reshape(-1)
        if self.told is None:
            self.told = taken_for(t, len(self.table))
        outs = torch.empty(x.shape, dtype=F64)
        for once in times:
            labels = {place: _part(v, once, len(x)) for place, v in more.items()}
            outs[once] = self._ask(x[once], t[once], labels).reshape(shape)
        return outs

    def _times(self, x: Tensor) -> list[slice]:
        """The rows of each time that the same pictures stand in one batch: one batch after the
        other, or every picture by itself."""
        b = self.manner.shape[0] if self.manner.shape else len(x)
        k = len(x) // b if len(x) % b == 0 else 1
        for times in (
            [slice(i * b, (i + 1) * b) for i in range(k)],
            [slice(i, None, k) for i in range(k)],
        ):
            if k > 1 and all(torch.equal(x[once], x[times[0]]) for once in times):
                return times
        return [slice(None)]

    def _ask(self, x: Tensor, t: Tensor, labels: dict[Place, Any]) -> Tensor:
        told = self.told or Told()
        steps = told.steps(t)
        at = (steps.long() - told.base).clamp(0, len(self.table) - 1)
        wide = as_pictures(x).to(F64, copy=True)  # it may be changed
        factor: Tensor | float = 1.0
        if self.manner.answers != PLAIN:
            factor = given_for(self.manner.answers, per_image(self.table[at], wide))
        given = (self.answer(wide, at) * factor).to(x.dtype).to(F64)  # as the caller gets it
        out = given / factor
        training = self.training and not self.in_arrays  # NumPy's have no mode
        if training and self.trained:
            self.put_in_training = True
        self.seen.append(Asked(wide, t.clone(), steps.clone(), out, training, labels))
        return given


def _part(value: Any, once: slice, images: int) -> Any:
    """What some pictures of a batch were told."""
    whole = isinstance(value, Tensor) and value.dim() and len(value) == images
    return value[once].clone() if whole else value


def per_image(values: Tensor, like: Tensor) -> Tensor:
    """(b,) -> (b, 1, 1, 1)."""
    return values.reshape(-1, *[1] * (like.dim() - 1))


def as_pictures(x: Tensor) -> Tensor:
    """Points (b, d) and sequences (b, l, d) with axes of one number more, the slices of volumes
    (b, c, d, h, w) one below the other, pictures as they are: (b, c, h, w)."""
    return x.flatten(2, 3) if x.dim() == 5 else x.reshape(*x.shape, *[1] * (4 - x.dim()))


def exact_output(kind: str, table: Tensor, x_t: Tensor, t: Tensor, x_0: Tensor) -> Tensor:
    """What a model that knows x_0 returns."""
    alpha_bar = per_image(table[t], x_t)
    return output_of(kind, x_t, x_0, alpha_bar.sqrt(), (1 - alpha_bar).sqrt())


def output_of(kind: str, x_t: Tensor, x_0: Tensor, signal: Tensor, noise: Tensor) -> Tensor:
    """The same by sqrt(alpha-bar) and sqrt(1 - alpha-bar) of each image, (b, 1, 1, 1)."""
    if kind == "sample":
        return x_0
    eps = (x_t - signal * x_0) / noise
    return eps if kind == "epsilon" else signal * eps - noise * x_0


def exact_denoiser(
    kind: str,
    table: Tensor,
    centre: float | Tensor = CENTRE,
    spread: float | Tensor = SPREAD,
    apart: float | Tensor = 0.0,
) -> Any:
    """The exact answer for data of two modes: E[x_0 given x_t], in closed form.

    A picture is centre + apart or centre - apart at every pixel, both as likely, plus
    N(0, spread^2); `apart` = 0 leaves the Gaussian. The posterior mean is that of each mode,
    weighed by how likely the mode is, which makes the tanh. All in float64, alpha-bars (T,).

    Args:
        kind: what the model returns: `"epsilon"`, `"sample"` or `"v_prediction"`.
        table: (T,) alpha-bars.
        centre, spread, apart: of the data; floats, or (b, 1, 1, 1) to differ from image to image.

    Returns:
        (x_t (b, c, h, w), t (b,) or (1,)) -> output (b, c, h, w).
    """

    def answer(x_t: Tensor, t: Tensor) -> Tensor:
        alpha_bar = per_image(table[t], x_t)
        signal = alpha_bar.sqrt()
        variance = alpha_bar * spread**2 + 1 - alpha_bar
        gain = signal * spread**2 / variance
        off = x_t - signal * centre
        x_0 = centre + gain * off
        if isinstance(apart, Tensor) or apart:
            likely = (signal * apart / variance * off.sum(dim=(1, 2, 3), keepdim=True)).tanh()
            x_0 = x_0 + (1 - gain * signal) * apart * likely
        return exact_output(kind, table, x_t, t, x_0)

    return answer


def affine_denoiser(kind: str, table: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """(k,) slope and height at 0 of the exact output for data N(CENTRE, SPREAD^2) at each t."""
    answer = exact_denoiser(kind, table)
    at_0, at_1 = (answer(torch.full((len(t), 1, 1, 1), v, dtype=F64), t).flatten() for v in (0, 1))
    return at_1 - at_0, at_0
