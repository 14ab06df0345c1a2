"""The two coefficients of a step, read in every basis that a program may be written in.

x_prev = a x_t + b out is measured. A program may also weigh x0-hat and x_t (Ho et al. eq. 7), or
x0-hat and the noise (Song et al. eq. 12), or be right in both weights and wrong in x0-hat. In the
basis in which it is written a wrong coefficient is short, and it is the only wrong one.
"""

from collections.abc import Callable, Iterator

from compare.formulas.bases import ddim, ddpm
from compare.formulas.bases.pairs import of_x_0
from compare.formulas.curves import Reading
from compare.formulas.parts.measured import Measured
from compare.oracle.samplers import DDIM, DDPM

BY_SAMPLER: dict[str, Callable[[Measured], Iterator[Reading]]] = {
    DDPM.name: ddpm.readings,
    DDIM.name: ddim.readings,
}  # of another nothing is read: its own mistakes alone name what is wrong


def readings(seen: Measured) -> Iterator[Reading]:
    """The step in every basis that its sampler is written in, the likeliest first."""
    read = BY_SAMPLER.get(seen.setting.sampler)
    return read(seen) if read is not None else iter(())


def shown_x_0(seen: Measured) -> Iterator[Reading]:
    """What x_t and the model's output weigh in the x0-hat that a candidate shows."""
    return of_x_0(seen, seen.x_0)
