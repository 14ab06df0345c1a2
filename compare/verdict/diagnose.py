"""Turns failing checks into the name of the formula that is wrong: root cause first."""

import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from itertools import combinations

from compare.candidate.scheduler import Broken
from compare.candidate.subject import Subject
from compare.measure.ledger import Stop
from compare.mistakes import BY_ID, Mistake
from compare.oracle import Oracle
from compare.verdict.diffusers import Finding, shared
from compare.verdict.nearest import Stage, kind_of, nearest, readings
from compare.verdict.report import STAGES, Check, Diagnosis

FORMULAS = {
    "schedule": "alpha_bar_t = product of 1 - beta_s for s = 0..t (Ho et al., below eq. 3)",
    "forward": "x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) noise (Ho et al. eq. 4)",
    "get_velocity": "v = sqrt(alpha_bar_t) noise - sqrt(1 - alpha_bar_t) x_0, called as "
    "get_velocity(x_0, noise, t) (Salimans & Ho, section 4)",
    "timesteps": "the list of Lin et al. table 2; each step goes to the next of the list",
    "prediction": "x0-hat = (x_t - sqrt(1-ab) eps) / sqrt(ab), then clip (Ho et al. eq. 15)",
    "mean": "sqrt(ab_prev) beta/(1-ab) x0-hat + sqrt(alpha) (1-ab_prev)/(1-ab) x_t "
    "(Ho et al. eq. 7)",
    "variance": "sigma z with sigma^2 = beta or (1-ab_prev)/(1-ab) beta, z ~ N(0, 1) fresh, none "
    "at the last step (Ho et al. eq. 7, algorithm 2)",
    "sampling": "algorithm 2 of Ho et al.: t from T-1 down to 0, the model told the same t",
    "loss": "mean of (noise - model(x_t, t))^2, t uniform in 0..T-1 per image (Ho et al. eq. 14)",
}


def mark_known(
    subject: Subject,
    stages: dict[str, Stage],
    checks: list[Check],
    before: Collection[Finding] = (),
) -> list[Finding]:
    """Gives `known` to failing checks that fit Diffusers' own formula; returns what is shared.

    What follows from findings of stages `before`, all together, is as known.
    """
    found: dict[str, Finding] = {}
    for name, stage in stages.items():
        failing = {c.id for c in checks if c.stage == name and c.status == "differs"}
        findings = [f for f in shared(kind_of(subject)) if f.bug and BY_ID[f.bug].stage == name]
        trials = [*combinations(findings, 1), *combinations(findings, 2)]
        for trial in [tuple(before), *trials] if before else trials:
            if not failing:
                break
            oracle = Oracle()
            for finding in trial:
                oracle = finding.oracle(oracle)
            explained = {c.id for c in stage(subject, oracle) if c.passed} & failing
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
    subject: Subject, stages: dict[str, Stage], checks: list[Check], mistakes: tuple[Mistake, ...]
) -> list[Diagnosis]:
    """The mistakes that explain the failing checks, one for each fault that stands by itself."""
    tolerated = frozenset(c.id for c in checks if c.status == "known")
    failing = [c for c in checks if c.status in ("differs", "error")]
    left = [name for name in STAGES if name in stages and any(c.stage == name for c in failing)]
    base = Oracle()
    diagnoses: list[Diagnosis] = []
    while left:
        best = _best(subject, stages, left, base, tolerated, mistakes)
        if best is not None:
            mistake, base, rest, subject = best
            words = mistake.words + _first_seen(failing, left[0])
            diagnoses.append(_named(mistake, words))
            left = rest
            continue
        part = _part(subject, left[0], stages[left[0]], base, failing, mistakes)
        if part is not None:
            mistake, base, failing = part
            diagnoses.append(_named(mistake, mistake.words))
            continue
        if diagnoses and diagnoses[0].stage == "schedule":
            break  # what is made of a wrong table may look wrong in ways of its own
        # and so what is made of any unnamed fault
        named = all(d.bug is not None for d in diagnoses)
        if named and not _raised_before(failing, left[0]):
            hint = nearest(subject, left[0], stages[left[0]], base, mistakes)
            diagnoses.append(_unnamed(left[0], failing, hint))
        stages = {name: stage for name, stage in stages.items() if name != left[0]}
        later = STAGES[STAGES.index(left[0]) + 1 :]
        mistakes = tuple(m for m in mistakes if m.stage in later)
        left = left[1:]
    return diagnoses


def _named(mistake: Mistake, words: str) -> Diagnosis:
    return Diagnosis(mistake.id, mistake.stage, words, mistake.fix, mistake.name)


def _part(
    subject: Subject,
    name: str,
    stage: Stage,
    base: Oracle,
    failing: list[Check],
    mistakes: tuple[Mistake, ...],
) -> tuple[Mistake, Oracle, list[Check]] | None:
    """A mistake of a loop or a loss that explains some of its failing checks and spoils none.

    Such code has several duties that are looked at apart: more than one may be neglected.
    """
    if name not in ("sampling", "loss"):
        return None
    wrong = {c.id for c in failing if c.stage == name}
    best: tuple[Mistake, Oracle, list[Check]] | None = None
    fewest = len(wrong)
    for mistake in (m for m in mistakes if m.stage == name):
        oracle = mistake.oracle(base)
        with suppress(Broken, RuntimeError, IndexError, ValueError):
            still = {c.id for c in stage(subject.reading(), oracle) if not c.passed}
            if still < wrong and 0 < len(still) < fewest:
                best = mistake, oracle, [c for c in failing if c.stage != name or c.id in still]
                fewest = len(still)
    return best


def _raised_before(failing: list[Check], stage: str) -> bool:
    """True if all that fails in a stage was raised by lines that raised in a stage before it."""
    lines: dict[bool, list[str | None]] = {True: [], False: []}
    for check in failing:
        found = re.search(r"\([^()]*, line \d+\)", check.message)
        if STAGES.index(check.stage) <= STAGES.index(stage):
            lines[check.stage == stage].append(found[0] if found else None)
    return set(lines[True]) <= set(lines[False]) - {None}


def _first_seen(failing: list[Check], stage: str) -> str:
    """At which t the first failing check of a stage shows it, for those that go by t."""
    check = next(c for c in failing if c.stage == stage)
    place = re.search(r"\bt=\d+", check.message)
    return f" (first seen at {place[0]}, {check.id})" if place else ""


def _unnamed(stage: str, failing: list[Check], hint: str) -> Diagnosis:
    check = next(c for c in failing if c.stage == stage)
    words = f"{check.id.partition('/')[2]}: {check.message}"
    if check.status == "error":
        fix = "make it run, then compare again"
        if "size of tensor" in check.message:
            fix = "coefficients (b,) meet images (b, c, h, w): reshape them to (b, 1, 1, 1)"
        return Diagnosis(None, stage, words, fix)
    if re.search(r" returned (shape|\w+, not a tensor)", check.message):
        return Diagnosis(None, stage, words, "return a tensor of the shape that was given")
    formula = "get_velocity" if "/get_velocity/" in check.id else stage
    fix = f"should be {FORMULAS.get(formula, 'as the oracle says')}"
    return Diagnosis(None, stage, words, f"{fix}; {hint}" if hint else fix)


def _best(
    subject: Subject,
    stages: dict[str, Stage],
    left: list[str],
    base: Oracle,
    tolerated: frozenset[str],
    mistakes: tuple[Mistake, ...],
) -> tuple[Mistake, Oracle, list[str], Subject] | None:
    """The mistake that explains the first failing stage and most of the others, what is left, and
    the reading of the candidate with which it does."""
    best: tuple[Mistake, Oracle, list[str], Subject] | None = None
    # A loop that goes wrong is named as such before a step's formula that would look the same.
    for mistake in sorted(mistakes, key=lambda m: m.stage not in left):
        if mistake.only == "ddim" and kind_of(subject) == "ddpm" and subject.has("step"):
            continue
        if mistake.only == "v_loss" and subject.setting.prediction_type != "v_prediction":
            continue
        oracle = mistake.oracle(base)
        for reading in readings(subject):
            if not _holds(reading, stages[left[0]], oracle, tolerated):
                continue
            others = {n: _holds(reading, s, oracle, tolerated) for n, s in stages.items()}
            if not all(ok for name, ok in others.items() if name not in left):
                continue
            rest = [name for name in left if not others[name]]
            if mistake.stage in rest:  # it may look like another fault elsewhere, not in its own
                continue
            if best is None or len(rest) < len(best[2]):
                best = mistake, oracle, rest, reading
            if not rest:
                return best
    return best


def _holds(subject: Subject, stage: Stage, oracle: Oracle, tolerated: frozenset[str]) -> bool:
    trial = subject.reading()
    trial.strict = tolerated
    try:
        stage(trial, oracle)
    except (Stop, Broken):
        return False
    except (RuntimeError, IndexError, ValueError):
        return False  # the wrong formula itself cannot be computed on these inputs
    return True
