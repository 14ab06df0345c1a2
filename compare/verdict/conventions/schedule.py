"""Which right family a table is, with which ends, or one of the candidate's own."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor

from compare.candidate.load import Broken
from compare.candidate.loss.table import table_of_loss
from compare.candidate.scheduler import Scheduler
from compare.candidate.subject import OTHER_NAMES, Subject
from compare.measure.tolerances import SMALLEST, as_none, log_snr
from compare.measure.values import deviation
from compare.oracle import F64, LEARNED, Oracle, Setting
from compare.oracle.samplers.ddpm import VARIANCES
from compare.stages.schedule import (
    CAPS,
    FAMILIES,
    betas_of,
    bound,
    is_kept,
    own_betas,
    shown_betas,
)
from compare.verdict.conventions.step import table_of_step

RIGHT = Oracle()
FEWEST = 6  # entries of a table by which a curve is read off all but the first: it has two ends
ANY = "no-such-word"
SIZES = (*VARIANCES, *LEARNED)  # of the noise of a step
NO_CAP = "11"  # the mistake by which a cosine ends at 0


def read_schedule(scheduler: Scheduler) -> Setting:
    """Which right family the table is, with which ends; a mistaken one is left to the stage."""
    base, own = scheduler.setting, scheduler.table()
    if own is None and scheduler.subject.has("step"):
        own = table_of_step(scheduler)
    subject = scheduler.subject
    if own is None and subject.has("loss"):
        own = subject.seen_table = table_of_loss(subject)
    if own is None:
        subject.table_is_assumed = True
        subject.conventions["table"] = "none is shown: that of the betas below is assumed"
    elif subject.seen_table is not None:
        subject.conventions["table"] = "none is shown: read off the x_t of its loss"
    elif subject.seen is not None:
        subject.conventions["table"] = f"none is shown: {subject.seen.where}"
    if own is None or len(own) != base.num_train_timesteps or not bool(own.isfinite().all()):
        return base
    fitting = families(own, base) or _mistaken(own, base)
    if fitting:
        return fitting[0]
    return _with_spare_beta(scheduler, own) or _own(scheduler, own)


def families(own: Tensor, base: Setting) -> list[Setting]:
    """The right families that the table is, within the bound at every t, the default ends first."""
    families = [replace(base, beta_schedule=name) for name in FAMILIES]
    known = list(families)
    if bool(own[-1] == 0):
        known += [replace(setting, rescale_betas_zero_snr=True) for setting in families]
        known += _rescaled(base, own)
    if len(own) > 1:
        known += _fitted(
            base, torch.where(own < SMALLEST, torch.nan, betas_of(own)), bool(own[0] > 0.5)
        )
    return [setting for setting in known if _is_table(own, setting)]


def _mistaken(own: Tensor, base: Setting) -> list[Setting]:
    """The families that the table is, within the bound at every t, but for one wrong formula; of a
    cosine, whatever its betas are kept between.

    Else a wrong table that falls would be taken for a schedule of the candidate's own.
    """
    from compare.mistakes import MISTAKES

    families = [replace(base, beta_schedule=name) for name in FAMILIES]
    noise = base.prediction_type == "epsilon"  # else a step from 0 divides by nothing
    mistakes = [m for m in MISTAKES if m.stage == "schedule" and (noise or m.id != NO_CAP)]
    wrong = [mistake.oracle() for mistake in mistakes]
    found = [setting for setting in families if any(_is_table(own, setting, o) for o in wrong)]
    cosine = replace(base, beta_schedule="squaredcos_cap_v2")
    if found or _is_cosine(own, RIGHT.betas(cosine)):
        return found
    return [cosine] if any(_is_cosine(own, o.betas(cosine)) for o in wrong) else []


def _is_cosine(own: Tensor, betas: Tensor) -> bool:
    """True if a table is that of a cosine's betas, kept between some others than usual."""
    shown, below = betas_of(own), betas < CAPS[0]  # the last may be cut off elsewhere
    kept = CAPS[0] <= float(f"{float(shown.max()):.4g}") <= CAPS[1] and bool(below.any())
    return kept and bool(is_kept(own, float(shown.min()), betas)[below].all())


def _with_spare_beta(scheduler: Scheduler, own: Tensor) -> Setting | None:
    """The schedule without a beta that the product holds though it is of no step (mistake 1)."""
    from compare.mistakes import BY_ID

    wrong = BY_ID["1"].oracle()
    for setting in _spare_betas(scheduler, own):
        spare, largest = setting.spare_beta, float(RIGHT.betas(setting).max())
        if spare is not None and not 0 < spare <= largest:
            continue
        if _is_table(own, setting, wrong) and not _is_table(own, setting):
            return setting
    return None


def _spare_betas(scheduler: Scheduler, own: Tensor) -> Iterator[Setting]:
    """Schedules with such a beta: in front of a table, beside the betas, or merged with the first.

    If it is merged, the other betas of the table lie on a curve of T points, whose first the
    product holds twice, or of T + 1 points, whose first is no step.
    """
    base, T, raw = scheduler.setting, len(own), scheduler.raw_table()
    if raw is not None and len(raw) == T + 1:
        yield _given(base, betas_of(raw)[1:], float(1 - raw[0]))
    shown = shown_betas(scheduler, T)
    if shown is not None:
        yield _given(base, shown)
        yield _given(base, shown, float(1 - own[0] / (1 - shown[0])))
    if T < FEWEST:
        return
    yield from _fitted(base, betas_of(own)[1:])
    for longer in _fitted(replace(base, num_train_timesteps=T + 1), betas_of(own)[1:]):
        betas = RIGHT.betas(longer)
        yield _given(base, betas[1:], float(betas[0]))


def _given(base: Setting, betas: Tensor, spare: float | None = None) -> Setting:
    given = tuple(betas.tolist())
    return replace(base, beta_schedule="own", trained_betas=given, spare_beta=spare)


def _own(scheduler: Scheduler, own: Tensor) -> Setting:
    """A schedule of the candidate's own: by its betas, or those of a table that falls."""
    betas = own_betas(scheduler) if scheduler.table() is not None else betas_of(own)
    return scheduler.setting if betas is None else _given(scheduler.setting, betas)


def _is_table(own: Tensor, setting: Setting, oracle: Oracle = RIGHT) -> bool:
    right = oracle.alpha_bar(setting)
    if len(right) != len(own):
        return False
    seen = log_snr(as_none(own, right))
    return deviation(seen, log_snr(right), bound(setting, oracle))[0] != "differs"


def _fitted(setting: Setting, betas: Tensor, fades: bool = False) -> list[Setting]:
    """The families with ends fitted to their last betas, as a person would write the ends; of a
    table that `fades` from a picture until it underflows to those before."""
    there = betas.isfinite()
    if not bool(there.all()) and (int(there.sum()) < FEWEST or not fades):
        return []
    found = []
    for name, power, whole in _curves(setting.num_train_timesteps):
        curve = whole[-len(betas) :][there]
        values = betas[there].clamp(min=0) ** (1 / power)
        design = torch.stack([1 - curve, curve], dim=1)
        ends = torch.linalg.lstsq(design, values.reshape(-1, 1)).solution.flatten() ** power
        start, end = (float(f"{float(v):.4g}") for v in ends)
        found.append(replace(setting, beta_schedule=name, beta_start=start, beta_end=end))
    return found


def _curves(T: int) -> Iterator[tuple[str, int, Tensor]]:
    """The families that go from one end to another: (name, p, curve (T,) of beta^(1/p) in 0..1)."""
    ramp = torch.linspace(0, 1, T, dtype=F64)
    yield from (("linear", 1, ramp), ("scaled_linear", 2, ramp))
    yield "sigmoid", 1, torch.linspace(-6, 6, T, dtype=F64).sigmoid()


def read_again(scheduler: Scheduler) -> Setting:
    """The schedule, once it is known that the model does not predict noise: a cosine that ends at 0
    is then one of the candidate's own."""
    setting, own = scheduler.setting, scheduler.table()
    known = setting.prediction_type == "epsilon" or setting.trained_betas is not None
    if known or own is None or _is_table(own, setting):
        return setting
    return read_schedule(scheduler)


def _rescaled(setting: Setting, own: Tensor) -> list[Setting]:
    """The families with ends fitted to a table whose last root was taken off all (Lin et al. 2024).

    By bisection: the less is taken for that root, the steeper the curve of betas is at its end.
    """
    found, root, middle = [], own.sqrt(), len(own) // 2
    for name, power, curve in _curves(len(own)) if len(own) >= FEWEST else ():
        low, high = torch.zeros((), dtype=F64), root[0]
        for _ in range(60):
            last = (low + high) / 2
            betas = betas_of((last + (root[0] - last) / root[0] * root) ** 2)
            first, half, end = (betas[[0, middle, -1]].clamp(min=0) ** (1 / power)).unbind()
            share = (curve[middle] - curve[0]) / (curve[-1] - curve[0])
            low, high = (last, high) if half - first < (end - first) * share else (low, last)
        fitted = [s for s in _fitted(setting, betas) if s.beta_schedule == name]
        found += [replace(one, rescale_betas_zero_snr=True) for one in fitted]
    return found


def leave_out_any_words(subject: Subject) -> None:
    """Words that mean what any unknown word means are not judged; its own default word is."""
    default = subject.defaults.get("beta_schedule")
    usual = {own: word for word, own in OTHER_NAMES.items()}.get(str(default), default)
    anything = _table_of(subject, ANY)
    if anything is None:
        return
    tables = {word: _table_of(subject, word) for word in FAMILIES if word != usual}
    same = {w for w, table in tables.items() if table is not None and table.equal(anything)}
    if not same:
        return
    subject.any_words = {("beta_schedule", word) for word in same}
    said = f"takes any word: {', '.join(sorted(same))} give what {ANY!r} gives, and are not judged"
    subject.conventions["beta_schedule"] = said
    if subject.setting.beta_schedule in same:
        if usual in FAMILIES:
            subject.setting = replace(subject.setting, beta_schedule=usual)
        else:
            subject.named.discard("beta_schedule")  # its default is a schedule of its own


def _step_with(subject: Subject, word: str) -> Tensor | None:
    """What a step makes whose variance is called so; None if it answers nothing."""
    made, one = subject.takes(variance_type=word), torch.ones(1, 1, 2, 2)
    with suppress(Broken):
        return None if made is None else made.step(one, made.middle, one, 0).prev
    return None


def _alike(one: Tensor | None, other: Tensor | None) -> bool:
    return one is not None and other is not None and torch.equal(one, other)


def leave_out_any_variance(subject: Subject) -> None:
    """Words of the variance that do not stand in the code of who takes any word, or whose step
    refuses them, are not judged; nor are those that mean what any word means, which is another
    size than the usual one: the larger of two."""
    in_code = subject.words_in_code
    words = {word for word in SIZES if word not in in_code}
    known = subject.setting.variance_type
    usual = _step_with(subject, known) if words and subject.has("step") else None
    if usual is None:
        return
    anything, chosen = _step_with(subject, ANY), in_code & {*SIZES} - {known}
    if chosen and anything is None:  # those that its step refuses
        words = {
            w for w in words if subject.takes(variance_type=w) and _step_with(subject, w) is None
        }
    elif not chosen:  # it is chosen elsewhere, or each other word is the same one
        others = set[str]() if _alike(anything, usual) else words - {"fixed_large"}
        words = {w for w in others if _alike(_step_with(subject, w), anything)}
    if not words:
        return
    subject.any_words |= {("variance_type", word) for word in words}
    said = f"{', '.join(sorted(words))}, which its code has not, are not judged"
    subject.conventions["variance_type"] = said


def _table_of(subject: Subject, word: str) -> Tensor | None:
    """The table of a schedule by its word, None if the word is refused."""
    made = subject.takes(beta_schedule=subject.words.get(word, word))
    return None if made is None else made.table()
