"""What an exercise is: one formula to write, the inputs to try it on, and its known mistakes."""

import ast
import importlib
import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compare.mistakes import BY_ID
from compare.oracle import F64, Level, Oracle

Function = Callable[..., Any]
Arguments = dict[str, Any]

# How far an answer may be from ours, of the largest value. An image's dtype is rounded to a few
# times on either side. In float64 a coefficient counts, such as 1 - alpha_bar / alpha_bar_prev:
# where that is 1e-4 it multiplies a rounding by 1e4, and a handful of those is 1e-11.
ROUNDING = {torch.float64: 1e-10, torch.float32: 8 * 2.0**-24, torch.float16: 8 * 2.0**-11}


def rounding(want: Any, arguments: Arguments) -> float:
    """How far from `want` a right answer may be: nothing for integers.

    >>> rounding([3, 2, 1], {}), rounding(0.5, {})
    (0.0, 5e-11)
    """
    if isinstance(want, list):
        return 0.0
    value = want if isinstance(want, Tensor) else torch.tensor(want, dtype=F64)
    return ROUNDING[value.dtype] * largest(value)


def largest(value: Tensor) -> float:
    """The largest size in it; a mistake may divide by 0, which does not count."""
    return float(value.nan_to_num(0.0, 0.0, 0.0).abs().max())


@dataclass(frozen=True)
class Slip:
    """A wrong answer that the catalogue has no number for.

    Attributes:
        words: what the answer does and what it should, in the terms of the page.
        function: who makes it.
    """

    words: str
    function: Function


@dataclass(frozen=True)
class Exercise:
    """One formula to write.

    Attributes:
        id: the number of a page of the book, and a letter.
        module: the file of `scratch` that holds our answer.
        function: its name, and the name of the reader's.
        page: of the book, on which the formula stands.
        stage: the stage of `compare` that would find it wrong in a scheduler.
        inputs: makes the arguments of every call anew; those of the first can be checked by hand.
        wrong: {number of a mistake of the catalogue: the function of who makes it here}.
        said: {number of such a mistake: its words for the author of this function}, where those of
            the catalogue speak of a whole program.
        slips: wrong answers with words and no number.
        allowed: (what ours gives, arguments) -> how far from it a right answer may be.
        law: for a draw, which has no one right value: what is wrong with a function's numbers, and
            the mistake that it is; both empty if nothing is.
    """

    id: str
    module: str
    function: str
    page: str
    stage: str
    inputs: Callable[[], list[Arguments]]
    wrong: Mapping[str, Function] = field(default_factory=dict)
    said: Mapping[str, str] = field(default_factory=dict)
    slips: tuple[Slip, ...] = ()
    allowed: Callable[[Any, Arguments], Any] = rounding
    law: Callable[[Function], tuple[str, str]] | None = None

    @property
    def ours(self) -> Function:
        """The function of `scratch`."""
        found: Function = getattr(importlib.import_module(self.module), self.function)
        return found

    @property
    def stub(self) -> str:
        """The empty function, with its docstring."""
        return (Path(__file__).parent / "stubs" / f"ex_{self.id}.py").read_text(encoding="utf-8")

    @property
    def asks(self) -> str:
        """What is to be written, in a sentence without the answer."""
        function = ast.parse(self.stub).body[-1]
        assert isinstance(function, ast.FunctionDef)
        return " ".join((ast.get_docstring(function) or "").split("\n\n")[0].split())

    @property
    def hints(self) -> int:
        """How many wrong answers are told apart by words of their own."""
        return len(self.wrong) + len({slip.words for slip in self.slips})

    @property
    def solution(self) -> str:
        """Our function as it stands in its file, behind the imports that it needs."""
        source = inspect.getsource(self.ours)
        return "\n".join([*_imports(source, self.module), "", "", source])


def _imports(source: str, module: str) -> list[str]:
    """The lines with which a function of a module stands alone.

    >>> _imports("def f(x: Tensor): return linear(torch.ones(1))", "scratch.schedule")
    ['import torch', 'from scratch.schedule import linear']
    """
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    used = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)} - {function.name}
    lines, own = [], []
    for node in ast.parse(inspect.getsource(importlib.import_module(module))).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            node.names = [name for name in node.names if (name.asname or name.name) in used]
            lines += [ast.unparse(node)] if node.names else []
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            own += [node.name] if node.name in used else []
        elif isinstance(node, ast.Assign):
            own += [n.id for n in node.targets if isinstance(n, ast.Name) and n.id in used]
    return [*lines, *([f"from {module} import {', '.join(own)}"] if own else [])]


def wrong_formulas(
    adapt: Callable[[Oracle], Function], mistakes: Collection[str]
) -> dict[str, Function]:
    """The functions of an exercise's known mistakes.

    Args:
        adapt: an oracle -> its formula, with the signature of ours.
        mistakes: their numbers in the catalogue.
    """
    return {number: adapt(BY_ID[number].oracle()) for number in mistakes}


def level(alpha_bar: Any, alpha_bar_prev: Any = 1.0) -> Level:
    """A place in the chain that knows only its two alpha-bars, as a formula of `scratch` does."""
    at, before = (torch.as_tensor(value, dtype=F64) for value in (alpha_bar, alpha_bar_prev))
    return Level(at, torch.tensor(1), torch.tensor(0), at, before)
