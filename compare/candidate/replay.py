"""The noise that a loop drew, replayed from its seed, so that its steps can be judged exactly."""

from dataclasses import dataclass

import torch
from torch import Tensor

from compare.oracle import F64

LOOKED_AT = 24  # calls by which the replay is tried
CLOSE = 1e-4  # of x: far above rounding, far below the noise of a wrong guess


@dataclass(frozen=True)
class Drawn:
    """What a loop drew, and what x_{t-1} is made of after some of the calls.

    Attributes:
        z: (calls, b, c, h, w) the noise of each step.
        some: (k,) of the calls.
        weights: (k, 3) what x_t, the output and z are multiplied by after them.
        error: (k, 3) the standard errors that float32 leaves of those.
    """

    z: Tensor
    some: Tensor
    weights: Tensor
    error: Tensor


def drawn(x: Tensor, out: Tensor, seed: int) -> Drawn | None:
    """The z of each step as `randn` goes on after x_T; None if the loop drew others.

    They are the loop's own if x_{t-1} is a sum of x_t, the model's output and z, whatever the
    coefficients: so a wrong formula is told apart from noise of another kind.

    Args:
        x: (calls, b, c, h, w) what the model was given.
        out: of that shape, what it answered.
        seed: of the generator and of the global state, from which x_T was drawn.

    >>> x, out = torch.randn(2, 2, 4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> stream = torch.Generator().manual_seed(5)
    >>> x[0] = torch.randn(4, 1, 8, 8, generator=stream)
    >>> x[1] = 0.9 * x[0] - 0.2 * out[0] + 0.5 * torch.randn(4, 1, 8, 8, generator=stream)
    >>> [round(w, 5) for w in drawn(x, out, 5).weights[0].tolist()], drawn(x, out, 6)
    ([0.9, -0.2, 0.5], None)
    """
    stream = torch.Generator().manual_seed(seed)
    shape = x.shape[1:]
    if not torch.equal(torch.randn(shape, generator=stream).to(x), x[0]):
        return None
    z = torch.stack([torch.randn(shape, generator=stream) for _ in range(len(x))])
    small = x.abs().amax(dim=(1, 2, 3, 4)).nan_to_num(torch.inf) < 1 / CLOSE
    calls = (small[:-1] & small[1:]).nonzero().flatten()
    calls = calls[:: 1 + len(calls) // LOOKED_AT]
    if not len(calls):
        return None
    parts = [v[calls].to(F64).flatten(1) for v in (x, out, z)]
    design = torch.stack([*parts, torch.ones_like(parts[0])], dim=2)  # (calls, pixels, 4)
    wanted = x[calls + 1].to(F64).flatten(1).unsqueeze(2)
    found = torch.linalg.lstsq(design, wanted, driver="gelsd").solution
    off = design @ found - wanted
    if not bool((off.abs().amax(dim=(1, 2)) <= CLOSE * (1 + wanted.abs().amax(dim=(1, 2)))).all()):
        return None
    spread = torch.linalg.pinv(design.mT @ design).diagonal(dim1=1, dim2=2).sqrt()
    error = off.square().mean(dim=1).sqrt() * spread
    return Drawn(z, calls, found[:, :3, 0], error[:, :3])
