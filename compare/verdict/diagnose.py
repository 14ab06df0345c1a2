"""Turns failing checks into the name of the formula that is wrong: root cause first."""

import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from itertools import combinations

from compare import stages
from compare.candidate.load import Broken
from compare.candidate.subject import Subject
from compare.measure.check import Check
from compare.mistakes import BY_ID, Mistake
from compare.oracle import Oracle
from compare.oracle.samplers import BY_NAME as BY_SAMPLER
from compare.stages.stage import Stage
from compare.verdict.diffusers import Finding, shared
from compare.verdict.nearest import NOT_COMPUTABLE, nearest, passing, readings
from compare.verdict.report import Diagnosis

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
    for trial in [tuple(before), *trials] if before else trials:
        if not failing:
            break
        oracle = Oracle()
        for finding in trial:
            oracle = finding.oracle(oracle)
        explained = passing(subject, stage, oracle) & failing
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
    subject: Subject,
    judged: tuple[Stage, ...],
    checks: list[Check],
    mistakes: tuple[Mistake, ...],
) -> list[Diagnosis]:
    """The mistakes that explain the failing checks, one for each fault that stands by itself."""
    tolerated = frozenset(c.id for c in checks if c.status == "known")
    failing = [c for c in checks if not c.passed]
    left = [stage for stage in judged if any(c.stage == stage.name for c in failing)]
    base = Oracle()
    diagnoses: list[Diagnosis] = []
    while left:
        first = left[0]
        best = _best(subject, judged, left, base, tolerated, mistakes)
        if best is not None:
            mistake, base, left, subject = best
            words = mistake.words + _first_seen(failing, first.name)
            diagnoses.append(_named(mistake, words))
            continue
        part = _part(subject, first, base, failing, mistakes)
        if part is not None:
            mistake, base, failing = part
            diagnoses.append(_named(mistake, mistake.words))
            continue
        if diagnoses and diagnoses[0].stage == "schedule":
            break  # what is made of a wrong table may look wrong in ways of its own
        # and so what is made of any unnamed fault
        named = all(d.bug is not None for d in diagnoses)
        if named and not _raised_before(failing, first.name):
            hint = nearest(subject, first, base, mistakes)
            diagnoses.append(_unnamed(first, failing, hint))
        judged = tuple(stage for stage in judged if stage is not first)
        later = ORDER[ORDER.index(first.name) + 1 :]
        mistakes = tuple(m for m in mistakes if m.stage in later)
        left = left[1:]
    return diagnoses


def _named(mistake: Mistake, words: str) -> Diagnosis:
    return Diagnosis(mistake.id, mistake.stage, words, mistake.fix, mistake.name)


def _part(
    subject: Subject,
    stage: Stage,
    base: Oracle,
    failing: list[Check],
    mistakes: tuple[Mistake, ...],
) -> tuple[Mistake, Oracle, list[Check]] | None:
    """A mistake of a loop or a loss that explains some of its failing checks and spoils none.

    Such code has several duties that are looked at apart: more than one may be neglected.
    """
    if stage.name not in ("sampling", "loss"):
        return None
    wrong = {c.id for c in failing if c.stage == stage.name}
    best: tuple[Mistake, Oracle, list[Check]] | None = None
    fewest = len(wrong)
    for mistake in (m for m in mistakes if m.stage == stage.name):
        oracle = mistake.oracle(base)
        with suppress(Broken, *NOT_COMPUTABLE):
            still = {c.id for c in _told(subject, stage, oracle) if not c.passed}
            if still < wrong and 0 < len(still) < fewest:
                kept = [c for c in failing if c.stage != stage.name or c.id in still]
                best, fewest = (mistake, oracle, kept), len(still)
    return best


def _told(subject: Subject, stage: Stage, oracle: Oracle) -> list[Check]:
    return [check.told() for check in stage.of(subject, oracle)]


def _raised_before(failing: list[Check], stage: str) -> bool:
    """True if all that fails in a stage was raised by lines that raised in a stage before it."""
    lines: dict[bool, list[str | None]] = {True: [], False: []}
    for check in failing:
        found = re.search(r"\([^()]*, line \d+\)", check.message)
        if ORDER.index(check.stage) <= ORDER.index(stage):
            lines[check.stage == stage].append(found[0] if found else None)
    return set(lines[True]) <= set(lines[False]) - {None}


def _first_seen(failing: list[Check], stage: str) -> str:
    """At which t the first failing check of a stage shows it, for those that go by t."""
    check = next(c for c in failing if c.stage == stage)
    place = re.search(r"\bt=\d+", check.message)
    return f" (first seen at {place[0]}, {check.id})" if place else ""


def _unnamed(stage: Stage, failing: list[Check], hint: str) -> Diagnosis:
    check = next(c for c in failing if c.stage == stage.name)
    words = f"{check.id.partition('/')[2]}: {check.message}"
    if check.status == "error":
        fix = "make it run, then compare again"
        if "size of tensor" in check.message:
            fix = "coefficients (b,) meet images (b, c, h, w): reshape them to (b, 1, 1, 1)"
        return Diagnosis(None, stage.name, words, fix)
    if re.search(r" returned (shape|\w+, not a tensor)", check.message):
        return Diagnosis(None, stage.name, words, "return a tensor of the shape that was given")
    fix = f"should be {check.right or stage.right}"
    return Diagnosis(None, stage.name, words, f"{fix}; {hint}" if hint else fix)


def _best(
    subject: Subject,
    judged: tuple[Stage, ...],
    left: list[Stage],
    base: Oracle,
    tolerated: frozenset[str],
    mistakes: tuple[Mistake, ...],
) -> tuple[Mistake, Oracle, list[Stage], Subject] | None:
    """The mistake that explains the first failing stage and most of the others, what is left, and
    the reading of the candidate with which it does."""
    best: tuple[Mistake, Oracle, list[Stage], Subject] | None = None
    names = [stage.name for stage in left]
    # A loop that goes wrong is named as such before a step's formula that would look the same.
    for mistake in sorted(mistakes, key=lambda m: m.stage not in names):
        other = mistake.only in BY_SAMPLER and mistake.only != subject.setting.sampler
        if other and subject.has("step"):
            continue
        if mistake.only == "v_loss" and subject.setting.prediction_type != "v_prediction":
            continue
        oracle = mistake.oracle(base)
        for reading in readings(subject):
            if not _holds(reading, left[0], oracle, tolerated):
                continue
            held = [stage for stage in judged if _holds(reading, stage, oracle, tolerated)]
            if any(stage not in held and stage not in left for stage in judged):
                continue
            rest = [stage for stage in left if stage not in held]
            if mistake.stage in [s.name for s in rest]:  # it may look like another fault
                continue  # elsewhere, not in its own stage
            if best is None or len(rest) < len(best[2]):
                best = mistake, oracle, rest, reading
            if not rest:
                return best
    return best


def _holds(subject: Subject, stage: Stage, oracle: Oracle, tolerated: frozenset[str]) -> bool:
    """True if every check holds; the first that does not ends the reading."""
    with suppress(Broken, *NOT_COMPUTABLE):  # a wrong formula may not fit these inputs
        return all(c.passed or c.id in tolerated for c in stage.of(subject, oracle))
    return False
