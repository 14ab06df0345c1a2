"""What a function does with a model, as its source shows: asks it, asks it step after step, or
makes a loss of what it answers."""

import ast
import re
from collections.abc import Iterator, Mapping

from compare.candidate.door.names import MODELS, plain
from compare.candidate.door.source import assigned, is_model

OF_STEPS = re.compile("^(?!.*(loss|train)).*(sampl|generat|revers)")  # no loss is called so
LOSSES = re.compile(r"loss|mse|huber|criterion|\.mean\(|\.square\(|\*\* 2|\bpow\(")


def asks(name: str, functions: Mapping[str, ast.AST]) -> bool:
    """True if a function calls a model, itself or by another function of these."""
    return any(_asks(node, functions, {name}) for node in ast.walk(functions[name]))


def asks_itself(function: ast.AST | None) -> bool:
    """True if a model is called in a function itself; False where it cannot be read."""
    nodes = ast.walk(function or ast.Module([], []))
    return any(isinstance(node, ast.Call) and is_model(node) for node in nodes)


def loops(name: str, functions: Mapping[str, ast.AST]) -> bool:
    """True if a function asks a model step after step: in a loop, or by calling itself.

    >>> tree = ast.parse("def a(x):\\n for t in T: x = s(x, t)\\ndef s(x, t): return model(x, t)")
    >>> named = {node.name: node for node in tree.body}
    >>> loops("a", named), loops("s", named)
    (True, False)
    """
    inside = [e for e in ast.walk(functions[name]) if isinstance(e, ast.For | ast.While)]
    every = [node for loop in inside for node in ast.walk(loop)]
    if any(_asks(node, functions, {name}) or _hands_model_on(node, functions) for node in every):
        return True
    again = any(callee(node) == name for node in ast.walk(functions[name]))
    return again and asks(name, functions)


def returns_a_loss(name: str, functions: Mapping[str, ast.AST]) -> bool:
    """True if what a function returns is called a loss, or made as one is; false for a step of a
    training, which goes on to change weights, and for what is called as a step is.

    >>> tree = ast.parse("def a(x): return mse_loss(x, 0)\\ndef b(x): return model(x)")
    >>> [returns_a_loss(node.name, {node.name: node}) for node in tree.body]
    [True, False]
    """
    nodes = [*ast.walk(functions[name])]
    if trains(functions[name]) or any(callee(node) == "item" for node in nodes):
        return False
    if OF_STEPS.search(plain(name)):
        return False
    returned = [e.value for e in nodes if isinstance(e, ast.Return) and e.value is not None]
    names = {e.id for value in returned for e in ast.walk(value) if isinstance(e, ast.Name)}
    values = [*returned, *(value for known, value in assigned(functions[name]) if known in names)]
    return any(LOSSES.search(ast.unparse(value)) for value in values)


def asks_alone(function: ast.AST) -> bool:
    """True if a function gives what a model answers, and does nothing with it.

    >>> asks_alone(ast.parse("def backward(x, t): return net(x, t)").body[0])
    True
    """
    returned = [e.value for e in ast.walk(function) if isinstance(e, ast.Return)]
    return bool(returned) and all(isinstance(e, ast.Call) and is_model(e) for e in returned)


def yields(function: ast.AST) -> bool:
    """True for a generator."""
    return any(isinstance(node, ast.Yield | ast.YieldFrom) for node in ast.walk(function))


def counts_from_one(function: ast.AST) -> bool:
    """True if a function goes through t = T..1, or draws t in 1..T, and hands it on as it is.

    >>> loops = ["range(T, 0, -1)", "tqdm(reversed(range(1, T + 1)))", "reversed(range(1, T))"]
    >>> [counts_from_one(ast.parse(f"for t in {each}: x = step(x, t)")) for each in loops]
    [True, True, False]
    >>> counts_from_one(ast.parse("for i in range(T, 0, -1): x = step(x, i - 1)"))
    False
    >>> kept = "for i in range(T, 0, -1): x = step(x, i) if i - 1 in kept else 0"
    >>> counts_from_one(ast.parse(kept))
    True
    >>> counts_from_one(ast.parse("t = torch.randint(1, T + 1, (8,))"))
    True
    """
    found = [loop for loop in ast.walk(function) if isinstance(loop, ast.For)]
    if any(_from_one(loop.iter) and _hands_on(loop) for loop in found):
        return True
    return any(
        _from_one_by_chance(value) and not _takes_one_off(name, function)
        for name, value in assigned(function)
    )


def calls_with_one(name: str, tree: ast.AST | None) -> bool:
    """True if a function of a file calls another and counts its t from 1."""
    functions = [e for e in ast.walk(tree or ast.Module([], [])) if isinstance(e, ast.FunctionDef)]
    callers = [f for f in functions if name in {callee(each) for each in ast.walk(f)}]
    return any(map(counts_from_one, callers))


def _from_one_by_chance(value: ast.expr) -> bool:
    """True for `torch.randint(1, T + 1, ...)`, and what is made of it."""
    calls = [e for e in ast.walk(value) if callee(e) == "randint" and isinstance(e, ast.Call)]
    return any(
        [ast.unparse(each) for each in call.args[:1]] == ["1"]
        and any(ast.unparse(each).endswith("+ 1") for each in call.args[1:2])
        for call in calls
    )


def _takes_one_off(name: str, function: ast.AST) -> bool:
    nodes = ast.walk(function)
    return any(isinstance(e, ast.BinOp) and ast.unparse(e) == f"{name} - 1" for e in nodes)


def _from_one(steps: ast.expr) -> bool:
    """True for `range(T, 0, -1)` and `reversed(range(1, T + 1))`, whatever shows its progress."""
    while callee(steps) != "range":
        inner = [steps.value] if isinstance(steps, ast.Subscript) else getattr(steps, "args", [])
        if not inner:
            return False
        steps = inner[0]
    given = [ast.unparse(each) for each in getattr(steps, "args", [])]
    down = given[1:] == ["0", "-1"] and not given[0].replace(" ", "").endswith("-1")
    return down or (len(given) == 2 and given[0] == "1" and given[1].endswith("+ 1"))


def _hands_on(loop: ast.For) -> bool:
    """True if a loop goes on with its number, and nowhere but in an index with that less 1."""
    name = getattr(loop.target, "id", "")
    parts = [each for line in loop.body for each in _but_indices(line)]
    less = any(isinstance(e, ast.BinOp) and ast.unparse(e) == f"{name} - 1" for e in parts)
    return not less and any(isinstance(e, ast.Name) and e.id == name for e in parts)


def _but_indices(node: ast.AST) -> Iterator[ast.AST]:
    """All parts of it, but for what stands in brackets behind something, or is compared."""
    yield node
    inside = [node.value] if isinstance(node, ast.Subscript) else ast.iter_child_nodes(node)
    inside = [] if isinstance(node, ast.Compare) else inside
    for each in inside:
        yield from _but_indices(each)


def trains(function: ast.AST) -> bool:
    """True if a function goes on to change weights."""
    return any(callee(node) == "backward" for node in ast.walk(function))


def draws(name: str, functions: Mapping[str, ast.AST]) -> bool:
    """True if a function draws random numbers, itself or by another of these.

    >>> tree = ast.parse("def a(x): return b(x)\\ndef b(x): return x + torch.randn_like(x)")
    >>> draws("a", {node.name: node for node in tree.body})
    True
    """
    return _draws(functions[name], functions, {name})


def adds_noise(name: str, functions: Mapping[str, ast.AST]) -> bool:
    """True if a loop draws random numbers step after step, with its own hands."""
    inside = [e for e in ast.walk(functions[name]) if isinstance(e, ast.For | ast.While)]
    return any(_draws(loop, {}, set()) for loop in inside)


def _draws(node: ast.AST, functions: Mapping[str, ast.AST], seen: set[str]) -> bool:
    called = {callee(each) for each in ast.walk(node)}
    if any("rand" in name or name in ("normal", "normal_") for name in called):
        return True
    others = (called & {*functions}) - seen
    return any(_draws(functions[other], functions, seen | {other}) for other in others)


def _asks(node: ast.AST, functions: Mapping[str, ast.AST], seen: set[str]) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = callee(node)
    name = "forward" if name == "self" else name  # as a module calls itself
    if is_model(node) or name not in functions or name in seen:
        return is_model(node)
    inside = ast.walk(functions[name])
    return any(_asks(each, functions, seen | {name}) for each in inside)


def _hands_model_on(node: ast.AST, functions: Mapping[str, ast.AST]) -> bool:
    """True if a model is handed to a function whose source is not at hand, with more than it."""
    if not isinstance(node, ast.Call) or callee(node) in functions or len(node.args) < 3:
        return False
    return any(getattr(argument, "id", "") in MODELS for argument in node.args)


def callee(node: ast.AST) -> str:
    """The name of what a call calls; "" for anything else."""
    function = node.func if isinstance(node, ast.Call) else None
    return getattr(function, "attr", getattr(function, "id", ""))
