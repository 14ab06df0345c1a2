"""Stage schedule: is alpha-bar_t the product it should be, for each family that is offered?"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from compare.candidate.load import Broken
from compare.candidate.scheduler import Scheduler
from compare.candidate.subject import Subject
from compare.formulas.parts.table import PRODUCT, RIGHT, form_of
from compare.measure.check import Check, guarded, note, yes_no
from compare.measure.noise import has_right
from compare.measure.tolerances import (
    FACTOR,
    NOTHING_LEFT,
    SMALLEST,
    UNIT,
    as_none,
    betas_bound,
    cosine_bound,
    log_snr,
    table_bound,
)
from compare.measure.values import values
from compare.oracle import ALPHA_BAR, F64, Oracle, Setting
from compare.oracle.schedule import cosine_betas
from compare.stages.stage import Stage

FAMILIES = ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid")
OWN = " of its betas"
FLOOR, CAPS = 1e-3, (0.99, 0.9999)  # of cosine betas: what they may be kept above, and below
SHORT = 50  # another T, where it is named
GIVEN = (0.001, 0.004, 0.01, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.9)


def schedulers(subject: Subject) -> dict[str, Scheduler]:
    """The schedules to look at, by name: each family, other ends, another T, given betas."""
    base = subject.setting
    wanted: dict[str, dict] = {base.beta_schedule: {}}
    wanted |= {name: {"beta_schedule": name} for name in FAMILIES}
    wanted["other-ends"] = {"beta_start": 0.001, "beta_end": 0.05}
    wanted[f"T={SHORT}"] = {"num_train_timesteps": SHORT}
    cosine = {"num_train_timesteps": SHORT, "beta_schedule": "squaredcos_cap_v2"}
    wanted[f"cosine-T={SHORT}"] = cosine
    wanted["given"] = {"trained_betas": GIVEN, "num_train_timesteps": len(GIVEN)}
    v = {"prediction_type": "v_prediction"} if "prediction_type" in subject.named else {}
    for name in FAMILIES:
        wanted[f"zero-snr-{name}"] = {"rescale_betas_zero_snr": True, "beta_schedule": name, **v}
    return subject.all_offered(wanted) | _shorter(subject)


def _shorter(subject: Subject) -> dict[str, Scheduler]:
    """A schedule that the candidate does not name, with T = 50, as it was read off there."""
    if subject.shorter is None:
        return {}
    made = subject.build(replace(subject.setting, num_train_timesteps=SHORT))
    return {} if made is None else {f"T={SHORT}": replace(made, setting=subject.shorter)}


def own_betas(scheduler: Scheduler) -> Tensor | None:
    """(T,) the betas of a schedule of the candidate's own: those that it shows, or those of a table
    that falls; None if it has neither."""
    own = scheduler.table()
    if own is None or not bool(own.isfinite().all()):
        return None
    betas = shown_betas(scheduler, len(own))
    if betas is None and _falls(own):
        betas = betas_of(own)
    return _before_nothing(own) if betas is None else betas


def _before_nothing(table: Tensor) -> Tensor | None:
    """The betas of a table that falls from a picture to what float32 cannot hold, from there on
    the last of them; None for any other."""
    n = int((table >= SMALLEST).sum())
    if (
        not 1 < n < len(table) - 1
        or float(table[0]) < 0.5
        or not bool((table[n:] < SMALLEST).all())
    ):
        return None
    betas = betas_of(table[:n])
    return torch.cat([betas, betas[-1].expand(len(table) - n)]) if _falls(table[:n]) else None


def _falls(table: Tensor) -> bool:
    """True if levels fall from below 1, to a floor that they may have."""
    falling = table[1:] < table[:-1]
    floor = bool((falling[1:] <= falling[:-1]).all()) and bool((table[1:] <= table[:-1]).all())
    return floor and 1 > float(table[0]) > float(table[-1]) >= 0


def betas_of(alpha_bar: Tensor) -> Tensor:
    """(T,) 1 - alpha_bar_t / alpha_bar_{t-1}, where 1 stands before the first.

    >>> betas_of(torch.tensor([0.75, 0.375], dtype=F64)).tolist()
    [0.25, 0.5]
    """
    return 1 - alpha_bar / torch.cat([torch.ones(1, dtype=F64), alpha_bar[:-1]])


def shown_betas(scheduler: Scheduler, T: int) -> Tensor | None:
    """The candidate's `betas`, by which its table can be judged, if they can be betas at all."""
    betas = scheduler.betas()
    if betas is None or len(betas) not in (T, T + scheduler.subject.first_entry):
        return None
    betas = betas[-T:]
    return betas if bool(((betas > 0) & (betas < 1)).all()) else None


def checks(subject: Subject, oracle: Oracle) -> Iterator[Check]:
    """Tables of every family, in log-SNR; `betas` where they are shown."""
    for name, scheduler in schedulers(subject).items():
        yield from guarded(f"schedule/{name}", _table(name, scheduler, oracle))


def _table(name: str, scheduler: Scheduler, oracle: Oracle) -> Iterator[Check]:
    setting, id = scheduler.setting, f"schedule/{name}"
    is_base = name == scheduler.subject.setting.beta_schedule
    own, right = scheduler.table(), oracle.alpha_bar(setting)
    if own is None:
        if is_base:
            yield note(id, "alpha-bar cannot be read: no alphas_cumprod, no fit add_noise")
        return
    if len(own) != len(right):
        raise Broken(f"the alpha-bar table has {len(own)} entries, should have {len(right)}", False)
    asked = f"beta_schedule={setting.beta_schedule!r}, T={setting.num_train_timesteps}"
    check = values(
        id,
        "log-SNR of alpha-bar",
        log_snr(as_none(own, right)),
        lambda: (log_snr(right), bound(setting, oracle)),
        where=lambda at: f"t={at[0]}",
        tolerance="table",
        input=asked,
    )
    kept = "" if check.passed else _kept(scheduler, own, oracle)
    if kept:
        words = f"cosine betas are kept in {kept}"
        yield yes_no(id, True, words, "")
        yield note(f"{id}/kept", f"{words}: a convention")
    else:
        yield _told(check, own, lambda: _families(setting, oracle))
        yield from _betas(f"{id}/betas", scheduler, own, oracle, asked)
    if not is_base:
        return
    first, last = (float(beta) for beta in betas_of(own)[[0, -1]])
    if first > last * (1 + FACTOR * UNIT):
        ends = f"betas fall from {first:.2g} at t=0 to {last:.2g}"
        yield note("schedule/falls", f"{ends}: those of the papers grow (Ho et al. section 4)")
    left = float(own[-1].clamp(min=0).sqrt())
    if left > NOTHING_LEFT:
        message = f"sqrt(alpha-bar_T) = {left:.3f}: x_T still carries the image (T too short?)"
        yield note("schedule/terminal", message, measured=left)


def _kept(scheduler: Scheduler, own: Tensor, oracle: Oracle) -> str:
    """Between which two numbers the betas of a table are kept that are else those of a cosine; ""
    for any other, and if they go up to 1.

    The papers cap them at 0.999 (N&D); public code has 0.9999, and 0.0001 from below.
    """
    setting = scheduler.setting
    if setting.beta_schedule != "squaredcos_cap_v2" or setting.rescale_betas_zero_snr:
        return ""
    cosine = cosine_betas(setting.num_train_timesteps, cap=1.0)
    if not has_right(oracle, *ALPHA_BAR):  # of a mistake, which caps its last
        wrong = oracle.betas(setting)
        cosine = torch.where(wrong < CAPS[0], wrong, 1.0)
    shown = shown_betas(scheduler, len(own))
    betas = betas_of(own) if shown is None else shown
    return kept_in(own, betas, cosine)


def kept_in(own: Tensor, betas: Tensor, cosine: Tensor) -> str:
    """Between which two numbers `betas`, and those of the table `own`, are kept that are else those
    of `cosine`; "" if they are others."""
    low, high = (float(f"{float(end):.4g}") for end in (betas.min(), betas.max()))
    if not CAPS[0] <= high <= CAPS[1]:
        return ""
    right = cosine.clamp(low, high)
    off = betas_bound(right, table_bound((1 - right).cumprod(0)))
    alike = is_kept(own, low, cosine.clamp(max=high)) & ((betas - right).abs() <= off)
    return f"[{low:g}, {high:g}]" if bool(alike.all()) else ""


def is_kept(own: Tensor, low: float, cosine: Tensor) -> Tensor:
    """(T,) where a table is that of a cosine's betas, kept from falling below `low`: nowhere, if
    that is no small number."""
    if low > max(FLOOR, float(cosine.min()) * (1 + FLOOR)):
        return torch.zeros(len(own), dtype=torch.bool)
    betas = cosine.clamp(min=low)
    right = (1 - betas).cumprod(0)
    off = table_bound(right) + cosine_bound(len(right)) + FACTOR * UNIT / (1 - betas)
    return (log_snr(own) - log_snr(right)).abs() <= off / (1 - right).clamp(min=1e-30)


def _betas(
    id: str, scheduler: Scheduler, table: Tensor, oracle: Oracle, asked: str
) -> Iterator[Check]:
    """The betas that it shows, if they can be those of its table."""
    setting, betas = scheduler.setting, scheduler.betas()
    if betas is None or len(betas) != len(table) or setting.rescale_betas_zero_snr:
        return
    expected = oracle.betas(setting)
    check = values(
        id,
        "beta",
        betas,
        lambda: (expected, betas_bound(expected, _quotients(setting))),
        where=lambda at: f"t={at[0]}",
        tolerance="betas",
        input=asked,
    )
    yield _told(check, table, lambda: {OWN: betas})


def _told(check: Check, table: Tensor, betas: Callable[[], dict[str, Tensor]]) -> Check:
    """The check; where it fails a report says what the table holds, if it is a form of betas.

    `betas` gives those that it may be made of, by whose they are, the likeliest first.
    """

    def in_letters() -> Check:
        for whose, made_of in betas().items():
            form = form_of(table, made_of)
            if form is not None and (form, whose) != (PRODUCT, OWN):  # else the betas are off
                formula = f"the table holds {form}{whose}, should hold {RIGHT}"
                return replace(check, message=f"{formula}: {check.message}", formula=formula)
        above = (betas_of(table) > 1).nonzero().flatten()
        if not len(above):
            return check
        words = f"beta is above 1 from t={int(above[0])} on (those of an SDE, such as 0.1..20, are "
        return replace(check, message=f"{words}to be divided by T): {check.message}")

    return check if check.passed else replace(check, whole=in_letters)


def _families(setting: Setting, oracle: Oracle) -> dict[str, Tensor]:
    """The betas of a setting, then those of every family with its ends, by what is said of them;
    none where they are rescaled."""
    if setting.rescale_betas_zero_snr:
        return {}
    made = (replace(setting, beta_schedule=name, trained_betas=None) for name in FAMILIES)
    families = {f" of {one.beta_schedule} betas": oracle.betas(one) for one in made}
    return {"": oracle.betas(setting)} | families


def _quotients(setting: Setting) -> Tensor | None:
    """(T,) relative error of the values whose quotients the betas are, None if they are none."""
    is_cosine = setting.beta_schedule == "squaredcos_cap_v2" and setting.trained_betas is None
    return cosine_bound(setting.num_train_timesteps) if is_cosine else None


def bound(setting: Setting, oracle: Oracle) -> Tensor:
    """Allowed deviation of the log-SNR, (T,)."""
    plain = oracle.table(oracle.betas(setting))
    off, cosine = table_bound(plain), _quotients(setting)
    if cosine is not None:
        off = off + cosine
    alpha_bar = oracle.alpha_bar(setting)
    if setting.rescale_betas_zero_snr:
        # Subtracting the last root leaves the absolute error of both, of a smaller number.
        root = plain.sqrt()
        off = (off * root + off[-1] * root[-1]) / (root - root[-1]).clamp(min=1e-30)
        off = off + table_bound(alpha_bar.clamp(min=1e-30))
        off = torch.where(alpha_bar > 0, off, torch.zeros_like(off))
    return off / (1 - alpha_bar).clamp(min=1e-30)


SCHEDULE = Stage(
    name="schedule",
    looks_at="alpha-bar of every beta_schedule, in log-SNR; betas",
    right="alpha_bar_t = product of 1 - beta_s for s = 0..t (Ho et al., below eq. 3)",
    page="schedule",
    checks=checks,
    needs=("alphas_cumprod", "betas", "add_noise"),
    sees=ALPHA_BAR,
)
