"""What calls of a loop show: what its model is asked, and what comes out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from compare.candidate.load import Broken, raised
from compare.candidate.replay import Drawn, drawn
from compare.candidate.spy import Spy, Told, exact_denoiser, exact_output, read_told
from compare.candidate.subject import Subject
from compare.oracle import F64

SHAPE = (32, 2, 8, 8)
FEW = (3, 1, 2, 2)
Answer = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Run:
    """A loop seen from the model: x (calls, ...), what it was told, and what came out.

    Attributes:
        x, out: (calls, b, c, h, w) float64 what the model was given, and answered.
        t: (calls,) what it was told of the first image.
        training: whether the model was in training mode at any call.
        left_training: and after the last.
        result: (b, c, h, w) the pictures.
        again: those of a second run with the same seed.
        apart: three pictures from a list of generators, together and one by one; None if refused.
        far: bytes from a model that is sure of a left half at 1.3 and a right half at -1.3, if the
            loop returns bytes.
        told: how the model is told t; `t` is what it is told times its unit.
        drawn: what the loop drew, where it can be replayed.
    """

    x: Tensor
    t: Tensor
    out: Tensor
    training: bool
    left_training: bool
    result: Tensor
    again: Tensor
    apart: tuple[Tensor, Tensor] | None
    far: Tensor | None
    told: Told
    drawn: Drawn | None


def look(subject: Subject, table: Tensor) -> Run:
    """Calls the loop with models of known answers; `table` (T,) is the candidate's alpha-bar."""
    kind, seed = subject.setting.prediction_type, 11 + 1000 * subject.seed

    told = read_told(loop_told(subject, table), len(table))

    def run(answer: Answer, shape: tuple[int, ...], generator: Any) -> tuple[Spy, Tensor]:
        model = Spy(answer, table, told)
        torch.default_generator.manual_seed(seed)
        return model, _call(subject, model, shape, generator)

    model, result = run(_restless(kind, table), SHAPE, _stream(seed))
    _, again = run(_restless(kind, table), SHAPE, _stream(seed))
    exact = exact_denoiser(kind, table)
    try:
        _, many = run(exact, FEW, [_stream(s) for s in (1, 2, 3)])
        alone = [run(exact, (1, *FEW[1:]), [_stream(s)])[1] for s in (1, 2, 3)]
        apart = (many, torch.cat(alone))
    except Broken:
        apart = None
    far = None
    if result.dtype == torch.uint8:
        _, far = run(_far_outside(kind, table), SHAPE, _stream(1))
    x = torch.stack([x for x, *_ in model.seen])
    out = torch.stack([out for _, _, out, _ in model.seen])
    return Run(
        x=x,
        t=torch.stack([t[0] for _, t, *_ in model.seen]),
        out=out,
        training=any(training for *_, training in model.seen),
        left_training=model.training,
        result=result,
        again=again,
        apart=apart,
        far=far,
        told=model.told or Told(),
        drawn=drawn(x, out, seed),
    )


def loop_told(subject: Subject, table: Tensor) -> Tensor:
    """(calls,) float64 what a loop tells a model that finds no noise, as it tells it."""

    def ask() -> Tensor:
        model, seed = Spy(lambda x, t: 0 * x, table), 11 + 1000 * subject.seed
        torch.default_generator.manual_seed(seed)
        _call(subject, model, SHAPE, _stream(seed))
        return torch.stack([t[0] for t in model.raw]).to(F64)

    return subject.remember(("loop told",), ask)


def _stream(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _call(subject: Subject, model: Spy, shape: tuple[int, ...], generator: Any) -> Tensor:
    assert subject.adapter is not None
    role: Any = subject.adapter.sample
    try:
        result = torch.as_tensor(role(model, shape, generator))
    except Exception as error:
        raise Broken(f"sample raises {raised(error)}") from None
    if tuple(result.shape) != shape:
        text = f"sample returned shape {tuple(result.shape)}, asked for {shape}"
        raise Broken(text, raised=False)
    if not model.seen:
        raise Broken("sample never calls the model", raised=False)
    return result.detach()


def _restless(kind: str, table: Tensor) -> Answer:
    """The exact denoiser of "sample", off by something else at each call, as what it is asked for.

    So the output is no function of x_t, and each has a coefficient of its own in x_{t-1}.
    """
    exact, stream = exact_denoiser("sample", table), torch.Generator().manual_seed(3)

    def answer(x: Tensor, t: Tensor) -> Tensor:
        off = 0.6 * torch.rand(x.shape, generator=stream, dtype=F64) - 0.3
        return exact_output(kind, table, x, t, (exact(x, t) + off).clamp(-0.95, 0.95))

    return answer


def _far_outside(kind: str, table: Tensor) -> Answer:
    """A denoiser sure of a picture half brighter than white and half darker than black."""

    def answer(x: Tensor, t: Tensor) -> Tensor:
        x_0 = torch.full_like(x, 1.3)
        x_0[..., x.shape[-1] // 2 :] = -1.3
        return exact_output(kind, table, x, t, x_0)

    return answer
