"""Stage forward: add_noise and get_velocity, given the candidate's own alpha-bar table.

And q(x_t | x_0) once more from the single steps q(x_t | x_{t-1}): what t steps of noising with the
candidate's own betas make of an image, one after another, without its table.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from compare.candidate.load import Broken
from compare.candidate.scheduler import Scheduler
from compare.candidate.subject import Subject
from compare.measure.check import Check, found, guarded, yes_no
from compare.measure.tolerances import FACTOR, HALF_UNIT, UNIT, propagated_table, table_bound
from compare.measure.values import Expected, values
from compare.oracle import F64, Oracle
from compare.stages.stage import Stage

Formula = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
VELOCITY = (
    "v = sqrt(alpha_bar_t) noise - sqrt(1 - alpha_bar_t) x_0, called as "
    "get_velocity(x_0, noise, t) (Salimans & Ho, section 4)"
)


def checks(subject: Subject, oracle: Oracle) -> Iterator[Check]:
    """Coefficients at every t, images of several shapes, every shape of t, half precision."""
    if not subject.has("add_noise"):
        if subject.adapter is None:
            yield found("forward/add_noise", "error", "has no method add_noise(x_0, noise, t)")
        return
    scheduler = subject.scheduler()
    yield from _method(scheduler, "add_noise", oracle, oracle.add_noise)
    if subject.has("get_velocity"):
        yield from _method(scheduler, "get_velocity", oracle, oracle.velocity)
    for name, dtype in (("float16", torch.float16), ("bfloat16", torch.bfloat16)):
        id = f"forward/{name}"
        yield from guarded(id, _half(id, scheduler, oracle, dtype), quiet=True)
    # that it raises is said above
    yield from guarded("forward/composition", _composition(scheduler, oracle), quiet=True)
    yield _inputs(subject)


@dataclass(frozen=True)
class Images:
    """What a method is given; `odd` if nobody has to understand a t of that shape."""

    name: str
    x_0: Tensor
    noise: Tensor
    t: Tensor
    odd: bool = False


def _given(scheduler: Scheduler) -> Iterator[Images]:
    """Images of every shape that is looked at, with every shape of t."""
    T = scheduler.setting.num_train_timesteps
    generator = torch.Generator().manual_seed(scheduler.subject.seed + 7)

    def images(
        name: str, shape: tuple[int, ...], t: Tensor, dtype: torch.dtype = torch.float32
    ) -> Images:
        x_0, noise = torch.randn(2, *shape, generator=generator, dtype=dtype)
        return Images(name, x_0, noise, t, name.startswith("t-"))

    every = torch.arange(T).repeat(2)
    alone = images("coefficients", (2 * T, 1, 2, 3), every)
    alone.x_0[:T], alone.noise[T:] = 0, 0  # noise alone, then the image alone: visible at every t
    yield alone
    yield images("float64", (2 * T, 1, 2, 3), every, torch.float64)
    some = torch.tensor([0, T // 3, T - 1, T // 2, 1])
    yield images("per-image", (5, 3, 4, 6), some)
    yield images("batch-is-width", (4, 3, 4, 4), some[:4])
    yield images("t-scalar", (3, 3, 4, 5), torch.tensor(T // 3))
    yield images("t-(1,)", (3, 3, 4, 5), torch.tensor([T // 3]))
    yield images("t-(b,1)", (3, 3, 4, 3), some[:3].reshape(3, 1))
    if scheduler.subject.has("set_timesteps"):  # it stands in for Diffusers', which flattens t
        yield images("t-(1,b)", (3, 3, 4, 3), some[:3].reshape(1, 3))


def _method(scheduler: Scheduler, method: str, oracle: Oracle, formula: Formula) -> Iterator[Check]:
    """`add_noise` or `get_velocity` of all images."""
    for given in _given(scheduler):
        judged = _images(scheduler, method, given, oracle, formula)
        yield from guarded(f"forward/{method}/{given.name}", judged, quiet=given.odd)


def _images(
    scheduler: Scheduler, method: str, given: Images, oracle: Oracle, formula: Formula
) -> Iterator[Check]:
    id, table = f"forward/{method}/{given.name}", scheduler.alpha_bars(oracle)
    x_0, noise, t = given.x_0, given.noise, given.t
    try:
        got = scheduler.subject.remember(
            (scheduler.key, method, given.name), lambda: scheduler.add_noise(x_0, noise, t, method)
        )
    except Broken as broken:
        if not _also_raises(formula, given, table):
            raise
        yield found(id, "close", f"{broken}, as the formula looked for does")
        return
    ts = t.flatten().tolist()
    yield values(
        id,
        method,
        got,
        _expected(formula, given, table),
        _expected(formula, given, oracle.alpha_bar(scheduler.setting)),
        where=lambda at: f"t={ts[min(at[0], len(ts) - 1)]}, image {at[0]}",
        input=f"images {tuple(x_0.shape)} {x_0.dtype}, t of shape {tuple(t.shape)}",
        right=VELOCITY if method == "get_velocity" else "",
    )


def _expected(formula: Formula, given: Images, table: Tensor) -> Expected:
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


def _also_raises(formula: Formula, given: Images, table: Tensor) -> bool:
    x_0, noise = given.x_0.to(F64), given.noise.to(F64)
    try:
        return formula(x_0, noise, table, given.t).shape != x_0.shape
    except (RuntimeError, IndexError):
        return True


def coefficients(oracle: Oracle, table: Tensor, one: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """What an oracle's add_noise multiplies x_0 and the noise by; `one` are images of ones."""
    found = []
    for x_0, noise in ((one, 0 * one), (0 * one, one)):
        torch.default_generator.manual_seed(0)
        found.append(oracle.add_noise(x_0, noise, table, t)[:, 0, 0, 0])
    return found[0], found[1]


def _half(id: str, scheduler: Scheduler, oracle: Oracle, dtype: torch.dtype) -> Iterator[Check]:
    """Noise alone and image alone at t = 0..10, where 1 - alpha_bar is smallest."""
    upto = min(11, scheduler.setting.num_train_timesteps)
    one = torch.ones(upto, 1, 2, 3, dtype=dtype)
    table = scheduler.alpha_bars(oracle)

    def expected() -> tuple[Tensor, Tensor]:
        right = torch.cat(coefficients(oracle, table, one, torch.arange(upto))).to(F64)
        return right, FACTOR * HALF_UNIT[dtype] * right.abs()

    yield values(
        id,
        "a coefficient of add_noise",
        torch.cat(scheduler.coefficients(dtype, upto)),
        expected,
        where=lambda at: f"t={at[0] % upto}",
        tolerance="half",
        input=f"{id.partition('/')[2]} images, t = 0..{upto - 1}",
    )


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
        return 1 - table / torch.cat([torch.ones(1, dtype=F64), table[:-1]])
    return betas


def _composition(scheduler: Scheduler, oracle: Oracle) -> Iterator[Check]:
    """The law of x_t from add_noise against that of single steps with the candidate's own betas."""
    T, table = scheduler.setting.num_train_timesteps, scheduler.alpha_bars(oracle)
    betas = _betas(scheduler, table)
    got = torch.stack(scheduler.coefficients(torch.float32))
    one = torch.ones(T, 1, 2, 3, dtype=F64)

    def from_table() -> tuple[Tensor, Tensor]:
        """What add_noise should be for the table that it reads."""

        def at(table: Tensor) -> Tensor:
            return torch.stack(coefficients(oracle, table, one, torch.arange(T)))

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


def _inputs(subject: Subject) -> Check:
    changed = sorted(w for w in subject.overwritten if not w.startswith("step"))
    return yes_no(
        "forward/inputs",
        not changed,
        "images and noise are left as they were",
        f"{' and '.join(changed)} in place: a loss that compares with them goes wrong",
    )


FORWARD = Stage(
    name="forward",
    looks_at="add_noise and get_velocity: every t, per image, any shape of t, half precision",
    right="x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) noise (Ho et al. eq. 4)",
    page="forward",
    checks=checks,
)
