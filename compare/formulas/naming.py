"""The words: what a program computes, and what it should, of every coefficient that is wrong."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from compare.candidate.load import Broken
from compare.candidate.scheduler import Scheduler
from compare.candidate.subject import Subject
from compare.formulas import bases, curves
from compare.formulas.accounts import Account, Told, accounts, read_all
from compare.formulas.curves import Reading
from compare.formulas.expressions import Expression, Sum
from compare.formulas.fit import WELL, Curve
from compare.formulas.parts.eta import as_ddim
from compare.formulas.parts.loops import of_loop, other_table, sum_of_answers
from compare.formulas.parts.losses import of_loss
from compare.formulas.parts.measured import Measured, measured, other_kinds
from compare.measure.step import loud
from compare.measure.values import apart_in_print
from compare.oracle import KINDS, Oracle, Setting
from compare.oracle.samplers import BY_NAME, DDIM

# What a mistake that was found before may raise on these inputs, its formula being wrong.
NOT_COMPUTABLE = (RuntimeError, IndexError, ValueError)
OF_STEP = ("prediction", "mean", "variance")
OTHERS = 2  # formulas that fit as well and are told beside


@dataclass(frozen=True)
class Named:
    """What is wrong in letters.

    Attributes:
        words: what each wrong coefficient is and should be, with the numbers at three t.
        fix: the formulas that should stand there.
        in_letters: a wrong coefficient has a formula; else all are right but at t = 0.
        fitted: a formula holds a number that was fitted: by other words, or by another table, it
            would not be needed.
    """

    words: str
    fix: str
    in_letters: bool
    fitted: bool = False

    @property
    def formula(self) -> str | None:
        """The words, if there is a formula in them."""
        return self.words if self.in_letters else None


def name(subject: Subject, stage: str, oracle: Oracle) -> Named | None:
    """The coefficients of a stage that are wrong, in letters; None where there are no words.

    Args:
        subject: the candidate.
        stage: "forward", "prediction", "mean" or "variance", which for who has no step but a loop
            are told of that, "sampling": the steps of a loop, "loss", or "tables".
        oracle: the right one, with the mistakes that are already found.
    """
    if stage in OF_STEP and not subject.has("step"):
        stage = "sampling"
    if stage not in STAGES or (stage == "sampling" and not subject.has("sample")):
        return None
    for scheduler in _asked(subject, stage):
        with suppress(Broken, *NOT_COMPUTABLE):
            groups = STAGES[stage](scheduler, oracle)
            for group in groups:
                found = accounts(group)
                if found:
                    guided = sum_of_answers(scheduler, found) if stage == "sampling" else None
                    return _said(found) if guided is None else Named(*guided, True)
            other = other_table(scheduler, oracle) if stage == "sampling" else None
            if other is not None:
                return Named(*other, False)
    return None


def in_numbers(subject: Subject, stage: str, oracle: Oracle) -> Named | None:
    """The one coefficient of a loop's steps that is wrong, where no formula is known for it; None
    where that is not read, or several are wrong."""
    if stage != "sampling" or not subject.has("sample"):
        return None
    with suppress(Broken, *NOT_COMPUTABLE):
        for group in of_loop(subject.scheduler(), oracle)[:1]:
            account = min(read_all(group), key=lambda account: account.cost)
            (told, *more), reading = account.told, account.reading
            if not (more or told.at_0_alone or told.at_few):
                where = _numbers(told.curve, _nearest(told.curve, reading), reading)
                should = f"{' or '.join(map(str, told.curve.right))} ({told.curve.source})"
                words = f"your {told.curve.name} should have {should}, and has not{where}"
                return Named(words, f"{_cure(told, reading)}: {reading.whole}", False)
    return None


def _asked(subject: Subject, stage: str) -> Iterator[Scheduler]:
    """The base scheduler, then those with another prediction, or another size of the noise."""
    asked: list[Setting] = []
    for scheduler in _offered(subject, stage):
        if scheduler.setting not in asked:
            asked.append(scheduler.setting)
            yield scheduler


def _offered(subject: Subject, stage: str) -> Iterator[Scheduler]:
    base = subject.setting
    wanted: dict[str, dict] = {"base": {}}
    if stage == "variance":
        wanted |= BY_NAME[base.sampler].sizes(base)
    elif stage in OF_STEP:
        wanted |= {kind: {"prediction_type": kind} for kind in KINDS}
    yield from subject.all_offered(wanted).values()
    drawing = loud(subject)
    if stage == "mean" and drawing is not None:
        yield drawing


def _of_forward(scheduler: Scheduler, oracle: Oracle) -> Iterator[list[Reading]]:
    for reading in curves.forward(scheduler, oracle):
        yield [reading]


def _of_prediction(scheduler: Scheduler, oracle: Oracle) -> Iterator[list[Reading]]:
    seen = measured(scheduler, oracle, False)
    shown = list(bases.shown_x_0(seen)) if seen is not None and seen.shown else []
    yield from [shown] if shown else _of_mean(scheduler, oracle)


def _of_mean(scheduler: Scheduler, oracle: Oracle) -> Iterator[list[Reading]]:
    """With the shorter chains, and, if that has no words, of the full chain alone."""
    for short in _lengths(scheduler):
        found: list[Reading] = []
        for far, read in enumerate((scheduler, *_other_kinds(scheduler))):
            seen = measured(read, oracle, short)
            for ddim, step in enumerate(_samplers(seen, scheduler) if seen is not None else ()):
                for one in bases.readings(step):
                    unlikely = one.unlikely + min(far, 1) + min(ddim, 1)
                    found.append(replace(one, unlikely=unlikely))
        yield found


def _samplers(seen: Measured, scheduler: Scheduler) -> Iterator[Measured]:
    """A step as its sampler's, and, if it draws and nobody says whose it is, as DDIM's."""
    yield seen
    own, named = BY_NAME[seen.setting.sampler].own, scheduler.subject.step_named
    if not own and DDIM.own[0] not in named and seen.sigma is not None:
        declared = scheduler.subject.declared_eta("step")
        yield from as_ddim(seen, curves.rounded_size(seen.sigma), declared)


def _of_variance(scheduler: Scheduler, oracle: Oracle) -> Iterator[list[Reading]]:
    for short in (True, False):
        yield list(curves.noise(scheduler, oracle, short))


def _of_loop(scheduler: Scheduler, oracle: Oracle) -> Iterator[list[Reading]]:
    yield from of_loop(scheduler, oracle)


def _lengths(scheduler: Scheduler) -> tuple[bool, ...]:
    """With short chains, which only those of the base setting are asked for, then without."""
    return (True, False) if scheduler.setting == scheduler.subject.setting else (False,)


def _other_kinds(scheduler: Scheduler) -> list[Scheduler]:
    """The candidate read as predicting something else, where nobody says what it predicts."""
    subject = scheduler.subject
    others = (subject.reading(prediction_type=kind) for kind in other_kinds(scheduler))
    return [other.scheduler() for other in others]


def _of_tables(scheduler: Scheduler, oracle: Oracle) -> Iterator[list[Reading]]:
    """All that are wrong together, and, if that has no words, one by one."""
    read = list(curves.tables(scheduler, oracle))
    yield from ([one] for one in read)
    yield from ([replace(one, curves=(curve,))] for one in read for curve in one.curves)


STAGES: dict[str, Callable[[Scheduler, Oracle], Iterator[list[Reading]]]] = {
    "forward": _of_forward,
    "prediction": _of_prediction,
    "mean": _of_mean,
    "variance": _of_variance,
    "loss": of_loss,
    "sampling": _of_loop,
    "tables": _of_tables,
}


def _said(found: list[Account]) -> Named:
    account, *same = found
    words = "; and ".join(_one(told, account.reading) for told in account.told)
    said = {pair for pair, _ in _pairs(account)}
    others = [[pair for pair in _pairs(one) if pair[0] not in said] for one in same]
    sure = [pairs for one, pairs in zip(same, others, strict=True) if pairs and _is_exact(one)]
    for pairs in sure[:1]:
        words += f"; the same, in other words: {' and '.join(pair for pair, _ in pairs)}"
    fix = f"{', '.join(_cure(t, account.reading) for t in account.told)}: {account.reading.whole}"
    fitted = any(fitted for _, fitted in _pairs(account))
    return Named(f"your {words}", fix, any(told.fits for told in account.told), fitted)


def _cure(told: Told, reading: Reading) -> str:
    """The right formula, and where it is not yet if that is at a few t."""
    curve, right = told.curve, _nearest(told.curve, reading)
    cure = f"{curve.name} {' or '.join(map(str, curve.right))}"
    if told.fits or not (told.at_0_alone or told.at_few):
        return cure
    ts = reading.t[~(curve.off(right, reading.atoms) <= 1)].unique().tolist()
    return f"{cure} at t={', '.join(map(str, ts[:OTHERS]))} too"


def _pairs(account: Account) -> list[tuple[str, bool]]:
    """What each wrong coefficient is, and whether that holds a number that was fitted."""
    told = [(one.curve.name, one.fits[0].formula) for one in account.told if one.fits]
    return [(f"{name} has {formula}", formula.fitted) for name, formula in told]


def _is_exact(account: Account) -> bool:
    """True if every wrong coefficient is its formula as well as float32 lets it, without a number
    that was fitted: of a table whose betas grow by equal steps others come near."""
    first = [one.fits[0] for one in account.told if one.fits]
    return all(fit.worst <= WELL and not fit.formula.fitted for fit in first)


def _one(told: Told, reading: Reading) -> str:
    curve = told.curve
    should = f"{' or '.join(map(str, curve.right))} ({curve.source})"
    if not told.fits:
        where = _numbers(curve, _nearest(curve, reading), reading)
        return f"{curve.name} has {should}, as it should, but not everywhere{where}"
    first, *more = told.fits
    near = first.coarse or (first.formula.fitted and isinstance(first.formula, Sum))
    has = "is consistent with" if near else "has"
    words = f"{curve.name} {has} {first.formula}, should have {should}"
    others = [str(f.formula) for f in more if first.formula.fitted or not f.formula.fitted][:OTHERS]
    if others:
        words += f"; {' and '.join(others)} fit as well"
    if not reading.strided and "ab_prev" in str(first.formula):
        words += "; on a full chain ab_prev is ab[t - 1]"
    return words + _numbers(curve, first.formula, reading)


def _nearest(curve: Curve, reading: Reading) -> Expression:
    """Of several right formulas the one that most of the curve is nearest to."""
    gaps = {
        i: float((curve.measured - right.value(reading.atoms)).abs().median())
        for i, right in enumerate(curve.right)
    }
    return curve.right[min(gaps, key=lambda i: gaps[i])]


def _numbers(curve: Curve, formula: Expression, reading: Reading) -> str:
    """The numbers at three t, and those where the formula does not say them: at t = 0."""
    atoms, right = reading.atoms, _nearest(curve, reading)
    wanted, off = curve.expected(right, atoms), curve.off(right, atoms)
    said = formula.value(atoms).isfinite() & ~atoms.end
    wrong = (said & ~(off <= 1)).nonzero().flatten().tolist()
    if not wrong:
        return _outside(curve, formula, reading)
    wrong.sort(key=lambda i: int(reading.t[i]))
    chosen = {int(reading.t[i]): i for i in (wrong[-1], wrong[len(wrong) // 2], wrong[0])}
    chosen = dict(sorted(chosen.items()))
    pairs = [apart_in_print(_told(curve, i), float(wanted[i])) for i in chosen.values()]
    text = (
        f": at t={', '.join(map(str, chosen))} it is {', '.join(a for a, _ in pairs)}, should be "
    )
    return text + ", ".join(b for _, b in pairs) + _outside(curve, formula, reading)


def _told(curve: Curve, i: int) -> float:
    """What was measured; 0 for what is not told from it."""
    value = float(curve.measured[i])
    return 0.0 if abs(value) <= float(curve.slack[i]) else value


def _outside(curve: Curve, formula: Expression, reading: Reading) -> str:
    """The numbers where a wrong coefficient is not what a formula says: at t = 0."""
    atoms, right = reading.atoms, _nearest(curve, reading)
    wanted, off = curve.expected(right, atoms), curve.off(right, atoms)
    said = formula.value(atoms).isfinite() & ~atoms.end
    apart = (~said & ~(off <= 1)).nonzero().flatten().tolist()
    text = ""
    for t, i in sorted({int(reading.t[i]): i for i in reversed(apart)}.items())[:OTHERS]:
        is_, should = apart_in_print(_told(curve, i), float(wanted[i]))
        text += f"; at t={t} it is {is_}, should be {should}"
    return text
