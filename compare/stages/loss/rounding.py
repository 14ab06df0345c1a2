"""What the precision of a loss may do to what is seen of it."""

from dataclasses import dataclass

from torch import Tensor

from compare.candidate.loss.calls import HEIGHT
from compare.candidate.loss.look import Seen
from compare.measure.tolerances import FACTOR, HALF_UNIT, UNIT, table_bound
from compare.oracle.algorithms import TARGETS


@dataclass(frozen=True)
class Rounding:
    """What the precision of a loss may do, by the dtype of what its model was given.

    Attributes:
        unit: half the distance between neighbours of that dtype, relative.
        table: (T,) how far off each alpha-bar may be, relative.
        noise: (T,) how far the noise in x_t may be from what the model is asked for.
        sums: how far a sum over a batch may be off, relative.
    """

    unit: float
    table: Tensor
    noise: Tensor
    sums: float

    def left(self, kind: str, table: Tensor) -> Tensor:
        """(T,) the mean square that is left of a perfect model's error."""
        return (TARGETS[kind](table)[0] * self.noise).square() + (FACTOR * self.unit) ** 2


def rounding_of(seen: Seen, table: Tensor) -> Rounding:
    """The loss has its own alpha-bars, and x_t, of mean square 1 at most, is rounded."""
    unit, own = HALF_UNIT.get(seen.dtype, UNIT), table_bound(table)
    signal, level = table.sqrt(), (1 - table).clamp(min=1e-12).sqrt()
    noise = FACTOR * unit / level + own / 2 * (signal * HEIGHT / level + table / level.square())
    return Rounding(unit, own, noise, UNIT * seen.images * seen.pixels + 2 * FACTOR * unit)
