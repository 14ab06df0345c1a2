"""Pictures that stand beside x_t in the channels: a condition, as of what makes large ones of small
ones (Saharia et al. 2021)."""

import ast
from collections.abc import Iterator

from compare.candidate.door.names import plain, role
from compare.candidate.door.source import each_assigned, is_model
from compare.candidate.text.does import callee
from compare.candidate.text.offered import Function

JOINED = {"cat", "concat", "concatenate", "hstack"}
CHANNELS = {"1", "-3"}
CALLED = {
    *("conditionimage", "imagecondition", "condimage", "condimg", "imgcond", "conditioningimage"),
    *("xlr", "lrimg", "imglr", "lrimage", "lowres", "lowresimg", "lowresimage", "xlowres"),
}


def is_picture(name: str) -> bool:
    """True for what a condition that is a picture is called.

    >>> is_picture("low_res"), is_picture("cond")
    (True, False)
    """
    return plain(name) in CALLED


def conditions(tree: ast.AST) -> Iterator[str]:
    """The parameters that stand beside x_t in what a model is given, and those of the functions
    that hand them on.

    >>> step = "def step(x, t, low): return net(torch.cat([low, x], dim=1), t)"
    >>> loop = "def loop(lr):\\n for t in T: x = step(x, t, lr)"
    >>> [*conditions(ast.parse(step + chr(10) + loop))]
    ['low', 'lr']
    """
    functions = [node for node in ast.walk(tree) if isinstance(node, Function)]
    found = {f.name: {*_beside(f)} for f in functions}
    known = -1
    while known < (known := sum(map(len, found.values()))):
        for function in functions:
            found[function.name] |= {*_handed_on(function, functions, found)}
    yield from dict.fromkeys(name for f in functions for name in _asked(f) if name in found[f.name])


def _asked(function: Function) -> list[str]:
    given = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    return [each.arg for each in given if each.arg != "self"]


def joined(function: ast.AST) -> Iterator[list[ast.expr]]:
    """What is joined by channels for a model that is asked in a function."""
    values = {t.id: v for t, v in each_assigned(function) if isinstance(t, ast.Name)}
    for call in (e for e in ast.walk(function) if isinstance(e, ast.Call) and is_model(e)):
        for given in (*call.args, *(keyword.value for keyword in call.keywords)):
            value = values.get(getattr(given, "id", ""), given)
            if callee(value) in JOINED and isinstance(value, ast.Call) and value.args:
                said = [*value.args[1:2], *(k.value for k in value.keywords)]
                parts = getattr(value.args[0], "elts", [])
                if len(parts) > 1 and {ast.unparse(axis) for axis in said} & CHANNELS:
                    yield parts


def _beside(function: Function) -> Iterator[str]:
    asked = [n for n in _asked(function) if not (role("step", n) or role("add_noise", n))]
    for parts in joined(function):
        yield from (name for part in parts if (name := getattr(part, "id", "")) in asked)


def _handed_on(
    function: Function, functions: list[Function], found: dict[str, set[str]]
) -> Iterator[str]:
    """Its parameters that it gives another function for a condition of that."""
    named, asked = {f.name: f for f in functions}, _asked(function)
    for call in (e for e in ast.walk(function) if isinstance(e, ast.Call) and callee(e) in named):
        other = named[callee(call)]
        given = dict(zip(_asked(other), call.args, strict=False))
        given |= {k.arg: k.value for k in call.keywords if k.arg}
        for parameter, value in given.items():
            if parameter in found[other.name] and getattr(value, "id", "") in asked:
                yield getattr(value, "id", "")
