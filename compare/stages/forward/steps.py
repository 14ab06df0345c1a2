"""q(x_t | x_0) once more from the single steps q(x_t | x_{t-1}).

What t steps of noising with the candidate's own betas make of an image, one after another, without
its table.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from compare.candidate.scheduler import Scheduler
from compare.measure.check import Check
from compare.measure.tolerances import FACTOR, UNIT, propagated_table, table_bound
from compare.measure.values import values
from compare.oracle import F64, Oracle
from compare.stages.forward.images import coefficients
from compare.stages.schedule import betas_of


def composed(betas: Tensor) -> tuple[Tensor, Tensor]:
    """(T,) signal and noise level after each single step x = sqrt(1 - beta) x + sqrt(beta) z.

    Independent noises add in their variances: Ho et al. eq. 2 and 4.

    >>> signal, noise = composed(torch.tensor([0.36, 0.75], dtype=F64))
    >>> [round(v, 9) for v in signal.tolist() + (noise**2).tolist()]
    [0.8, 0.4, 0.36, 0.84]
    """
    signal, variance = 1.0, 0.0
    signals, variances = [], []
    for beta in betas.tolist():
        signal, variance = (1 - beta) ** 0.5 * signal, (1 - beta) * variance + beta
        signals.append(signal)
        variances.append(variance)
    return torch.tensor(signals, dtype=F64), torch.tensor(variances, dtype=F64).sqrt()


def _betas(scheduler: Scheduler, table: Tensor) -> Tensor:
    """(T,) the candidate's own betas, or those of its table."""
    betas = scheduler.betas()
    betas = None if betas is None else betas[-len(table) :]
    if betas is None or len(betas) < len(table) or not bool(((betas >= 0) & (betas <= 1)).all()):
        return betas_of(table)
    return betas


def composition(scheduler: Scheduler, oracle: Oracle) -> Iterator[Check]:
    """The law of x_t from add_noise against that of single steps with the candidate's own betas."""
    T, table = scheduler.setting.num_train_timesteps, scheduler.alpha_bars(oracle)
    betas = _betas(scheduler, table)
    got = torch.stack(scheduler.coefficients(torch.float32))
    one = torch.ones(T, 1, 2, 3, dtype=F64)

    def from_table() -> tuple[Tensor, Tensor]:
        """What add_noise should be for the table that it reads."""

        def at(table: Tensor) -> Tensor:
            return torch.stack(coefficients(oracle.add_noise, table, one, torch.arange(T)))

        return at(table), propagated_table(at, table, at(table).abs())

    def from_steps() -> tuple[Tensor, Tensor]:
        signal, noise = composed(betas)
        alpha_bar = signal**2
        off = table_bound(alpha_bar) * alpha_bar / 2
        bounds = off / signal.clamp(min=1e-12), off / noise.clamp(min=1e-12)
        return torch.stack([signal, noise]), torch.stack(bounds) + FACTOR * UNIT

    yield values(
        "forward/composition",
        "the law of x_t after t single steps",
        got,
        from_table,
        from_steps,
        where=lambda at: f"{('the signal', 'the noise')[at[0]]} at t={at[1]}",
        input="add_noise of ones; a recursion over single steps with the candidate's own betas",
    )
