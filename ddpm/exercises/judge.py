"""Judges a reader's function by ours: the first difference, told as it stands, and its name."""

from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from compare import mistakes as catalogue
from compare.candidate.load import raised
from compare.oracle import F64
from ddpm.exercises.exercise import Arguments, Exercise, Function, largest
from ddpm.exercises.show import call, kind, show, told_apart

SEED = 1  # of the global state before each call; what the catalogue seeds itself takes another
NEARLY = 1e-3  # of the largest value: what float32 may do to a coefficient, and no mistake does


@dataclass(frozen=True)
class Verdict:
    """What became of an answer.

    Attributes:
        inputs: how many it was tried on.
        fault: what is wrong with it, on the first input that shows it; empty if nothing is.
        mistakes: numbers of the catalogue's mistakes that it is.
        slip: words of a wrong answer without a number that it is; empty if it is none.
        empty: it raised NotImplementedError, as the stubs do.
    """

    inputs: int
    fault: str = ""
    mistakes: tuple[str, ...] = ()
    slip: str = ""
    empty: bool = False

    @property
    def right(self) -> bool:
        """True if nothing is wrong with it."""
        return not self.fault and not self.empty

    def lines(self, exercise: Exercise) -> Iterator[str]:
        """What the reader is told."""
        head = f"{exercise.id} {exercise.function}"
        if self.right:
            yield f"{head}: right, on all {self.inputs} inputs."
            return
        yield f"{head}: not yet."
        yield f"  {self.fault}"
        for number in self.mistakes:
            known = catalogue.BY_ID[number]
            yield f"  mistake {number}, {known.name}: {exercise.said.get(number, known.words)}"
        if self.slip:
            yield f"  {self.slip}"
        yield f"  ours: ddpm exercise {exercise.id} --solution"


class ArgumentChanged(Exception):
    """An answer changed in place what it was given; the text is the name of the argument."""


def judge(exercise: Exercise, answer: Function) -> Verdict:
    """Whether an answer is right, and if not, what is wrong with it.

    Args:
        exercise: which formula.
        answer: a function with the signature of ours; what it raises is in the verdict.

    >>> from ddpm.exercises.index import BY_ID
    >>> judge(BY_ID["11b"], BY_ID["11b"].ours).right
    True
    >>> judge(BY_ID["2a"], BY_ID["2a"].wrong["8-tenfold"]).mistakes
    ('8-tenfold',)
    """
    with torch.random.fork_rng(devices=[]):
        got, want = results(exercise, answer), results(exercise, exercise.ours)
        if any(isinstance(value, NotImplementedError) for value in got):
            return Verdict(len(got), empty=True)
        told = map(_fault, [exercise] * len(got), exercise.inputs(), got, want)
        fault = next((text for text in told if text), "")
        if fault:
            mistakes = tuple(_named(exercise, got, want))
            return Verdict(
                len(got), fault, mistakes, "" if mistakes else _slip(exercise, got, want)
            )
        words, named = _by_law(exercise, answer)
        return Verdict(len(got), words, (named,) if named else ())


def results(exercise: Exercise, function: Function) -> list[Any]:
    """What a function gives for each input, or the exception that it raises there."""
    return [_result(function, arguments) for arguments in exercise.inputs()]


def _result(function: Function, arguments: Arguments) -> Any:
    before = {name: v.clone() for name, v in arguments.items() if isinstance(v, Tensor)}
    torch.default_generator.manual_seed(SEED)  # torch.manual_seed takes milliseconds
    try:
        value = function(**arguments)
    except (Exception, SystemExit) as error:
        return error
    changed = [name for name, v in before.items() if not torch.equal(v, arguments[name])]
    return ArgumentChanged(changed[0]) if changed else value


def _fault(exercise: Exercise, arguments: Arguments, got: Any, want: Any) -> str:
    """What is wrong with the answer on one input; empty if nothing is."""
    asked = f"your {call(exercise.function, arguments)}"
    if isinstance(want, Exception):
        if isinstance(got, type(want)):
            return ""
        did = f"raises {raised(got)}" if isinstance(got, BaseException) else f"= {show(got)}"
        return f"{asked} {did}, should raise a {type(want).__name__}"
    if isinstance(got, ArgumentChanged):
        return f"{asked} changes {got} in place, should leave it as it is"
    if isinstance(got, BaseException):
        return f"{asked} raises {raised(got)}"
    if kind(got) != kind(want):
        return f"{asked} is {kind(got)}, should be {kind(want)}"
    if exercise.law is not None:
        return ""
    allowed = exercise.allowed(want, arguments)
    g, w = _values(got), _values(want)
    assert g is not None
    assert w is not None
    if _same(g, w, allowed):
        return ""
    apart = ~_near(g, w, allowed) if g.shape == w.shape else torch.ones(())
    return asked + told_apart(g, w, apart) + _of_rounding(g, w)


def _of_rounding(got: Tensor, want: Tensor) -> str:
    """A remark where the formula is right and its arithmetic is too coarse."""
    if got.shape == want.shape and bool(_near(got, want, NEARLY * largest(want)).all()):
        return "; this is rounding: compute coefficients in float64, and cast them once"
    return ""


def _by_law(exercise: Exercise, answer: Function) -> tuple[str, str]:
    """What is wrong with the numbers of a draw, and the mistake that it is."""
    if exercise.law is None:
        return "", ""
    try:
        words, mistake = exercise.law(answer)
    except (Exception, SystemExit) as error:
        words, mistake = f"raises {raised(error)}", ""
    return (f"your {exercise.function} {words}" if words else ""), mistake


def _named(exercise: Exercise, got: list[Any], want: list[Any]) -> Iterator[str]:
    """The listed mistakes that the answer is."""
    for mistake, wrong in exercise.wrong.items():
        if _explains(exercise, wrong, got, want):
            yield mistake


def _slip(exercise: Exercise, got: list[Any], want: list[Any]) -> str:
    """The words of the first slip that the answer is; empty if it is none."""
    found = (s.words for s in exercise.slips if _explains(exercise, s.function, got, want))
    return next(found, "")


def _explains(exercise: Exercise, wrong: Function, got: list[Any], want: list[Any]) -> bool:
    """Whether a mistake gives the answer's values wherever both give any, and not always ours."""
    differs = False
    for arguments, g, w in zip(exercise.inputs(), got, want, strict=True):
        value = _result(wrong, arguments)
        mine, ours, theirs = _values(g), _values(w), _values(value)
        if mine is None or ours is None or theirs is None:
            continue
        allowed = exercise.allowed(value, arguments)
        if not isinstance(value, list):
            allowed = max(allowed, NEARLY * largest(theirs))  # the mistake, and coarsely
        if not _same(mine, theirs, allowed):
            return False
        differs = differs or not _same(theirs, ours, allowed)
    return differs


def _values(result: Any) -> Tensor | None:
    """A result as float64, whatever its kind; None where it is no real numbers."""
    if isinstance(result, Tensor):
        return None if result.is_complex() else result.detach().to(F64)
    if isinstance(result, Real):
        return torch.tensor(float(result), dtype=F64)
    if isinstance(result, list) and all(isinstance(each, Real) for each in result):
        return torch.tensor([float(each) for each in result], dtype=F64)
    return None


def _same(a: Tensor, b: Tensor, allowed: Any) -> bool:
    return a.shape == b.shape and bool(_near(a, b, allowed).all())


def _near(a: Tensor, b: Tensor, allowed: Any) -> Tensor:
    """Where two of one shape agree; infinities and what is not a number do with their like."""
    return ((a - b).abs() <= allowed) | (a == b) | (a.isnan() & b.isnan())
