"""Turns failing checks into the name of the formula that is wrong: root cause first."""

import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import combinations, product

from compare import stages
from compare.candidate.load import Broken
from compare.candidate.loop.look import look
from compare.candidate.subject import Subject
from compare.formulas.naming import NOT_COMPUTABLE, Named, in_numbers, name
from compare.measure.check import Check
from compare.measure.values import explains
from compare.mistakes import BY_ID, KIND_OF_LOSS, Mistake
from compare.mistakes.variance import wrong_draws
from compare.oracle import Loop, Oracle
from compare.oracle.samplers import BY_NAME as BY_SAMPLER
from compare.stages.stage import Stage
from compare.verdict.diffusers import Finding, shared
from compare.verdict.nearest import holds, nearest, other_limit, outcomes, readings
from compare.verdict.report import Diagnosis

# What Python and torch say where a tensor (b,) is taken for one number.
ONE_NUMBER = "of a single element|one element tensors|elements cannot be converted"
BENT = "sampling/loop/bent"
VISITS, ENDING = "sampling/loop/visits", ("sampling/loop/pictures", "sampling/loop/clamp")
ORDER = [stage.name for stage in stages.ALL]


def mark_known(
    subject: Subject, stage: Stage, checks: list[Check], before: Collection[Finding] = ()
) -> list[Finding]:
    """Gives `known` to failing checks that fit Diffusers' own formula; returns what is shared.

    What follows from findings of stages `before`, all together, is as known.
    """
    found: dict[str, Finding] = {}
    failing = {c.id for c in checks if c.status == "differs"}
    known = shared(subject.setting.sampler)
    findings = [f for f in known if f.bug and BY_ID[f.bug].stage == stage.name]
    trials = [*combinations(findings, 1), *combinations(findings, 2)]
    wrong = {c.id: c for c in checks if c.id in failing}
    for trial in [tuple(before), *trials] if before else trials:
        if not failing:
            break
        oracle = Oracle()
        for finding in trial:
            oracle = finding.oracle(oracle)
        held = outcomes(subject, stage, oracle, wrong)
        explained = {i for i in failing if held.get(i)}
        if explained:
            found |= {f.id: f for f in trial}
            failing -= explained
            _mark(checks, explained, trial)
    return list(found.values())


def _mark(checks: list[Check], ids: set[str], trial: tuple[Finding, ...]) -> None:
    title = " and ".join(f"{f.id}: {f.title}" for f in trial)
    for i, check in enumerate(checks):
        if check.id in ids:
            checks[i] = replace(check, status="known", message=f"as in Diffusers ({title})")


def diagnose(
    subject: Subject, judged: tuple[Stage, ...], checks: list[Check], mistakes: tuple[Mistake, ...]
) -> list[Diagnosis]:
    """The mistakes that explain the failing checks, one for each fault that stands by itself."""
    tolerated = frozenset(c.id for c in checks if c.status == "known")
    read = {c.id: c for c in checks if not c.passed}
    failing = list(read.values())
    left = [stage for stage in judged if any(c.stage == stage.name for c in failing)]
    base, diagnoses = Oracle(), list[Diagnosis]()
    while left:
        first = left[0]
        wrong = read if base == Oracle() else _failing(subject, left, base)
        trial = _Trial(subject, judged, left, base, tolerated, wrong)
        best = _best(subject, trial, mistakes)
        if best is not None:
            mistake, left, subject, twin = best
            own = stages.BY_NAME[mistake.stage].is_met(subject)
            letters = name(subject, mistake.stage if own else first.name, base)
            base = mistake.oracle(base)
            shown = [c for c in failing if c.stage == first.name]
            diagnoses.append(_seen(mistake, twin, shown, letters))
            continue
        part = _part(subject, trial, failing, mistakes) or _before(trial, failing, mistakes)
        if part is not None:
            mistake, base, failing = part
            diagnoses.append(_named(mistake))
            continue
        drawn = _drawn(subject, trial)
        if drawn is not None:
            found, base, left = drawn
            diagnoses += [_named(mistake) for mistake in found]
            continue
        if diagnoses and diagnoses[0].stage == "schedule":
            break  # what is made of a wrong table may look wrong in ways of its own
        told = any(c.id == BENT for c in failing)  # in whole: no coefficient, no mistake is near
        letters = None if told else name(subject, first.name, base)
        if letters is None and first in (stages.PREDICTION, stages.MEAN):
            letters = other_limit(subject, base)
        if _stands_alone(diagnoses, letters) and not _raised_before(failing, first.name):
            hint = "" if letters or told else nearest(subject, first, base, mistakes)
            letters = letters or (None if told else in_numbers(subject, first.name, base))
            diagnoses.append(_unnamed(subject, first, failing, hint, letters))
        judged = tuple(stage for stage in judged if stage is not first)
        later = ORDER[ORDER.index(first.name) + 1 :]
        mistakes = tuple(m for m in mistakes if m.stage in later)
        left = left[1:]
    return [d for d in diagnoses if not _is_of_a_step(d, diagnoses)]


def _stands_alone(before: list[Diagnosis], letters: Named | None) -> bool:
    """False for what may follow from a fault without a name that was found before.

    A coefficient that is read is wrong by itself, if those before were read too and are not it.
    """
    if all(d.bug is not None for d in before):
        return True
    if letters is None or letters.formula in (None, *(d.formula for d in before)):
        return False
    return all(d.bug is not None or d.formula is not None for d in before)


def _is_of_a_step(found: Diagnosis, every: list[Diagnosis]) -> bool:
    """True for a wrong table of which a step or a loss is made that is named: one formula, one
    number."""
    number = (found.bug or "none").partition("-")[0]
    steps = {(d.bug or "").partition("-")[0] for d in every if d.stage != "tables"}
    return found.stage == "tables" and number in steps


def _named(
    mistake: Mistake,
    seen: str = "",
    twin: Mistake | None = None,
    formula: str | None = None,
) -> Diagnosis:
    words, fix = mistake.words, mistake.fix
    if twin is not None:
        words = f"{words}; or, which gives the same numbers here: {twin.words}"
        fix = f"{fix}; or {twin.fix}"
    other = None if twin is None else twin.id
    return Diagnosis(mistake.id, mistake.stage, words + seen, fix, mistake.name, other, formula)


def _seen(
    mistake: Mistake, twin: Mistake | None, failing: list[Check], letters: Named | None
) -> Diagnosis:
    """With the t at which its first failing check shows it, for those that go by t, and the formula
    that was read off: as letters say it, or a check."""
    place = re.search(r"\bt=\d+", failing[0].message)
    at = f" (first seen at {place[0]}, {failing[0].id})" if place else ""
    formula = None if letters is None else letters.formula
    return _named(
        mistake, at, twin, formula or next((c.formula for c in failing if c.formula), None)
    )


def _part(
    subject: Subject, trial: "_Trial", failing: list[Check], mistakes: tuple[Mistake, ...]
) -> tuple[Mistake, Oracle, list[Check]] | None:
    """A mistake of a loop, loss, list or tables that explains some failing checks, spoiling none.

    Such code has several duties that are looked at apart: more than one may be neglected. What
    could not be computed is explained beside something that differs, not by itself.
    """
    stage = trial.left[0]
    own = {c.id: c.status for c in trial.failing.values() if c.stage == stage.name}
    wrong, differ = {*own}, {id for id, status in own.items() if status == "differs"}
    if stage.name not in ("sampling", "loss", "timesteps", "tables") or len(wrong) == 1:
        return None
    best: tuple[Mistake, Oracle, list[Check]] | None = None
    fewest = len(wrong)
    for mistake in (m for m in mistakes if m.stage == stage.name):
        oracle = mistake.oracle(trial.base)
        with suppress(Broken, *NOT_COMPUTABLE):
            still = _still_wrong(subject, stage, oracle, trial.failing)
            if still <= wrong and 0 < len(still) < fewest and differ - still:
                kept = [c for c in failing if c.stage != stage.name or c.id in still]
                best, fewest = (mistake, oracle, kept), len(still)
    return best


def _drawn(
    subject: Subject, trial: "_Trial"
) -> tuple[tuple[Mistake, ...], Oracle, list[Stage]] | None:
    """The mistakes of one draw, two at most, that together explain the first failing stage; the
    oracle with both, and what is left. A loop may draw its steps' noise alone so."""
    first = trial.left[0]
    if first not in (stages.VARIANCE, stages.SAMPLING):
        return None
    for found, draw in wrong_draws():
        seams = {"loop": Loop(noise=draw)} if first is stages.SAMPLING else {"draw": draw}
        together = replace(found[0], seams=seams, stage=first.name)
        rest = trial.rest(subject, together)
        if rest is not None:
            return found, together.oracle(trial.base), rest
    return None


def _before(
    trial: "_Trial", failing: list[Check], mistakes: tuple[Mistake, ...]
) -> tuple[Mistake, Oracle, list[Check]] | None:
    """A mistake of a loop's list, behind which others show; None if they are not told as well, by
    their names or in letters.

    Where the list is wrong no step is looked at, nor the end. With that of the mistake they are.
    What is made of the pictures in the end is a duty of its own, which need have no name.
    """
    stage, subject = trial.left[0], trial.subject
    if {c.id for c in failing if c.stage == stage.name} != {VISITS}:
        return None
    kept = [check for check in failing if check.stage != stage.name]
    for mistake in (m for m in mistakes if m.stage == stage.name):
        oracle = mistake.oracle(trial.base)
        shown = _failing(subject, [stage], oracle)
        if shown and VISITS not in shown:
            others = tuple(m for m in mistakes if m is not mistake)
            told = {*shown} <= {*ENDING} or _are_named(trial, oracle, shown, others)
            if told or name(subject, stage.name, oracle) is not None:
                return mistake, oracle, [*kept, *shown.values()]
    return None


def _are_named(
    trial: "_Trial", base: Oracle, failing: dict[str, Check], mistakes: tuple[Mistake, ...]
) -> bool:
    """True if mistakes, one after another, explain all that fails in the first stage."""
    stage, subject = trial.left[0], trial.subject
    while failing:
        behind = replace(trial, base=base, failing=failing, held={})
        best = _best(subject, behind, mistakes)
        if best is not None:
            return stage not in best[1]
        part = _part(subject, behind, list(failing.values()), mistakes)
        if part is None:
            return False
        base, failing = part[1], {check.id: check for check in part[2]}
    return True


def _still_wrong(
    subject: Subject, stage: Stage, oracle: Oracle, wrong: dict[str, Check]
) -> set[str]:
    """The checks that do not hold with this oracle either; read up to one that did before."""
    still = set()
    for check in stage.of(subject, oracle):
        if not holds(check, wrong):
            still.add(check.id)
            if check.id not in wrong:
                break
    return still


def _raised_before(failing: list[Check], stage: str) -> bool:
    """True if all that fails in a stage was raised by lines that raised in a stage before it."""
    lines: dict[bool, list[str | None]] = {True: [], False: []}
    for check in failing:
        found = re.search(r"\([^()]*, line \d+\)", check.message)
        if ORDER.index(check.stage) <= ORDER.index(stage):
            lines[check.stage == stage].append(found[0] if found else None)
    return set(lines[True]) <= set(lines[False]) - {None}


def _unnamed(
    subject: Subject, stage: Stage, failing: list[Check], hint: str, letters: Named | None
) -> Diagnosis:
    if letters is not None:
        fix = f"give {letters.fix}{hint and '; '}{hint}"
        formula, fitted = letters.formula, letters.fitted
        return Diagnosis(None, stage.name, letters.words, fix, formula=formula, fitted=fitted)
    check = next(c for c in failing if c.stage == stage.name)
    words = f"{check.id.partition('/')[2]}: {check.message}"
    if check.status == "error":
        fix = "make it run, then compare again"
        if "not judged" in check.message:
            fix = "what is not judged is no fault: the page 'Write your own' says what is"
        if "rounding hides" in check.message:
            fix = "x_t should stay about as large as N(0, 1): look at what its parts are divided by"
        if "size of tensor" in check.message:
            fix = "coefficients (b,) meet images (b, c, h, w): reshape them to (b, 1, 1, 1)"
        if stage.name == "forward" and re.search(ONE_NUMBER, check.message):
            fix = "index with the tensor t; or, if t is one int, say --reading t_of_add_noise=int"
        return Diagnosis(None, stage.name, words, fix)
    if re.search(r" returned (shape|\w+, not a tensor)", check.message):
        return Diagnosis(None, stage.name, words, "return a tensor of the shape that was given")
    fix = f"should be {check.right or stage.right_of(subject)}"
    fix = f"{fix}; {hint}" if hint else fix
    return Diagnosis(None, stage.name, words, fix, formula=check.formula or None)


@dataclass(frozen=True)
class _Trial:
    """What a mistake is tried on: `left` of the stages `judged` fail with `base`, by `failing`;
    and whether a stage `held` with what it sees of an oracle."""

    subject: Subject
    judged: tuple[Stage, ...]
    left: list[Stage]
    base: Oracle
    tolerated: frozenset[str]
    failing: dict[str, Check]
    held: dict[tuple[Subject, str, Oracle], bool] = field(default_factory=dict)

    def rest(self, subject: Subject, mistake: Mistake) -> list[Stage] | None:
        """The stages that it leaves, None if it does not explain the first or spoils another."""
        oracle = mistake.oracle(self.base)
        if not self._holds(subject, self.left[0], oracle):
            return None
        held = [stage for stage in self.judged if self._holds(subject, stage, oracle)]
        if any(stage not in held and stage not in self.left for stage in self.judged):
            return None
        rest = [stage for stage in self.left if stage not in held]
        if mistake.stage in [s.name for s in rest]:  # it may look like another fault
            return None  # elsewhere, not in its own stage
        return rest

    def _holds(self, subject: Subject, stage: Stage, oracle: Oracle) -> bool:
        """True if every check holds and explains why it failed; asked once of oracles that are the
        same to the stage."""
        if self._looks_away(subject, stage, oracle):
            return stage not in self.left
        shown = _shows_its_table(subject, stage)
        key = subject, stage.name, oracle.only(*stage.sees) if shown else oracle
        if key not in self.held:
            self.held[key] = self._explained(subject, stage, oracle)
        return self.held[key]

    def _explained(self, subject: Subject, stage: Stage, oracle: Oracle) -> bool:
        """The same, checked; the first that does not hold ends it."""
        found: list[Check] = []
        with suppress(Broken, *NOT_COMPUTABLE):  # a wrong formula may not fit these inputs
            for check in stage.of(subject, oracle):
                if check.id in self.tolerated:
                    continue
                if not check.passed:
                    return False
                found += [check] if check.id in self.failing else []
            return all(explains(check, self.failing[check.id]) for check in found)
        return False

    def _looks_away(self, subject: Subject, stage: Stage, oracle: Oracle) -> bool:
        """True if a stage would say the same as before: it sees nothing of the mistake."""
        as_before = subject is self.subject or stage is stages.OF_TABLES  # they are no step
        if not as_before or not stage.sees:
            return False
        if oracle.only(*stage.sees) != self.base.only(*stage.sees):
            return False
        return _shows_its_table(subject, stage)


def _shows_its_table(subject: Subject, stage: Stage) -> bool:
    """True if what a stage says goes by nothing of an oracle but the formulas that it sees."""
    with suppress(Broken):
        return bool(stage.sees) and subject.scheduler().table() is not None
    return False


def _failing(subject: Subject, stages: list[Stage], oracle: Oracle) -> dict[str, Check]:
    """The checks of these stages that fail with this oracle, by id, with what they compared."""
    found: dict[str, Check] = {}
    for stage in stages:
        with suppress(Broken, *NOT_COMPUTABLE):
            found |= {c.id: c for c in stage.of(subject, oracle) if not c.passed}
    return found


def _best(
    subject: Subject, trial: _Trial, mistakes: tuple[Mistake, ...]
) -> tuple[Mistake, list[Stage], Subject, Mistake | None] | None:
    """The mistake that explains the first failing stage and most of the others, what is left, the
    reading of the candidate with which it does, and its twin if that does as well."""
    best: tuple[Mistake, list[Stage], Subject] | None = None
    names, shows_tables = [stage.name for stage in trial.left], subject.has("tables")
    # A loop that goes wrong is named as such before a step's formula that would look the same.
    ordered = sorted(mistakes, key=lambda m: m.stage not in names)
    for reading, mistake in product(readings(subject), ordered):  # its own reading before others
        other = mistake.only in BY_SAMPLER and mistake.only != reading.setting.sampler
        if (other and subject.has("step")) or (mistake.only == "tables" and not shows_tables):
            continue
        if other and BY_SAMPLER[mistake.only].remembers and not _may_remember(subject):
            continue
        if {*mistake.seams} == {"limit"} and BENT in trial.failing:
            continue  # a limit that was read off is told as it was
        kind = reading.setting.prediction_type
        if KIND_OF_LOSS.get(mistake.only, kind) != kind:
            continue
        rest = trial.rest(reading, mistake)
        if rest is not None and (best is None or len(rest) < len(best[1])):
            best = mistake, rest, reading
        if rest == []:
            break
    return (
        None if best is None else _with_twin(trial, mistakes, *_with_less(trial, mistakes, *best))
    )


def _may_remember(subject: Subject) -> bool:
    """False for a loop each of whose steps is a sum of x_t, the output and noise alone."""
    with suppress(Broken):
        run = look(subject, subject.scheduler().alpha_bars(Oracle()))
        return run.drawn is None or run.drawn.cut
    return False


def _with_less(
    trial: _Trial,
    mistakes: tuple[Mistake, ...],
    mistake: Mistake,
    rest: list[Stage],
    reading: Subject,
) -> tuple[Mistake, list[Stage], Subject]:
    """The same; of one number the mistake of fewer formulas, if that explains as much: of a sampler
    that weighs x_t otherwise what is wrong in a mean cannot be said."""
    number = mistake.id.partition("-")[0]
    for other in mistakes:
        fewer = other.id.partition("-")[0] == number and len(other.seams) < len(mistake.seams)
        if fewer and trial.rest(reading, other) == rest:
            return other, rest, reading
    return mistake, rest, reading


def _with_twin(
    trial: _Trial,
    mistakes: tuple[Mistake, ...],
    mistake: Mistake,
    rest: list[Stage],
    reading: Subject,
) -> tuple[Mistake, list[Stage], Subject, Mistake | None]:
    """The same; of two mistakes that both explain it the likelier, and the other beside it."""
    for likelier in mistakes:
        twin = next((m for m in mistakes if m.id == likelier.twin), None)
        if twin is not None and mistake in (likelier, twin):
            other = twin if mistake is likelier else likelier
            if trial.rest(reading, other) == rest:
                return likelier, rest, reading, twin
    return mistake, rest, reading, None
