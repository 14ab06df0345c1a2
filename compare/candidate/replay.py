"""The noise that a loop drew, replayed from its seed, so that its steps can be judged exactly."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from compare.oracle import F64

LOOKED_AT = 24  # calls by which the replay is tried
AT_ONCE = 64  # calls that are fitted together, for memory
EXPLODED = 1e3  # of x: no loop of a right formula comes near it
CLOSE = 1e-4  # of x: far above rounding, far below the noise of a wrong guess
MOST = 0.9  # of the pixels of a step that is a sum but where something is cut off
TRIMMED = 3  # times the others are left out
WITHIN = 0.2  # a correlation: far above those of a dozen draws with other numbers
ROUNDED = 2.0**-50  # of the largest part, by the solution itself
SAME = 0.01  # of the noise: far above what rounding leaves of it, far below that of another draw


class Weights(NamedTuple):
    """What x_{t-1} is made of after k calls.

    Attributes:
        values: (k, 3) what x_t, the output and z are multiplied by.
        error: (k, 3) the standard errors that float32 leaves of those.
        whole: (k,) bool, whether x_{t-1} is such a sum, at most of its pixels at least.
        cut: (k,) bool, whether it is none at a few pixels.
    """

    values: Tensor
    error: Tensor
    whole: Tensor
    cut: Tensor


DRAWING = re.compile("rand|normal|uniform_|bernoulli|multinomial|poisson|exponential_|dropout")


@dataclass(frozen=True)
class Drawn:
    """What a loop drew, and what x_{t-1} is made of after some of the calls.

    Attributes:
        z: (calls, b, c, h, w) the noise of each step.
        some: (k,) of the calls.
        weights, error: (k, 3) see `Weights`.
        cut: some steps are no sums at a few pixels.
    """

    z: Tensor
    some: Tensor
    weights: Tensor
    error: Tensor
    cut: bool


def global_seed(seed: int) -> int:
    """The seed of the global state beside a generator of this one: other numbers, as where x_T is
    drawn from the one and z from the other they must not be the same."""
    return seed + 500_000


@cache
def _draws(func: Any) -> bool:
    """True for a function of torch's that draws random numbers, by its name."""
    return bool(DRAWING.match(getattr(func, "__name__", "")))


class Recorded(TorchFunctionMode):
    """While open, writes down the numbers from N(0, 1) that torch draws, so many at a time, and
    counts whatever it draws.

    >>> with Recorded(6) as recorded:
    ...     z = torch.randn(2, 3), torch.rand(6), torch.empty(6).normal_()
    >>> [torch.equal(seen, z[i]) for seen, i in zip(recorded.found, (0, 2), strict=True)]
    [True, True]
    """

    DRAWS = frozenset({torch.randn, torch.randn_like, torch.Tensor.normal_})

    def __init__(self, count: int):
        super().__init__()
        self.count, self.found = count, list[Tensor]()
        self.draws = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The call; what it draws is kept."""
        result = func(*args, **(kwargs or {}))
        self.draws += _draws(func)
        if func in self.DRAWS and result.numel() == self.count:
            alone = len(args) == 1 and {*(kwargs or {})} <= {"generator"}
            if func is not torch.Tensor.normal_ or alone:
                self.found.append(result.detach().clone())
        return result


def drawn(x: Tensor, out: Tensor, seed: int) -> Drawn | None:
    """The z of each step as `randn` goes on after x_T, or as it begins in another stream; None if
    the loop drew others.

    They are the loop's own if x_{t-1} is a sum of x_t, the model's output and z, whatever the
    coefficients: so a wrong formula is told apart from noise of another kind.

    Args:
        x: (calls, b, c, h, w) what the model was given.
        out: of that shape, what it answered.
        seed: of the generator, from which that of the global state follows.

    >>> x, out = torch.randn(2, 2, 4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> stream = torch.Generator().manual_seed(5)
    >>> x[0] = torch.randn(4, 1, 8, 8, generator=stream)
    >>> x[1] = 0.9 * x[0] - 0.2 * out[0] + 0.5 * torch.randn(4, 1, 8, 8, generator=stream)
    >>> [round(w, 5) for w in drawn(x, out, 5).weights[0].tolist()], drawn(x, out, 6)
    ([0.9, -0.2, 0.5], None)
    """
    return _fitting(x, out, _replayed(x, seed))


def drawn_as_seen(x: Tensor, out: Tensor, recorded: Sequence[Tensor]) -> Drawn | None:
    """The same of what the loop was seen to draw."""
    return _fitting(x, out, _seen(x, recorded))


def noise_within(
    x: Tensor, out: Tensor, seed: int, recorded: Sequence[Tensor], draws: int
) -> Tensor | None:
    """(calls, b, c, h, w) the noise of a loop whose steps are no sums: what is found in the rest
    that x_t and the model's output leave of them, nothing where x_T is all that it `draws`; else
    None."""
    calls = _some(x)
    if not len(calls):
        return None
    parts = x[calls], out[calls], torch.ones_like(x[calls])
    rest = -_fitted(_columns(*parts), _columns(x[calls + 1]))[1].squeeze(2)
    for z in (*_replayed(x, seed), *_seen(x, recorded)):
        alike = torch.cosine_similarity(rest, z[calls].to(F64).flatten(1), dim=1)
        if float(alike.mean()) > WITHIN:
            return z
    alone = draws == len(recorded) == 1 and torch.equal(
        recorded[0].reshape(x.shape[1:]).to(x), x[0]
    )
    return torch.zeros_like(x) if alone else None


def remembers(x: Tensor, out: Tensor) -> bool:
    """True if x_{t-1} is a sum of x_t and the model's output and of those before, exactly.

    A step that asks twice (Heun's) goes by the call before; one of Adams and Bashforth by three.

    Args:
        x, out: (calls, b, c, h, w) what the model was given, and what it answered.
    """
    return any(_goes_by(x, out, before) for before in (1, 3))


def _goes_by(x: Tensor, out: Tensor, before: int) -> bool:
    """The same of x_t and the one before it, and of so many outputs before this one."""
    calls = _some(x)
    calls = calls[calls >= before]
    if len(calls) < 2:
        return False
    parts = [x[calls], x[calls - 1], *(out[calls - ago] for ago in range(before + 1))]
    off = _fitted(_columns(*parts), _columns(x[calls + 1]))[1].abs().amax(dim=(1, 2))
    return bool((off <= CLOSE * (1 + x[calls + 1].abs().amax(dim=(1, 2, 3, 4)))).all())


def _seen(x: Tensor, recorded: Sequence[Tensor]) -> Iterator[Tensor]:
    """(calls, b, c, h, w) what a loop was seen to draw, in its order, where that is one z for each
    step, the last of which may have none, and x_T before them unless that is made of other numbers;
    none too if two of them are the same."""
    found = [z.reshape(x.shape[1:]) for z in recorded if z.numel() == x[0].numel()]
    start = next((i for i, z in enumerate(found) if torch.equal(z.to(x), x[0])), -1)
    after = found[start + 1 :]
    fresh = len({float(z.flatten()[0]) for z in after}) == len(after) > 0
    if fresh and len(after) in (len(x) - 1, len(x)):
        yield torch.stack([*after, torch.zeros_like(after[0])][: len(x)])


def _fitting(x: Tensor, out: Tensor, noises: Iterable[Tensor]) -> Drawn | None:
    """The first of these noises with which every step is a sum."""
    calls = _some(x)
    for z in noises if len(calls) else ():
        found = weighed(x, out, z, calls)
        if bool(found.whole.all()):
            return Drawn(z, calls, found.values, found.error, bool(found.cut.any()))
    return None


def _replayed(x: Tensor, seed: int) -> Iterator[Tensor]:
    """(calls, b, c, h, w) what the stream that x_T is drawn from gives next, then what each other
    gives from its start: torch's two, and numpy's global state."""
    seeded = ((_of_torch, seed), (_of_torch, global_seed(seed)), (_of_numpy, global_seed(seed)))
    for dtype in (torch.float32, torch.float64):
        streams = [partial(draw, each, x, dtype) for draw, each in seeded]
        for own in streams:
            if torch.equal(own(1)[0].to(x), x[0]):
                yield own(len(x) + 1)[1:]
                yield from (other(len(x)) for other in streams if other is not own)


def _of_torch(seed: int, like: Tensor, dtype: torch.dtype, count: int) -> Tensor:
    stream = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(like.shape[1:], generator=stream, dtype=dtype) for _ in range(count)]
    return torch.stack(drawn)


def _of_numpy(seed: int, like: Tensor, dtype: torch.dtype, count: int) -> Tensor:
    stream = np.random.RandomState(seed)  # that of np.random after np.random.seed
    return torch.from_numpy(stream.standard_normal((count, *like.shape[1:]))).to(dtype)


def weighed(x: Tensor, out: Tensor, z: Tensor, calls: Tensor) -> Weights:
    """What x_t, the output and the noise are multiplied by after some calls (k,)."""
    parts = [_weighed(x, out, z, some) for some in calls.split(AT_ONCE)]
    return Weights(*(torch.cat(part) for part in zip(*parts, strict=True)))


def _weighed(x: Tensor, out: Tensor, z: Tensor, calls: Tensor) -> tuple[Tensor, ...]:
    design = _columns(x[calls], out[calls], z[calls], torch.ones_like(x[calls]))
    wanted = _columns(x[calls + 1])
    found, off = _fitted(design, wanted)
    left = off
    close = CLOSE * (1 + wanted.abs().amax(dim=(1, 2)))
    whole = off.abs().amax(dim=(1, 2)) <= close
    cut = ~whole
    for _ in range(TRIMMED if bool(cut.any()) else 0):  # a few pixels may be cut off
        most = off.abs() <= off.abs().quantile(MOST, dim=1, keepdim=True)
        found, _ = _fitted(design * most, wanted * most)
        off = design @ found - wanted
        left = off * most
        whole = left.abs().amax(dim=(1, 2)) <= close
    size = _sizes(design)
    even = design / size
    spread = torch.linalg.pinv(even.mT @ even).diagonal(dim1=1, dim2=2).sqrt() / size.squeeze(1)
    error = left.square().mean(dim=1).sqrt() * spread
    error = error + ROUNDED * (found.abs() * size.mT).amax(dim=1) / size.squeeze(1)
    return found[:, :3, 0], error[:, :3], whole, cut


def fixed_noise(x: Tensor, out: Tensor, other_x: Tensor, other_out: Tensor) -> str:
    """What two runs with two seeds have in common: `"x_T"`, `"noise"` or nothing.

    The difference of two runs is a sum of the differences of x_t and of the outputs where their
    noise is the same, though each by itself is none.

    Args:
        x, out: (calls, b, c, h, w) what the model was given, and answered.
        other_x, other_out: the same with the other seed.
    """
    if x.shape != other_x.shape:
        return ""
    if torch.equal(x[0], other_x[0]) and len(x[0].unique()) > 1:  # it is drawn
        return "x_T"
    calls = _some(torch.maximum(x.abs(), other_x.abs()))
    if not len(calls):
        return ""
    one, two = ([v[calls], w[calls], v[calls + 1]] for v, w in ((x, out), (other_x, other_out)))
    ones = torch.ones_like(one[0])
    parts = (one, [a - b for a, b in zip(one, two, strict=True)])
    alone, apart = (
        _fitted(_columns(a, o, ones), _columns(after))[1].square().mean(dim=(1, 2)).sqrt()
        for a, o, after in parts
    )
    noisy = alone > CLOSE * (1 + one[2].abs().amax(dim=(1, 2, 3, 4)))
    return "noise" if bool(noisy.any()) and bool((apart < SAME * alone)[noisy].all()) else ""


def _some(x: Tensor) -> Tensor:
    """Some of the calls that a step follows, where x is not so large that rounding hides z: of a
    step that asks twice the first and the second."""
    small = x.abs().amax(dim=(1, 2, 3, 4)).nan_to_num(torch.inf) < EXPLODED
    calls = (small[:-1] & small[1:]).nonzero().flatten()
    return calls[:: (1 + len(calls) // LOOKED_AT) | 1]


def _columns(*parts: Tensor) -> Tensor:
    """(calls, b, c, h, w) each -> (calls, pixels, parts)."""
    return torch.stack([v.to(F64).flatten(1) for v in parts], dim=2)


def _fitted(design: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """The least squares solution of each call, and what it leaves, however large one part is."""
    size = _sizes(design)
    found = torch.linalg.lstsq(design / size, wanted, driver="gelsd").solution / size.mT
    return found, design @ found - wanted


def _sizes(design: Tensor) -> Tensor:
    """(calls, 1, parts) the length of each column, 1 where it is 0."""
    size = torch.linalg.vector_norm(design, dim=1, keepdim=True)
    return torch.where(size > 0, size, 1.0)
