"""How a candidate's own code calls its own methods: `x = self.step(x, t, eps)`; read, not run."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from compare.candidate.door.names import MODELS, plain, role, roles

CALLED = {*map(plain, MODELS), "noisefn", "fn"}  # what a model is called by
DRAWS = ("randn", "randn_like", "normal", "normal_")
WRAPPERS = ("view", "reshape", "to", "float", "long", "int", "expand", "repeat", "item", "cuda")


class Call:
    """One call of a method of its own: what its arguments are named, as far as one can say.

    Args:
        method: its name.
        call: the call.
        names: of the method's parameters, by which keywords find their places.
        inside: the function in which it stands.
        target: the name that its result is given, if it has one.
    """

    def __init__(
        self, method: str, call: ast.Call, names: list[str], inside: ast.AST, target: str | None
    ):
        self.method, self.call, self.target = method, call, target
        by_name = {keyword.arg: keyword.value for keyword in call.keywords}
        left = names[len(call.args) :]
        self.given = [*call.args, *(by_name[name] for name in left if name in by_name)]
        self.values: dict[str, list[ast.expr]] = {}
        for name, value in assigned(inside):
            self.values.setdefault(name, []).append(value)
        targets = (node.target for node in ast.walk(inside) if isinstance(node, ast.For))
        parts = (part for target in targets for part in ast.walk(target))
        self.loops = {part.id for part in parts if isinstance(part, ast.Name)}

    @property
    def roles(self) -> list[str | None]:
        """What each argument stands for, in the order of the parameters."""
        return roles(self.method, [self._name(argument) for argument in self.given])

    def argument(self, place: int) -> list[ast.expr]:
        """The expressions of an argument: its own, and those of the variable that it names."""
        own = self.given[place]
        more = self.values.get(own.id, []) if isinstance(own, ast.Name) else []
        return [own, *more]

    def _name(self, node: ast.expr, deep: bool = True) -> str | None:
        """A name for an expression that `roles` understands."""
        if isinstance(node, ast.Name):
            if role(self.method, node.id):
                return node.id
            if node.id == self.target:
                return "x"
            found = {self._name(v, False) for v in self.values.get(node.id, [])} if deep else set()
            known = {name for name in found if name}
            return known.pop() if len(known) == 1 else "t" if node.id in self.loops else None
        if isinstance(node, ast.Attribute):
            return node.attr
        if isinstance(node, ast.Subscript):
            return self._name(node.value, deep)
        if isinstance(node, ast.BinOp):
            return self._name(node.left, deep)
        if isinstance(node, ast.IfExp):
            return self._name(node.body, deep)
        return self._of_call(node, deep) if isinstance(node, ast.Call) else None

    def _of_call(self, node: ast.Call, deep: bool) -> str | None:
        tail = _tail(node.func)
        if is_model(node):
            return "out"
        if tail in DRAWS:
            return "z"
        if tail == "randint":
            return "t"
        if tail in ("full", "full_like", "tensor", "as_tensor") and node.args:
            return self._name(node.args[-1], deep)
        if tail in WRAPPERS and isinstance(node.func, ast.Attribute):
            return self._name(node.func.value, deep)
        return None


def _tail(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def own_calls(method: str, thing: Any, names: list[str]) -> list[Call]:
    """The calls of a method in its own class, else those in its file, if it is the only such class.

    Args:
        method: `"step"` etc.
        thing: a scheduler that was built.
        names: of the method's parameters.
    """
    for class_ in type(thing).__mro__[:-1]:
        tree = _of_class(class_)
        found = [] if tree is None else [c for c in _calls(method, tree, names) if _on_self(c.call)]
        if found:
            return found
    tree, classes = _of_module(inspect.getmodule(type(thing)))
    mine = [n for n in classes if any(getattr(f, "name", "") == method for f in n.body)]
    if tree is None or len(mine) != 1:
        return []
    return [c for c in _calls(method, tree, names) if not _on_self(c.call)]


def outputs(function: Any) -> list[str]:
    """The names that a function gives what a model returns, as in `eps = model(x, t)`."""
    tree = parsed(function)
    return [] if tree is None else outputs_in(tree)


def outputs_in(tree: ast.AST) -> list[str]:
    """The same of its source.

    >>> outputs_in(ast.parse("x_start = model(x, t).clamp(-1, 1)"))
    ['x_start']
    """
    found = []
    for name, value in assigned(tree):
        while (inner := _worked_on(value)) is not None:
            value = inner
        if isinstance(value, ast.Call) and is_model(value):
            found.append(name)
    return found


def compared(tree: ast.AST) -> list[str]:
    """The names of what a model's output is compared with, or of what makes that: handed to a
    function beside it, or taken off it.

    >>> compared(ast.parse("pred = model(x, t); mse_loss(pred, v)"))
    ['v']
    >>> compared(ast.parse("return ((target - model(x, t)) ** 2).mean()"))
    ['target']
    """
    outs, found = {*outputs_in(tree)}, []
    for node in ast.walk(tree):
        sides = node.args[:2] if isinstance(node, ast.Call) and not is_model(node) else []
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):
            sides = [node.left, node.right]
        asked = [
            (isinstance(e, ast.Call) and is_model(e)) or getattr(e, "id", "") in outs for e in sides
        ]
        if sorted(asked) == [False, True]:
            other = sides[asked.index(False)]
            found.append(_tail(other.func if isinstance(other, ast.Call) else other))
    return found


def asks_for_a_place(step: ast.AST | None) -> bool:
    """True if a step reads a table at an entry of a list.

    >>> asks_for_a_place(ast.parse("ab = self.abar[self.grid[i]]"))
    True
    >>> asks_for_a_place(ast.parse("ab = self.abar[t - 1]"))
    False
    """
    inside = [e.slice for e in ast.walk(step or ast.Module([], [])) if isinstance(e, ast.Subscript)]
    return any(isinstance(inner, ast.Subscript) for e in inside for inner in ast.walk(e))


def assigned(inside: ast.AST) -> list[tuple[str, ast.expr]]:
    """(name, what it is given) of every `name = ...`, of `a, b = c, d` each."""
    every = each_assigned(inside)
    return [(target.id, value) for target, value in every if isinstance(target, ast.Name)]


def each_assigned(inside: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """(target, value) of every assignment, of `a, b = c, d` each."""
    for node in ast.walk(inside):
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                yield from zip(target.elts, node.value.elts, strict=False)
            else:
                yield target, node.value


def _worked_on(node: ast.expr) -> ast.expr | None:
    """What a part is taken of, or a method is called of: of `model(x, t).sample.clamp(-1, 1)`
    step by step `model(x, t)`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not is_model(node):
        return node.func.value
    return node.value if isinstance(node, ast.Attribute | ast.Subscript) else None


def is_model(call: ast.Call) -> bool:
    """True for a call of what a model is called."""
    return plain(_tail(call.func)) in CALLED


def _on_self(call: ast.Call) -> bool:
    owner = call.func.value if isinstance(call.func, ast.Attribute) else None
    return isinstance(owner, ast.Name) and owner.id == "self"


def _of_class(class_: type) -> ast.AST | None:
    """Its source; None for one that is not written in its module."""
    _, classes = _of_module(inspect.getmodule(class_))
    same = [node for node in classes if node.name == class_.__name__]
    return same[0] if len(same) == 1 else parsed(class_) if same else None


@lru_cache(maxsize=16)
def _of_module(module: Any) -> tuple[ast.AST | None, list[ast.ClassDef]]:
    """The source of a module, and the classes in it."""
    tree = parsed(module)
    nodes = [] if tree is None else ast.walk(tree)
    return tree, [node for node in nodes if isinstance(node, ast.ClassDef)]


def parsed(owner: Any) -> ast.AST | None:
    """The source of a module, class or function; None if it cannot be read."""
    try:
        return _parsed(owner)
    except (OSError, TypeError, SyntaxError):
        return None


@lru_cache(maxsize=64)
def _parsed(owner: Any) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(owner)))


def _calls(method: str, tree: ast.AST, names: list[str]) -> Iterator[Call]:
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    for function in functions:
        targets = {
            id(node.value): _tail(node.targets[0])
            for node in ast.walk(function)
            if isinstance(node, ast.Assign)
        }
        for node in ast.walk(function):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == method
                and len(node.args) + len(node.keywords) >= 2
            ):
                yield Call(method, node, names, function, targets.get(id(node)) or None)


def has_four_axes(expressions: list[ast.expr]) -> bool:
    """True if one of them reshapes to (b, 1, 1, 1)."""
    for node in (n for expression in expressions for n in ast.walk(expression)):
        if isinstance(node, ast.Call) and _tail(node.func) in ("view", "reshape"):
            axes = len(node.args)
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple):
            parts = node.slice.elts
            axes = 1 + sum(isinstance(e, ast.Constant) and e.value is None for e in parts)
        else:
            axes = 0
        if axes == 4:
            return True
    return False


def may_be_nothing(expressions: list[ast.expr]) -> bool:
    """True if one of them is 0 under a condition, as the noise of the last step is."""
    for node in (n for expression in expressions for n in ast.walk(expression)):
        if isinstance(node, ast.IfExp | ast.Compare):
            return True
        if isinstance(node, ast.Call) and _tail(node.func) in ("zeros", "zeros_like"):
            return True
    return any(isinstance(e, ast.Constant) and not e.value for e in expressions)
