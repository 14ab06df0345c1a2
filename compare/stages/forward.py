"""Stage forward: add_noise and get_velocity, given the candidate's own alpha-bar table.

And q(x_t | x_0) once more from the single steps q(x_t | x_{t-1}): what t steps of noising with the
candidate's own betas make of an image, one after another, without its table.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from compare.candidate.load import Broken
from compare.candidate.scheduler import Scheduler, seed_everything
from compare.candidate.spy import per_image
from compare.candidate.subject import Subject
from compare.measure.check import Check, found, guarded, note, within, yes_no
from compare.measure.noise import Statistic, statistics
from compare.measure.tolerances import FACTOR, HALF_UNIT, UNIT, propagated_table, table_bound
from compare.measure.values import Expected, deviation, values
from compare.oracle import F64, Oracle
from compare.stages.schedule import betas_of
from compare.stages.stage import Stage

Formula = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
Coefficients = tuple[Tensor, Tensor]  # (T,) of x_0 and of the noise, float64
COEFFICIENTS = "coefficients"  # the check of both at every t
CLEAR = 1e-3  # of a coefficient: what six digits show at every t
HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
VELOCITY = (
    "v = sqrt(alpha_bar_t) noise - sqrt(1 - alpha_bar_t) x_0, called as "
    "get_velocity(x_0, noise, t) (Salimans & Ho, section 4)"
)


def checks(subject: Subject, oracle: Oracle) -> Iterator[Check]:
    """Coefficients at every t, images of several shapes, every shape of t, half precision."""
    scheduler = subject.scheduler()
    if subject.has("add_noise"):
        yield from _method(scheduler, "add_noise", oracle, oracle.add_noise)
        yield from _of_ones(scheduler, oracle)
    if subject.has("get_velocity"):
        yield from _method(scheduler, "get_velocity", oracle, oracle.velocity)
    if subject.has("add_noise") and "noise" not in subject.door.order("add_noise").takes:
        yield from guarded("forward/noise", _own_noise(scheduler), quiet=True)
    yield _inputs(subject)


def _of_ones(scheduler: Scheduler, oracle: Oracle) -> Iterator[Check]:
    """The law of single steps, half precision, and what that leaves behind.

    That add_noise raises, or has wrong coefficients, is said before.
    """
    off = _slipped(scheduler, "add_noise", oracle, oracle.add_noise)
    for check in guarded("forward/composition", _composition(scheduler, oracle), quiet=True):
        follows = off is not None and check.status == "differs"
        yield _as_its_coefficients(check, "add_noise") if follows else check
    for name, dtype in HALVES.items():
        id = f"forward/{name}"
        yield from guarded(id, _half(id, scheduler, oracle, dtype, off), quiet=True)
    yield from guarded("forward/kept", _kept(scheduler), quiet=True)


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


def _method(scheduler: Scheduler, method: str, oracle: Oracle, formula: Formula) -> Iterator[Check]:
    """`add_noise` or `get_velocity` of all images.

    What is wrong in its two coefficients is said once: the other images follow from them.
    """
    off = _slipped(scheduler, method, oracle, formula)
    for given in _given(scheduler):
        judged = _images(scheduler, method, given, oracle, formula)
        for check in guarded(f"forward/{method}/{given.name}", judged, quiet=given.odd):
            if off is None or check.status != "differs":
                yield check
            elif given.name == COEFFICIENTS:
                yield _told(check, scheduler, method, oracle, off)
            else:
                yield _following(check, scheduler, method, given, off)
    if method == "add_noise":
        yield from guarded("forward/add_noise/t-(1,b)", _flattened(scheduler, oracle), quiet=True)


def _slipped(
    scheduler: Scheduler, method: str, oracle: Oracle, formula: Formula
) -> Coefficients | None:
    """The method's own coefficients, if it has such and the formula looked for has others."""
    with suppress(Broken):
        judged = _images(scheduler, method, next(_given(scheduler)), oracle, formula)
        if not all(check.passed for check in judged):
            return own_coefficients(scheduler, method)
    return None


def _images(
    scheduler: Scheduler, method: str, given: Images, oracle: Oracle, formula: Formula
) -> Iterator[Check]:
    id, table = f"forward/{method}/{given.name}", scheduler.alpha_bars(oracle)
    try:
        got = _answer(scheduler, method, given)
    except Broken as broken:
        if not _also_raises(formula, given, table):
            raise
        yield found(id, "close", f"{broken}, as the formula looked for does")
        return
    ts = given.t.flatten().tolist()
    yield values(
        id,
        method,
        got,
        _expected(formula, given, table),
        _expected(formula, given, oracle.alpha_bar(scheduler.setting)),
        where=lambda at: f"t={ts[min(at[0], len(ts) - 1)]}, image {at[0]}",
        input=f"images {tuple(given.x_0.shape)} {given.x_0.dtype}, t of shape "
        f"{tuple(given.t.shape)}",
        right=VELOCITY if method == "get_velocity" else "",
    )


def _answer(scheduler: Scheduler, method: str, given: Images) -> Tensor:
    """What the method makes of the images, float64."""
    key = (scheduler.key, method, given.name)
    ask = partial(scheduler.add_noise, given.x_0, given.noise, given.t, method)
    answer: Tensor = scheduler.subject.remember(key, ask)
    return answer


def own_coefficients(scheduler: Scheduler, method: str) -> Coefficients | None:
    """(T,) each, float64: what the method multiplies x_0 and the noise by at t = 0..T-1.

    None if it does not answer, or is not the same multiple of every pixel.
    """
    given = next(_given(scheduler))
    T = scheduler.setting.num_train_timesteps
    try:
        noisy, clean = _answer(scheduler, method, given).flatten(1).split(T)
    except Broken:
        return None
    found = []
    for seen, alone in ((clean, given.x_0[T:]), (noisy, given.noise[:T])):
        pixels = alone.flatten(1).to(F64)
        found.append((seen * pixels).sum(1) / pixels.square().sum(1))
        left = (seen - found[-1].unsqueeze(1) * pixels).abs()
        if not bool((left <= 2 * FACTOR * UNIT * seen.abs().amax(1, True)).all()):
            return None
    return found[0], found[1]


def _told(
    check: Check, scheduler: Scheduler, method: str, oracle: Oracle, own: Coefficients
) -> Check:
    """The check, in the words of the coefficients that are off: at both ends, in the middle and
    where it is worst, beside what they should be."""
    T, table = len(own[0]), scheduler.alpha_bars(oracle)
    formula = oracle.add_noise if method == "add_noise" else oracle.velocity
    right = coefficients(formula, table, torch.ones(T, 1, 2, 3, dtype=F64), torch.arange(T))
    gaps = [(has - wanted).abs() / wanted.abs() for has, wanted in zip(own, right, strict=True)]
    worst = int(torch.stack(gaps).amax(0).nan_to_num(0.0).argmax())
    ts, said = sorted({0, T // 2, worst, T - 1}), []
    for name, has, wanted, gap in zip(("x_0", "the noise"), own, right, gaps, strict=True):
        if float(gap.max()) > CLEAR:
            is_now, should = (", ".join(f"{float(v[t]):.6g}" for t in ts) for v in (has, wanted))
            said.append(f"{name} is multiplied by {is_now}, should be by {should}")
    if not said:
        return check
    words = f"in {method} {'; '.join(said)}, at t = {', '.join(map(str, ts))}"
    return replace(check, message=words)


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


def coefficients(formula: Formula, table: Tensor, one: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """What a formula multiplies x_0 and the noise by; `one` are images of ones."""
    found = []
    for x_0, noise in ((one, 0 * one), (0 * one, one)):
        torch.default_generator.manual_seed(0)
        found.append(formula(x_0, noise, table, t)[:, 0, 0, 0])
    return found[0], found[1]


def _following(
    check: Check, scheduler: Scheduler, method: str, given: Images, own: Coefficients
) -> Check:
    """A check that differs as the method's own coefficients say; else as it is."""
    if given.t.numel() not in (1, len(given.x_0)):
        return check
    of_x_0, of_noise = (per_image(values[given.t.flatten()], given.x_0) for values in own)
    parts = of_x_0 * given.x_0.to(F64), of_noise * given.noise.to(F64)
    allowed = 2 * FACTOR * UNIT * (parts[0].abs() + parts[1].abs())
    same = deviation(_answer(scheduler, method, given), parts[0] + parts[1], allowed)[0]
    return check if same == "differs" else _as_its_coefficients(check, method)


def _as_its_coefficients(check: Check, method: str) -> Check:
    words = f"as its coefficients at each t say (forward/{method}/coefficients)"
    return replace(check, status="follows", message=words, whole=None)


def _flattened(scheduler: Scheduler, oracle: Oracle) -> Iterator[Check]:
    """A note only: t of shape (1, b) is nobody's duty, but Diffusers flattens it."""
    T, (x_0, noise) = scheduler.setting.num_train_timesteps, torch.ones(2, 3, 3, 4, 3)
    if T < 3 or not scheduler.subject.has("set_timesteps"):
        return
    given = Images("t-(1,b)", x_0, 0 * noise, torch.tensor([[0, T // 3, T - 1]]))
    of_channels = scheduler.alpha_bars(oracle)[given.t.flatten()].sqrt().reshape(1, 3, 1, 1)
    got = _answer(scheduler, "add_noise", given)
    if deviation(got, of_channels.expand(got.shape), 1e-3 * of_channels)[0] != "differs":
        yield note(
            "forward/add_noise/t-(1,b)",
            "t of shape (1, b) is not flattened, so each channel gets a t of its own: mistake 22 "
            "where somebody passes it",
            bug="22",
        )


def _half(
    id: str, scheduler: Scheduler, oracle: Oracle, dtype: torch.dtype, off: Coefficients | None
) -> Iterator[Check]:
    """Noise alone and image alone at t = 0..10, where 1 - alpha_bar is smallest."""
    upto = min(11, scheduler.setting.num_train_timesteps)
    one = torch.ones(upto, 1, 2, 3, dtype=dtype)
    table = scheduler.alpha_bars(oracle)

    def expected() -> tuple[Tensor, Tensor]:
        right = torch.cat(coefficients(oracle.add_noise, table, one, torch.arange(upto))).to(F64)
        return right, FACTOR * HALF_UNIT[dtype] * right.abs()

    got = torch.cat(_fresh(scheduler, dtype).coefficients(dtype, upto))
    check = values(
        id,
        "a coefficient of add_noise",
        got,
        expected,
        where=lambda at: f"t={at[0] % upto}",
        tolerance="half",
        input=f"{id.partition('/')[2]} images, t = 0..{upto - 1}",
    )
    if off is not None and check.status == "differs":
        own = torch.cat([values[:upto] for values in off])
        if deviation(got, own, FACTOR * HALF_UNIT[dtype] * own.abs())[0] != "differs":
            check = _as_its_coefficients(check, "add_noise")
    yield check


def _fresh(scheduler: Scheduler, dtype: torch.dtype) -> Scheduler:
    """One made for images of this dtype alone: whatever they leave behind spoils no other."""
    subject = scheduler.subject
    made = subject.remember(("made for", dtype), lambda: subject.fresh(scheduler.setting))
    return replace(made, key=f"made for {dtype}")


def _kept(scheduler: Scheduler) -> Iterator[Check]:
    """add_noise of float32 images before and after one call with images of half precision."""
    upto = min(11, scheduler.setting.num_train_timesteps)

    def ask() -> list[Tensor]:
        made, seen = scheduler.subject.fresh(scheduler.setting), []
        for dtype in (torch.float32, torch.bfloat16, torch.float32):
            one = torch.ones(upto, 1, 2, 3, dtype=dtype)
            seen.append(made.add_noise(0 * one, one, torch.arange(upto))[:, 0, 0, 0])
        return seen

    before, _, after = scheduler.subject.remember((scheduler.key, "kept"), ask)
    off = (before != after).nonzero().flatten().tolist()
    t = off[0] if off else 0
    message = (
        "one call with bfloat16 images leaves the table in bfloat16 for good: of float32 images "
        f"the noise is then multiplied by {float(after[t]):.6g} at t={t}, before by "
        f"{float(before[t]):.6g}"
    )
    yield found(
        "forward/kept",
        "differs" if off else "equal",
        message if off else "a call with bfloat16 images changes nothing for float32 images",
        right="a table that stays as it is: cast what is read from it, alpha_bar[t].to(x.dtype), "
        "not what is kept",
        input=f"add_noise of float32, bfloat16 and float32 images, t = 0..{upto - 1}",
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
        return betas_of(table)
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


def _own_noise(scheduler: Scheduler) -> Iterator[Check]:
    """The law of the noise that an `add_noise` which takes none draws by itself."""

    def ask() -> dict[str, Statistic]:
        x_0, t = torch.zeros(64, 4, 32, 32), torch.zeros(64, dtype=torch.long)
        seed_everything(scheduler.subject.seed)
        return statistics(*(scheduler.noise_of_its_own(x_0, t) for _ in range(2)))

    for name, seen in scheduler.subject.remember((scheduler.key, "own noise"), ask).items():
        yield within(
            f"forward/noise/{name.replace(' ', '-')}",
            abs(seen.value - seen.right),
            seen.allowed(),
            f"{name} of the noise that add_noise draws is {seen.value:.4f}, should be {seen.right}",
            reason=seen.reason(),
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
    needs="add_noise or get_velocity",
)
