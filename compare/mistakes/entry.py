"""What a mistake is: something wrong, written once as a function, with all that is said of it.

To add one, write a function in the file of its stage. Its name, with hyphens, is the name of the
mistake; its docstring, without a full stop, the words of the verdict (what is computed, what should
be, which equation). `entry` makes the `Mistake` of it; nothing else has to know.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pkgutil import resolve_name
from typing import Any

from compare.oracle import Oracle


@dataclass(frozen=True)
class Mistake:
    """Something that people write wrong.

    Attributes:
        id: the number in the catalogue, with a suffix where a number has several forms.
        name: the same in a few words, with hyphens.
        stage: which stage it is a fault of.
        words: what is computed, what should be, which equation.
        fix: what to write instead.
        effect: what one sees of it, in pictures, losses or numbers.
        seams: {place: what stands there instead}. A place is a field of `Oracle`; or a class of
            `scratch.unet` or of torch, and what plants the mistake in one module of that class;
            or `"EMA"`, and what makes a wrong class of the right one.
        functions: what is wrong, to be read.
        right: "module:name" of what is right, to be read; "" if nothing in one place says it.
        formula: the right formula and its source, where the head of the file does not say it.
        seen_in: where it was found: "owner/repository#number" of an issue or pull request, or
            "owner/repository path".
        only: `"ddim"` if it needs a DDIM step, `"epsilon"` etc. if it needs that option, `"loss"`,
            `"v_loss"` or `"eps_loss"` (of a model that predicts v, or the noise) if it is one of a
            training loss, `"both"` if it is one of a loss and a loop together, `"tables"` if it is
            one of a derived table, `"embedding"` of an embedding of t.
        twin: the id of a less likely mistake that gives the same numbers to some candidates, such
            as show no x0-hat: where both hold, one diagnosis tells both.
    """

    id: str
    name: str
    stage: str
    words: str
    fix: str
    effect: str
    seams: Mapping[str, Any]
    functions: tuple[Callable[..., Any], ...]
    right: str = ""
    formula: str = ""
    seen_in: tuple[str, ...] = ()
    only: str = ""
    twin: str = ""

    def oracle(self, base: Oracle | None = None) -> Oracle:
        """The oracle with this formula wrong; of its loop, loss and derived tables, what is."""
        base, seams = base or Oracle(), dict(self.seams)
        for whole in {"loop", "loss"} & {*seams}:
            seams[whole] = _also(getattr(base, whole), seams[whole])
        if "tables" in seams:
            seams["tables"] = {**base.tables, **seams["tables"]}
        return replace(base, **seams)

    @property
    def source(self) -> str:
        """The wrong functions as text."""
        return "\n\n".join(code_of(function) for function in self.functions)

    @property
    def right_source(self) -> str:
        """The right function as text, "" if there is none to show."""
        return code_of(resolve_name(self.right)) if self.right else ""

    @property
    def right_formula(self) -> str:
        """The right formula with the paper and the equation that it is from."""
        module = inspect.getmodule(self.functions[0])
        head = (module.__doc__ or "") if module else ""
        return self.formula or _folded(head.partition("Right: ")[2])


def entry(
    id: str,
    place: str,
    *,
    stage: str,
    fix: str,
    effect: str,
    seen_in: tuple[str, ...] = (),
    only: str = "",
    twin: str = "",
    also: Mapping[str, Any] | None = None,
    made: Callable[[Callable[..., Any]], Any] = lambda function: function,
    right: str | None = None,
    formula: str = "",
) -> Callable[[Callable[..., Any]], Mistake]:
    """Makes the function below it a `Mistake`.

    Args:
        id, stage, fix, effect, seen_in, only, twin, formula: as in `Mistake`.
        place: where what is wrong stands.
        also: {another place: what stands there too}.
        made: makes what stands at `place` of the function; without it, the function itself does.
        right: as in `Mistake`; if None, the oracle's function at `place`.
    """

    def build(function: Callable[..., Any]) -> Mistake:
        name, words = function.__name__.replace("_", "-"), _folded(function.__doc__ or "")
        seams = {place: made(function), **(also or {})}
        functions = (function, *(also or {}).values())
        source = f"compare.oracle:{place}" if right is None else right
        more = (source, formula, seen_in, only, twin)
        return Mistake(id, name, stage, words, fix, effect, seams, functions, *more)

    return build


def _also(base: Any, wrong: Any) -> Any:
    """A loop or a loss with what is wrong in another, beside what is wrong in itself."""
    right = type(wrong)()
    values = {field.name: getattr(wrong, field.name) for field in fields(wrong)}
    return replace(base, **{n: v for n, v in values.items() if v != getattr(right, n)})


def answer(function: Callable[[], Any]) -> Any:
    """What a function without arguments returns: for places that hold a value."""
    return function()


def code_of(function: Callable[..., Any]) -> str:
    """The source of a function or class, without decorators and without its docstring."""
    text = textwrap.dedent(inspect.getsource(function))
    lines, node = text.splitlines(), ast.parse(text).body[0]
    assert isinstance(node, ast.FunctionDef | ast.ClassDef)
    said = node.body[0] if ast.get_docstring(node) else None
    about = range(said.lineno, (said.end_lineno or said.lineno) + 1) if said else ()
    kept = [line for i, line in enumerate(lines, 1) if i >= node.lineno and i not in about]
    return "\n".join(line for line in kept if not re.search("# (end)?region:", line)).rstrip()


def _folded(text: str) -> str:
    """The first paragraph on one line."""
    return " ".join(text.partition("\n\n")[0].split())
