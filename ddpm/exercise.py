"""Exercises: a reader's formula takes the place of ours, and `compare` says what is wrong with it.

An exercise is one formula function of `scratch` with its signature. The stubs are in
`docs/exercises/`; `ddpm exercise 6a` runs the stage of `compare` that judges the formula, and its
hints are the diagnoses. The answers are `scratch` itself, so they cannot go stale.
"""

import argparse
import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from compare.candidate.load import Unloadable, brief, load
from compare.verdict.report import Report
from ddpm.exercises import BY_ID, EXERCISES, NOT_ASKED, Exercise


@dataclass
class Outcome:
    """What became of an answer.

    Attributes:
        report: what the stage said.
        unfinished: the answer raised NotImplementedError, as the stubs do.
        called: whether the stage reached the answer at all.
    """

    report: Report | None = None
    unfinished: bool = False
    called: bool = False

    @property
    def right(self) -> bool:
        """True if the stage ran the answer and every check holds.

        A mistake that Diffusers makes too is still one here, and so is a formula that makes the
        scheduler refuse an option.
        """
        if self.report is None or self.refused or self.report.findings:
            return False
        return self.called and not self.unfinished and self.report.passed

    @property
    def refused(self) -> list[str]:
        """Options that the scheduler could not be built with, because of the answer."""
        assert self.report is not None
        return [text for text in self.report.not_offered if NOT_ASKED not in text]

    @property
    def hints(self) -> list[str]:
        """What is wrong, root cause first: diagnoses, findings, or why the scheduler refuses it."""
        if self.report is None:
            return []
        said = [diagnosis.explanation for diagnosis in self.report.diagnoses]
        said += [f"as in Diffusers: {finding['title']}" for finding in self.report.findings]
        return said or [f"the scheduler refuses it: {text}" for text in self.refused[:1]]


def judge_answer(exercise: Exercise, answer: Callable[..., Any]) -> Outcome:
    """Put an answer in the place of our formula and run the exercise's stage on the scheduler.

    Args:
        exercise: which formula.
        answer: a function with the signature of ours.

    Returns:
        The outcome; what the answer does wrong, or raises, is in it.

    >>> judge_answer(BY_ID["11b"], BY_ID["11b"].ours).right
    True
    """
    from compare.verdict.judge import judge

    outcome = Outcome()

    @functools.wraps(answer)
    def watched(*args: Any, **kwargs: Any) -> Any:
        outcome.called = True
        try:
            return answer(*args, **kwargs)
        except NotImplementedError:
            outcome.unfinished = True
            raise

    if exercise.stage == "unet":
        outcome.report = _judge_networks(exercise, watched)
        return outcome
    with scratch_with(exercise, watched) as scratch:
        candidate = getattr(scratch, exercise.scheduler)
        if exercise.variance:
            candidate = _with_one_variance(candidate, exercise.variance)
        outcome.report = judge(candidate, "quick", 0, only=exercise.stage, beside=False)
    return outcome


def _judge_networks(exercise: Exercise, answer: Callable[..., Any]) -> Report:
    """The report on networks that call the answer, in each convention up to the first wrong one."""
    import diffusers

    from compare.backends.network import QUICK, TINY, judge_network
    from compare.verdict.judge import quiet

    checks = []
    for name in ("defaults", "paper"):
        options = TINY | QUICK[name]
        with scratch_with(exercise, answer) as scratch:
            network = scratch.UNet2DModel(**options)
        reference: Any = diffusers.UNet2DModel(**options)
        with quiet():
            report = judge_network(network, reference, exercise.function)
        checks += report.checks
        if not report.passed:
            break
    return replace(report, checks=checks)


def _with_one_variance(scheduler: type, variance: str) -> Callable[..., Any]:
    """A factory of the scheduler that refuses every other `variance_type`."""

    def build(**options: Any) -> Any:
        if options.get("variance_type", variance) != variance:
            raise ValueError(NOT_ASKED)
        return scheduler(**options)

    build.__signature__ = inspect.signature(scheduler)  # type: ignore[attr-defined]
    return build


@contextmanager
def scratch_with(exercise: Exercise, answer: Callable[..., Any]) -> Iterator[ModuleType]:
    """A second copy of `scratch` that calls `answer` where ours calls the exercise's formula.

    Our own copy is untouched; inside the context, imports find the second one.
    """
    ours = _take_out()
    try:
        package = importlib.import_module("scratch")
        home = importlib.import_module(exercise.module)
        original = getattr(home, exercise.function)
        replaced = {original: answer} | _kept_apart(home, original)
        files = [name for name in sys.modules if _is_scratch(name)]
        for module in [sys.modules[n] for n in files if exercise.used_in in ("", n)]:
            for name, value in vars(module).items():
                if isinstance(value, FunctionType) and value in replaced:
                    setattr(module, name, replaced[value])
        yield package
    finally:
        _take_out()
        sys.modules.update(ours)


def _kept_apart(home: ModuleType, original: Callable[..., Any]) -> dict[Callable[..., Any], Any]:
    """Other exercises' formulas, still calling ours: `scaled_linear` is made of `linear`."""
    names = dict(vars(home))
    kept: dict[Callable[..., Any], Any] = {}
    others = [e.function for e in EXERCISES if e.module == home.__name__]
    for value in [names[name] for name in others]:
        if value is not original:
            code, closure = value.__code__, value.__closure__
            kept[value] = FunctionType(code, names, value.__name__, value.__defaults__, closure)
            kept[value].__kwdefaults__ = value.__kwdefaults__
    return kept


def _take_out() -> dict[str, ModuleType]:
    return {name: sys.modules.pop(name) for name in list(sys.modules) if _is_scratch(name)}


def _is_scratch(name: str) -> bool:
    return name.split(".")[0] == "scratch"


def read_answer(exercise: Exercise, file: Path) -> Callable[..., Any]:
    """The reader's function.

    Raises:
        ValueError: the file is missing or cannot be run, or the function is missing or takes other
            arguments than ours.
    """
    if not file.is_file():
        raise ValueError(
            f"no such file: {file}; give yours with --file, it must define {exercise.function}"
        )
    try:
        answer, _ = load(f"{file}:{exercise.function}")
    except Unloadable as error:
        raise ValueError(brief(error)) from None
    wanted = list(inspect.signature(exercise.ours).parameters)
    given = list(inspect.signature(answer).parameters) if callable(answer) else []
    if given != wanted:
        raise ValueError(
            f"{exercise.function} must take ({', '.join(wanted)}), got ({', '.join(given)})"
        )
    found: Callable[..., Any] = answer
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `ddpm exercise`."""
    parser.add_argument("id", nargs="?", help="such as 6a; without it, a list of all")
    parser.add_argument("--file", type=Path, help="your answer (default: docs/exercises/ex_ID.py)")
    parser.add_argument(
        "--solution", action="store_true", help="show ours instead of judging yours"
    )


def main(args: argparse.Namespace) -> int:
    """`ddpm exercise`: 0 the answer is right, 1 it is wrong, 2 it could not be judged."""
    if args.id is None:
        print("\n".join(f"{e.id:4} {e.module}.{e.function}" for e in EXERCISES))
        return 0
    if args.id not in BY_ID:
        known = ", ".join(BY_ID)
        print(
            f"ddpm exercise: there is no exercise {args.id!r}; there are {known}", file=sys.stderr
        )
        return 2
    exercise = BY_ID[args.id]
    if args.solution:
        print(exercise.solution, end="")
        return 0
    file = args.file or exercise.stub
    try:
        answer = read_answer(exercise, file)
    except ValueError as error:
        print(f"ddpm exercise: {error}", file=sys.stderr)
        return 2
    outcome = judge_answer(exercise, answer)
    if outcome.unfinished:
        print(f"{exercise.function} is still empty: write it in {file}", file=sys.stderr)
        return 2
    print("\n".join(verdict(exercise, outcome)))
    return 0 if outcome.right else 1


def verdict(exercise: Exercise, outcome: Outcome) -> Iterator[str]:
    """What the reader is told: right, or the hint, the first deviation and where to read on."""
    assert outcome.report is not None
    checks = outcome.report.checks
    if outcome.right:
        judged = sum(check.status != "note" for check in checks)
        yield f"{exercise.id} {exercise.function}: right, {judged} checks of {exercise.stage} hold."
        return
    yield f"{exercise.id} {exercise.function}: not yet."
    if not outcome.called:
        yield "  it was never called: an earlier formula failed, or the file defines it twice"
    yield from (f"  hint: {hint}" for hint in outcome.hints)
    for check in [c for c in checks if not c.passed][:3]:
        yield f"  {check.line()}"
    yield f"  ours: ddpm exercise {exercise.id} --solution"
