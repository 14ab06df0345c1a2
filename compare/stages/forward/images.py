"""What add_noise and get_velocity are given, what they make of it, and what a formula makes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from compare.candidate.load import Broken
from compare.candidate.scheduler import Scheduler
from compare.measure.tolerances import FACTOR, UNIT, propagated_table
from compare.measure.values import Expected
from compare.oracle import F64

Formula = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
Coefficients = tuple[Tensor, Tensor]  # (T,) of x_0 and of the noise, float64
COEFFICIENTS = "coefficients"  # the images that show both at every t


@dataclass(frozen=True)
class Images:
    """What a method is given; `odd` if nobody has to understand a t of that shape."""

    name: str
    x_0: Tensor
    noise: Tensor
    t: Tensor
    odd: bool = False


def given_to(scheduler: Scheduler) -> Iterator[Images]:
    """Images of every shape that is looked at, with every shape of t."""
    T = scheduler.setting.num_train_timesteps
    generator = torch.Generator().manual_seed(scheduler.subject.seed + 7)

    def images(
        name: str, shape: tuple[int, ...], t: Tensor, dtype: torch.dtype = torch.float32
    ) -> Images:
        x_0, noise = torch.randn(2, *shape, generator=generator, dtype=dtype)
        return Images(name, x_0, noise, t, name.startswith("t-"))

    every = torch.arange(T).repeat(2)
    alone = images(COEFFICIENTS, (2 * T, 1, 2, 3), every)
    alone.x_0[:T], alone.noise[T:] = 0, 0  # noise alone, then the image alone: visible at every t
    yield alone
    yield images("float64", (2 * T, 1, 2, 3), every, torch.float64)
    some = torch.tensor([0, T // 3, T - 1, T // 2, 1])
    yield images("per-image", (5, 3, 4, 6), some)
    yield images("batch-is-width", (4, 3, 4, 4), some[:4])
    yield images("t-scalar", (3, 3, 4, 5), torch.tensor(T // 3))
    yield images("t-(1,)", (3, 3, 4, 5), torch.tensor([T // 3]))
    yield images("t-(b,1)", (3, 3, 4, 3), some[:3].reshape(3, 1))


def answer(scheduler: Scheduler, method: str, given: Images) -> Tensor:
    """What the method makes of the images, float64."""
    key = (scheduler.key, method, given.name)
    ask = partial(scheduler.add_noise, given.x_0, given.noise, given.t, method)
    answer: Tensor = scheduler.subject.remember(key, ask)
    return answer


def expected_of(formula: Formula, given: Images, table: Tensor) -> Expected:
    """What the formula makes of the images, in float64, and what is allowed."""
    x_0, noise, t = given.x_0.to(F64), given.noise.to(F64), given.t

    def at(table: Tensor) -> Tensor:
        torch.default_generator.manual_seed(0)
        return formula(x_0, noise, table, t)

    def expected() -> tuple[Tensor, Tensor]:
        torch.default_generator.manual_seed(0)
        parts = formula(x_0, 0 * noise, table, t), formula(0 * x_0, noise, table, t)
        return at(table), propagated_table(at, table, parts[0].abs() + parts[1].abs())

    return expected


def coefficients(formula: Formula, table: Tensor, one: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """What a formula multiplies x_0 and the noise by; `one` are images of ones."""
    found = []
    for x_0, noise in ((one, 0 * one), (0 * one, one)):
        torch.default_generator.manual_seed(0)
        found.append(formula(x_0, noise, table, t)[:, 0, 0, 0])
    return found[0], found[1]


def own_coefficients(scheduler: Scheduler, method: str) -> Coefficients | None:
    """(T,) each, float64: what the method multiplies x_0 and the noise by at t = 0..T-1.

    None if it does not answer, or multiplies some pixels of the images by something else.
    """
    given = next(given_to(scheduler))
    T = scheduler.setting.num_train_timesteps
    try:
        found = scheduler.coefficients(torch.float32, method=method)
        noisy, clean = answer(scheduler, method, given).flatten(1).split(T)
    except Broken:
        return None
    of_x_0, of_noise = (c.unsqueeze(1) for c in found)
    for seen, made in (
        (clean, of_x_0 * given.x_0[T:].flatten(1)),
        (noisy, of_noise * given.noise[:T].flatten(1)),
    ):
        off = (seen - made).abs()
        if not bool((off <= 2 * FACTOR * UNIT * seen.abs().amax(1, True)).all()):
            return None
    return found
