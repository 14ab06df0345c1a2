"""Stage forward: add_noise and get_velocity, given the candidate's own alpha-bar table.

And q(x_t | x_0) once more from the single steps q(x_t | x_{t-1}): what t steps of noising with the
candidate's own betas make of an image, one after another, without its table.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from compare.candidate.scheduler import Broken, Built
from compare.candidate.subject import Subject
from compare.measure.ledger import Expected, Ledger
from compare.measure.probe import alpha_bars
from compare.measure.tolerances import FACTOR, HALF_UNIT, UNIT, propagated_table, table_bound
from compare.oracle import F64, Oracle, Setting
from compare.verdict.report import Check

Formula = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
CATCHES = "mistakes 5, 6, 17, 21, 22"


def checks(subject: Subject, oracle: Oracle) -> list[Check]:
    """Coefficients at every t, images of several shapes, every shape of t, half precision."""
    ledger = Ledger("forward", subject.strict)
    if not subject.has("add_noise"):
        if subject.adapter is None:
            ledger.add("add_noise", "error", "has no method add_noise(x_0, noise, t)")
        return ledger.checks
    for method in ("add_noise", "get_velocity"):
        if subject.has(method):
            formula = oracle.add_noise if method == "add_noise" else oracle.velocity
            _method(ledger, method, subject, oracle, formula)
    for dtype in (torch.float16, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        with ledger.guard(name, quiet=True):
            _half(ledger, name, subject, oracle, dtype)
    with ledger.guard("composition", quiet=True):  # that it raises is said above
        _composition(ledger, subject, oracle)
    _inputs(ledger, subject)
    return ledger.checks


def _method(
    ledger: Ledger, method: str, subject: Subject, oracle: Oracle, formula: Formula
) -> None:
    setting = subject.setting
    built = subject.build(setting)
    assert built is not None
    tables = alpha_bars(subject, oracle, setting), oracle.alpha_bar(setting)
    generator = torch.Generator().manual_seed(subject.seed + 7)
    T = setting.num_train_timesteps

    def look(name: str, shape: tuple[int, ...], t: Tensor, dtype: torch.dtype, odd: bool) -> None:
        x_0, noise = torch.randn(2, *shape, generator=generator, dtype=dtype)
        if name == "coefficients":  # noise alone, then the image alone: both visible at every t
            x_0[: len(x_0) // 2], noise[len(x_0) // 2 :] = 0, 0
        with ledger.guard(f"{method}/{name}", quiet=odd):
            _images(ledger, f"{method}/{name}", built, formula, tables, x_0, noise, t, odd)

    every = torch.arange(T).repeat(2)
    look("coefficients", (2 * T, 1, 2, 3), every, torch.float32, False)
    look("float64", (2 * T, 1, 2, 3), every, torch.float64, False)
    some = torch.tensor([0, T // 3, T - 1, T // 2, 1])
    look("per-image", (5, 3, 4, 6), some, torch.float32, False)
    look("batch-is-width", (4, 3, 4, 4), some[:4], torch.float32, False)
    look("t-scalar", (3, 3, 4, 5), torch.tensor(T // 3), torch.float32, True)
    look("t-(1,)", (3, 3, 4, 5), torch.tensor([T // 3]), torch.float32, True)
    look("t-(b,1)", (3, 3, 4, 3), some[:3].reshape(3, 1), torch.float32, True)
    if subject.has("set_timesteps"):  # it stands in for Diffusers' scheduler, which flattens t
        look("t-(1,b)", (3, 3, 4, 3), some[:3].reshape(1, 3), torch.float32, True)


def _images(
    ledger: Ledger,
    name: str,
    built: Built,
    formula: Formula,
    tables: tuple[Tensor, Tensor],
    x_0: Tensor,
    noise: Tensor,
    t: Tensor,
    odd: bool,
) -> None:
    key = (built.key, name)
    try:
        got = built.subject.remember(key, lambda: built.add_noise(x_0, noise, t, _name_of(name)))
    except Broken as broken:
        if _also_raises(formula, x_0, noise, tables[0], t):
            message = f"{broken}, as the formula looked for does"
            ledger.add(name, "close", message)
            return
        if odd:
            broken.raised = True  # a wrong shape for an unusual t is as loud as a refusal
        raise
    both = x_0.to(F64), noise.to(F64)

    def expected(table: Tensor) -> Expected:
        def at(table: Tensor) -> Tensor:
            torch.default_generator.manual_seed(0)
            return formula(*both, table, t)

        terms = at_terms(formula, both, table, t)
        return lambda: (at(table), propagated_table(at, table, terms))

    ts = t.flatten().tolist()
    ledger.values(
        name,
        _name_of(name),
        got,
        expected(tables[0]),
        expected(tables[1]),
        where=lambda at: f"t={ts[min(at[0], len(ts) - 1)]}, image {at[0]}",
        input=f"images {tuple(x_0.shape)} {x_0.dtype}, t of shape {tuple(t.shape)}",
        catches=CATCHES,
    )


def at_terms(formula: Formula, both: tuple[Tensor, Tensor], table: Tensor, t: Tensor) -> Tensor:
    """|signal term| + |noise term|."""
    x_0, noise = both
    torch.default_generator.manual_seed(0)
    return formula(x_0, 0 * noise, table, t).abs() + formula(0 * x_0, noise, table, t).abs()


def _name_of(name: str) -> str:
    return name.split("/")[0]


def _also_raises(formula: Formula, x_0: Tensor, noise: Tensor, table: Tensor, t: Tensor) -> bool:
    try:
        return formula(x_0.to(F64), noise.to(F64), table, t).shape != x_0.shape
    except (RuntimeError, IndexError):
        return True


def _half(ledger: Ledger, name: str, subject: Subject, oracle: Oracle, dtype: torch.dtype) -> None:
    """Noise alone and image alone at t = 0..10, where 1 - alpha_bar is smallest."""
    setting: Setting = subject.setting
    built = subject.build(setting)
    assert built is not None
    upto = min(11, setting.num_train_timesteps)
    got = torch.cat(built.coefficients(dtype, upto))
    t = torch.arange(upto)
    one = torch.ones(upto, 1, 2, 3, dtype=dtype)
    table = alpha_bars(subject, oracle, setting)

    def expected() -> tuple[Tensor, Tensor]:
        pair = []
        for x_0, noise in ((one, 0 * one), (0 * one, one)):
            torch.default_generator.manual_seed(0)
            pair.append(oracle.add_noise(x_0, noise, table, t))
        right = torch.cat(pair)[:, 0, 0, 0].to(F64)
        return right, FACTOR * HALF_UNIT[dtype] * right.abs()

    ledger.values(
        name,
        "a coefficient of add_noise",
        got,
        expected,
        where=lambda at: f"t={at[0] % upto}",
        tolerance="half",
        input=f"{name} images, t = 0..{upto - 1}",
        catches="mistake 31",
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


def _composition(ledger: Ledger, subject: Subject, oracle: Oracle) -> None:
    """The law of x_t from add_noise against that of single steps with the candidate's own betas."""
    setting = subject.setting
    built = subject.build(setting)
    assert built is not None
    T, table = setting.num_train_timesteps, alpha_bars(subject, oracle, setting)
    betas = built.betas()
    betas = None if betas is None else betas[-T:]
    if betas is None or len(betas) < T or not bool(((betas >= 0) & (betas <= 1)).all()):
        betas = 1 - table / torch.cat([torch.ones(1, dtype=F64), table[:-1]])
    got = torch.stack(built.coefficients(torch.float32))
    one = torch.ones(T, 1, 2, 3, dtype=F64)

    def from_table() -> tuple[Tensor, Tensor]:
        """What add_noise should be for the table that it reads."""

        def at(table: Tensor) -> Tensor:
            pair = []
            for x_0, noise in ((one, 0 * one), (0 * one, one)):
                torch.default_generator.manual_seed(0)
                pair.append(oracle.add_noise(x_0, noise, table, torch.arange(T))[:, 0, 0, 0])
            return torch.stack(pair)

        return at(table), propagated_table(at, table, at(table).abs())

    def from_steps() -> tuple[Tensor, Tensor]:
        signal, noise = composed(betas)
        alpha_bar = signal**2
        off = table_bound(alpha_bar) * alpha_bar / 2
        bounds = off / signal.clamp(min=1e-12), off / noise.clamp(min=1e-12)
        return torch.stack([signal, noise]), torch.stack(bounds) + FACTOR * UNIT

    ledger.values(
        "composition",
        "the law of x_t after t single steps",
        got,
        from_table,
        from_steps,
        where=lambda at: f"{('the signal', 'the noise')[at[0]]} at t={at[1]}",
        input="add_noise of ones; a recursion over single steps with the candidate's own betas",
        catches=CATCHES,
    )


def _inputs(ledger: Ledger, subject: Subject) -> None:
    changed = sorted(w for w in subject.overwritten if not w.startswith("step"))
    ledger.judge(
        "inputs",
        not changed,
        "images and noise are left as they were",
        f"{' and '.join(changed)} in place: a loss that compares with them goes wrong",
        catches="arguments changed in place",
    )
