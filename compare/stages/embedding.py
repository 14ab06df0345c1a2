"""Stage embedding (the role `embedding`): sinusoids of t, by any of their conventions.

What is no such table by any of them, nor by a mistake of the catalogue, may be another kind, such
as Fourier features: it is undecided (`verdict/door/rivals.py`).
"""

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor

from compare.candidate.generators import seed_everything
from compare.candidate.load import Broken, raised
from compare.candidate.subject import Subject
from compare.measure.check import Check, guarded, note, yes_no
from compare.measure.tolerances import FACTOR, HALF_UNIT, UNIT
from compare.measure.values import values
from compare.oracle import F64, Oracle, Waves
from compare.stages.stage import Stage
from compare.stages.waves import NICE, other_waves

DIMS = (32, 8, 128)
DENSE = 31  # the first t, one after another: no usual dim, nor half of one
SPREAD = 30  # and so many up to T-1
MADE_FOR_UNIT = "t / T"  # of an embedding that multiplies by T or 1000 itself
HALF = HALF_UNIT[torch.bfloat16]


@dataclass(frozen=True)
class Seen:
    """What an embedding answered for three batches: in order, mixed, and of one t.

    Attributes:
        t: a batch each, (b,) float64.
        rows: its answers, float64; (b, dim) if it is right.
        unit: half the spacing of floats of its dtype, of a half precision; else 0.
        floats: it answers t as integers too, and is right for t as floats alone.
    """

    t: list[Tensor]
    rows: list[Tensor]
    unit: float
    floats: bool = False

    @property
    def stays(self) -> bool:
        """True if a t has the same row wherever it stands in a batch."""
        return _stays(self.t, self.rows, self.unit)


def _stays(t: list[Tensor], rows: list[Tensor], unit: float = 0.0) -> bool:
    known = dict(zip(t[0].tolist(), rows[0], strict=False))
    again = [torch.stack([known[at] for at in batch.tolist()]) for batch in t]
    gap = (torch.cat(again) - torch.cat(rows)).abs()
    return bool((gap <= FACTOR * (UNIT + unit)).all())


def checks(subject: Subject, oracle: Oracle) -> Iterator[Check]:
    """For each dim: shape, finite numbers, rows that stay, the sinusoids, and their precision."""
    for dim in DIMS:
        yield from guarded(f"embedding/{dim}", _of(subject, oracle, dim))
    if _is_for_unit(subject):
        yield note("embedding/unit", "it is made for t / T of 0..1, and is given such")
    elif _is_of_floats(subject):
        yield note("embedding/floats", "it is right for t as floats, and not for t as integers")


def _of(subject: Subject, oracle: Oracle, dim: int) -> Iterator[Check]:
    seen, id = _seen(subject, dim, _is_for_unit(subject)), f"embedding/{dim}"
    shapes = [tuple(row.shape) for row in seen.rows]
    waves, angles = _fit(subject, oracle, dim)
    wanted = [tuple(angle.shape) for angle, _ in angles]
    fits = shapes == wanted
    i, of = (0, f"{len(seen.t[0])} timesteps") if shapes[0] != wanted[0] else (2, "1 timestep")
    wrong = f"embedding(t, {dim}) of {of} is of shape {shapes[i]}, should be {wanted[i]}"
    yield yes_no(f"{id}/shape", fits, "one row for each t, one column for each entry", wrong)
    if not fits:
        return
    finite = all(bool(rows.isfinite().all()) for rows in seen.rows)
    yield yes_no(f"{id}/finite", finite, "every number is finite", "there is NaN or infinity")
    if not finite:
        return
    rows = [torch.where(cosine, angle.cos(), angle.sin()) for angle, cosine in angles]
    if shapes[0] == (len(seen.t[0]), dim):
        yield yes_no(
            f"{id}/alone",
            seen.stays == _stays(seen.t, rows),
            "the row of a t does not depend on its place in the batch",
            "the row of a t depends on its place in the batch, or on the other t of it",
        )
    yield from _sinusoids(id, seen, waves, rows, [angle for angle, _ in angles])


def _sinusoids(
    id: str, seen: Seen, waves: Waves, rows: list[Tensor], angles: list[Tensor]
) -> Iterator[Check]:
    """The waves as far as half precision shows them, then within the bounds of float32."""
    got, right, angle = (torch.cat(each)[None] for each in (seen.rows, rows, angles))
    t = torch.cat(seen.t)

    def where(at: tuple[int, ...]) -> str:
        return f"t={float(t[at[1] % len(t)]):g}, entry {at[2]}"

    again = _repeated(got[0], t) if len(t) == len(got[0]) else ""
    if again and not _repeated(right[0], t):
        yield yes_no(f"{id}/columns", False, "", again)
    judged = partial(values, what="the table", measured=got, where=where, tolerance="waves")
    coarse = judged(f"{id}/waves", expected=lambda: (right, _coarse(angle)))
    what, other = (
        ("", "") if coarse.passed else other_waves(seen.rows[0][:DENSE], seen.t[0][:DENSE])
    )
    if other:
        yield yes_no(f"{id}/{what}", False, "", other, right=EMBEDDING.right)
        return
    yield coarse
    if coarse.passed:
        fine = _fine(angle, waves) + FACTOR * seen.unit
        formula = "computed in float32: t, its frequencies and their product"
        yield judged(f"{id}/precision", expected=lambda: (right, fine), right=formula)


def _repeated(rows: Tensor, t: Tensor) -> str:
    """Which column of a table is another, or that times -1, at every t; "" if none is.

    >>> t = torch.arange(9.0)
    >>> _repeated(torch.stack([t.sin(), t.cos(), -t.sin()], dim=1), t)
    'entry 2 is entry 0 times -1 at every t, and says nothing more'
    """
    may = FACTOR * UNIT * (1 + t.abs())[:, None, None]
    for sign, words in ((1, ""), (-1, " times -1")):
        alike = ((rows[:, :, None] - sign * rows[:, None, :]).abs() <= may).all(0).tril(-1)
        alike &= (rows.amax(0) > rows.amin(0))[:, None]
        if bool(alike.any()):
            j, i = (int(v) for v in alike.nonzero()[0])
            return f"entry {j} is entry {i}{words} at every t, and says nothing more"
    return ""


def _fine(angle: Tensor, waves: Waves) -> Tensor:
    """What float32 may do to the sine of an angle: see TOLERANCES."""
    return FACTOR * UNIT * (1 + angle.abs() * (1 + math.log(max(waves.period, math.e))))


def _coarse(angle: Tensor) -> Tensor:
    """The same where t, frequency and product are rounded to bfloat16."""
    fastest = angle.abs().amax(dim=-2, keepdim=True).clamp(min=1e-30)
    logs = (fastest.max() / fastest).log()  # of each frequency, whose exponent is rounded
    return 2 * HALF * (1 + angle.abs() * (1 + logs))


def _fit(subject: Subject, oracle: Oracle, dim: int) -> tuple[Waves, list[Any]]:
    """The conventions by which a table is best the oracle's, and its angles for the batches."""

    def ask() -> tuple[Waves, list[Any]]:
        for_unit = _is_for_unit(subject)
        return _best(subject, oracle, _seen(subject, dim, for_unit), dim, for_unit)[1:]

    fitted: tuple[Waves, list[Any]] = subject.remember(("waves", oracle.embedding, dim), ask)
    return fitted


def _best(
    subject: Subject, oracle: Oracle, seen: Seen, dim: int, for_unit: bool
) -> tuple[int, Waves, list[Any]]:
    """The first conventions that fit in float32, else in half precision, else the nearest.

    The first number says which: 0, 1 or 2.
    """
    tried = []
    for waves in _conventions(subject, seen, dim, for_unit):
        angles = [oracle.embedding(t, dim, waves) for t in seen.t]
        gap = _gap(seen, angles)
        if gap is None:
            tried.append((3, 0.0, waves, angles))
            continue
        angle = torch.cat([angle for angle, _ in angles])
        fits = (_fine(angle, waves) + FACTOR * seen.unit, _coarse(angle))
        rank = next((i for i, may in enumerate(fits) if bool((gap <= may).all())), 2)
        tried.append((rank, float(gap.mean()), waves, angles))
        if rank == 0:
            break
    rank, _, waves, angles = min(tried, key=lambda one: one[:1] if one[0] < 2 else one[:2])
    return rank, waves, angles


def _gap(seen: Seen, angles: list[Any]) -> Tensor | None:
    if [r.shape for r in seen.rows] != [angle.shape for angle, _ in angles]:
        return None
    right = torch.cat([torch.where(cosine, a.cos(), a.sin()) for a, cosine in angles])
    return (torch.cat(seen.rows) - right).abs().nan_to_num(2.0, 2.0)


def _conventions(subject: Subject, seen: Seen, dim: int, for_unit: bool) -> Iterator[Waves]:
    """All that a right table may be: the usual first, then with the period and scale read off."""
    T = subject.setting.num_train_timesteps
    orders = [Waves(a, b, T=T) for a, b in product((False, True), (False, True))]
    scales = (1000.0, float(T)) if for_unit else (1.0,)
    for waves, shift, scale in product(orders, (0, 1), scales):
        yield replace(waves, shift=shift, scale=scale)
    if not for_unit:
        for waves in orders:
            yield from _read(seen, dim, waves)


def _read(seen: Seen, dim: int, waves: Waves) -> Iterator[Waves]:
    """The same with the scale and period of its sines, if they are such as fall geometrically.

    Of a sine, x(t+1) + x(t-1) = 2 cos(f) x(t); all of them then refine the first two by least
    squares. A scale at which the fastest wave makes no turn in T steps tells no t apart.
    """
    rows, half = seen.rows[0], dim // 2
    if rows.shape != (len(seen.t[0]), dim) or not bool(rows.isfinite().all()):
        return
    order = waves.arranged(*torch.arange(dim, dtype=F64).reshape(2, 1, half))[0]
    sines = rows[:, order[0].argsort()[:half]]  # the columns where the sines stand
    x = sines[:DENSE, :2]
    middle = x[1:-1]
    cos = (middle * (x[2:] + x[:-2])).sum(0) / (2 * middle.square().sum(0))
    if not bool((cos.abs() < 1).all()):
        return
    first = cos.arccos()
    log = torch.stack([first[0].log(), (first[1] / first[0]).log()])
    i, t = torch.arange(half, dtype=F64), seen.t[0][:, None]
    for _ in range(4):
        angle = t * (log[0] + log[1] * i).exp()
        slope = angle.cos() * angle
        system = torch.stack([slope, slope * i], dim=2).reshape(-1, 2)
        off = (sines - angle.sin()).reshape(-1, 1)
        log = log + torch.linalg.lstsq(system, off).solution[:, 0]
        if not bool(log.isfinite().all()):
            return
    scale, rate = float(log[0].exp()), float(-log[1])
    scale = 1.0 if abs(scale - 1) < NICE else scale
    if rate <= 0 or scale * (waves.T - 1) <= 2 * math.pi:
        return
    periods = [math.exp(min(rate * (half - shift), 50)) for shift in (0, 1)]
    exact = [replace(waves, shift=s, scale=scale, period=p) for s, p in enumerate(periods)]
    round_ = [replace(w, period=float(f"{w.period:.2g}")) for w in exact]
    yield from (
        r for w, r in zip(exact, round_, strict=True) if abs(r.period / w.period - 1) < NICE
    )
    yield exact[0]


def _is_for_unit(subject: Subject) -> bool:
    """True for one that is right if it is given t / T, and not if it is given t."""

    def ask() -> bool:
        with suppress(Broken):
            best = [
                _best(subject, Oracle(), _seen(subject, DIMS[0], unit), DIMS[0], unit)[0]
                for unit in (False, True)
            ]
            return best[0] > 0 and best[1] == 0
        return False

    return bool(subject.remember(("embedding", MADE_FOR_UNIT), ask))


def _is_of_floats(subject: Subject) -> bool:
    with suppress(Broken):
        return _seen(subject, DIMS[0], False).floats
    return False


def _seen(subject: Subject, dim: int, for_unit: bool) -> Seen:
    answers: Seen = subject.remember(
        ("embedding", dim, for_unit), lambda: _look(subject, dim, for_unit)
    )
    return answers


def _look(subject: Subject, dim: int, for_unit: bool) -> Seen:
    """Calls it with t as integers, else as floats, else with an axis more.

    What takes integers may cut its frequencies to whole numbers by them, and be right for floats.
    """
    batches = _batches(subject, for_unit)
    forms = [lambda t: t, lambda t: t.float(), lambda t: t.float()[:, None]]
    broken: list[Broken] = []
    answered: Seen | None = None
    for form in forms:
        try:
            rows = [_called(subject, form(t), dim) for t in batches]
        except Broken as error:
            broken.append(error)
            continue
        unit = max(HALF_UNIT.get(row.dtype, 0.0) for row in rows)
        floats = answered is not None
        seen = Seen([t.to(F64) for t in batches], [row.to(F64) for row in rows], unit, floats)
        if _best(subject, Oracle(), seen, dim, for_unit)[0] < 2:
            return seen
        answered = answered or seen
    if answered is None:
        raise broken[0]
    return answered


def _batches(subject: Subject, for_unit: bool) -> list[Tensor]:
    """Timesteps in order, mixed, and the last alone: (b,) int64; over T if it is made for such."""
    T, base = subject.setting.num_train_timesteps, subject.t_base
    upto = torch.linspace(DENSE, T - 1, SPREAD).long() if T > DENSE else torch.arange(0)
    first = torch.cat([torch.arange(min(T, DENSE)), upto]).unique() + base
    mixed = first[torch.randperm(len(first), generator=torch.Generator().manual_seed(subject.seed))]
    batches = [first, mixed, first[-1:]]
    return [t / T for t in batches] if for_unit else batches


def _called(subject: Subject, t: Tensor, dim: int) -> Tensor:
    seed_everything(subject.seed)
    try:
        with torch.no_grad():
            rows = subject.whole["embedding"](t.clone(), dim)
    except Exception as error:
        text = f"embedding(t {tuple(t.shape)} {str(t.dtype)[6:]}, {dim}) raises {raised(error)}"
        raise Broken(text) from None
    if not isinstance(rows, Tensor):
        what = f"embedding(t, {dim}) returned {type(rows).__name__}, not a tensor"
        raise Broken(what, raised=False)
    rows = rows.detach().cpu()
    beside = rows.shape[2:]  # axes of 1, by which it is added to pictures
    return rows.flatten(1) if beside.numel() == 1 and len(beside) > 0 else rows


def conventions_of(subject: Subject) -> dict[str, str]:
    """{what: the value} of an embedding that is right: order, exponents, period, scale."""
    with suppress(Broken):
        if subject.has("embedding"):
            dim, for_unit = DIMS[0], _is_for_unit(subject)
            rank, waves, _ = _best(subject, Oracle(), _seen(subject, dim, for_unit), dim, for_unit)
            if rank < 2:
                return {"embedding": words(waves)}
    return {}


def words(waves: Waves) -> str:
    """Conventions in words.

    >>> words(Waves(shift=1))
    'sines first, in halves; exponents i / (half - 1), period 10000 (read off)'
    """
    first = "cosines" if waves.cosine_first else "sines"
    how = "in pairs" if waves.alternating else "in halves"
    over = "(half - 1)" if waves.shift else "half"
    scale = f", of {waves.scale:.6g} t" if waves.scale != 1 else ""
    return (
        f"{first} first, {how}; exponents i / {over}, period {waves.period:.6g}{scale} (read off)"
    )


EMBEDDING = Stage(
    name="embedding",
    looks_at="the sinusoids of t, in any order, and that a row goes by its t alone",
    right="sin and cos of t 10000^(-i / half), i = 0..half-1 (Vaswani et al., section 3.5)",
    page="embedding-attention",
    checks=checks,
    needs=("embedding",),
    sees=("embedding",),
)
