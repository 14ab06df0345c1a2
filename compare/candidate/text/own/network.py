"""The network of a class that is a network and a diffusion in one, or builds one under any name."""

import ast
import copy
import re
from collections.abc import Collection, Mapping

from compare.candidate.door.names import MODELS, plain, role
from compare.candidate.door.source import each_assigned
from compare.candidate.text.offered import Function, is_network, methods_of

MOST_TOLD = 4  # arguments of a network: a picture, a time, labels and a mask
OF_AVERAGES = re.compile("ema|average|avg|shadow")  # what a copy of a network is called
NETWORKS = re.compile(r"net|mlp|denois|model|transformer|predictor", re.IGNORECASE)


def own_network(
    methods: Mapping[str, Function],
    attributes: Collection[str],
    tables: Collection[str],
    classes: Mapping[str, ast.ClassDef],
) -> str:
    """What is called with a picture and a time: an attribute that is built as a network, or a
    method `eps(x, t)` made of layers; "" if there is none, or what a model is called is called so.

    Args:
        methods: {name: its source}.
        attributes: names of what the class has, but for its tables.
        tables: names of those.
        classes: {name: its source}, all of the file.
    """
    calls = [e for f in methods.values() for e in ast.walk(f) if isinstance(e, ast.Call)]
    whole = [of_self(call.func) for call in calls if len(call.args) + len(call.keywords) > 1]
    built_by = methods.get("__init__")
    given = [] if built_by is None else [each.arg for each in built_by.args.args]
    if {*given, *whole} - {*methods} & MODELS:
        return ""
    assigned = [] if built_by is None else each_assigned(built_by)
    built = {of_self(t) for t, value in assigned if builds_network(value, classes)}
    layers = {*attributes} - {*methods}
    of_layers = {n for n in methods if _is_made_of(methods[n], layers, tables)}
    return next((name for name in whole if name in built | of_layers), "")


def function_that_is_a_network(
    functions: Mapping[str, Function], built: Collection[str], tables: Collection[str]
) -> str:
    """The function `model(x, t)` of a file that asks a network at its top for all others; "" if
    there is none.

    Args:
        functions: {name: its source}.
        built: names at the top of the file that something was called for.
        tables: names of its tables.
    """
    for name, node in functions.items():
        used = {e.id for e in ast.walk(node) if isinstance(e, ast.Name)}
        asks = {getattr(e.func, "id", "") for e in ast.walk(node) if isinstance(e, ast.Call)}
        others = [f for other, f in functions.items() if other != name]
        calls = [e for f in others for e in ast.walk(f) if isinstance(e, ast.Call)]
        asked = any(getattr(e.func, "id", "") == name and len(e.args) > 1 for e in calls)
        told = {"x", "t"} <= {role("step", each.arg) for each in node.args.args}
        if asked and told and asks & {*built} and not used & {*tables}:
            return name
    return ""


def as_asking(methods: Mapping[str, Function], own: str) -> dict[str, Function]:
    """The methods as they read if their network `own` had a usual name."""
    if own in methods:
        return {**methods, own: _that_asks(methods[own])}
    return {name: _Renamed(own).visit(copy.deepcopy(node)) for name, node in methods.items()}


def copies_of(kept: str, built: ast.AST, classes: Mapping[str, ast.ClassDef]) -> list[str]:
    """The attributes that are copies of the network that a class keeps as one, or are built as that
    is: `net` copied, `EMA(net)` with a copy in it, `average_of(net)` called an average.

    >>> init = ast.parse("self.net = Net(); self.ema = copy.deepcopy(self.net).eval()")
    >>> copies_of("net", init, {})
    ['ema']
    """
    values = {of_self(t): value for t, value in each_assigned(built) if of_self(t)}
    own = ast.unparse(values.pop(kept)) if kept in values else ""
    found = [name for name, value in values.items() if ast.unparse(value) == own]
    for name, value in values.items():
        calls = [e for e in ast.walk(value) if isinstance(e, ast.Call)]
        for call in (e for e in calls if {*map(ast.unparse, e.args)} & {f"self.{kept}", own}):
            maker = getattr(call.func, "attr", getattr(call.func, "id", ""))
            if maker == "deepcopy" or (maker not in classes and OF_AVERAGES.search(plain(name))):
                found.append(name)
            elif maker in classes:
                inner = each_assigned(classes[maker])
                copies = [of_self(t) for t, v in inner if "deepcopy(" in ast.unparse(v)]
                found += [f"{name}.{copy}" for copy in copies if copy]
    return list(dict.fromkeys(found))


def of_self(node: ast.expr) -> str:
    """The name of an attribute of `self`; "" for anything else."""
    is_own = isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "self"
    return getattr(node, "attr", "") if is_own else ""


def builds_network(value: ast.expr, classes: Mapping[str, ast.ClassDef]) -> bool:
    """True for a call of a network of the file, or of what is called as one is."""
    function = value.func if isinstance(value, ast.Call) else None
    name = getattr(function, "attr", getattr(function, "id", ""))
    if name in classes:
        known = dict(classes)
        return is_network(classes[name], methods_of(classes[name], known), known)
    return bool(NETWORKS.search(name))


def _is_made_of(method: Function, layers: Collection[str], tables: Collection[str]) -> bool:
    """True if a method (x, t) calls some of these layers, none with several things, which were the
    network itself, and reads none of these tables."""
    asked = [each.arg for each in method.args.args[1:]]
    used = {of_self(e) for e in ast.walk(method) if isinstance(e, ast.Attribute)}
    calls = [e for e in ast.walk(method) if isinstance(e, ast.Call)]
    called = {of_self(call.func) for call in calls} & {*layers}
    whole = {of_self(call.func) for call in calls if len(call.args) > 1} & {*layers}
    told = {"x", "t"} <= {role("step", name) for name in asked} and len(asked) <= MOST_TOLD
    return told and bool(called) and not whole and not used & {*tables}


def _that_asks(method: Function) -> Function:
    """A method that only asks a model, with the same arguments."""
    asks = ast.parse("def asks(self): return self.network(x, t)").body[0]
    assert isinstance(asks, ast.FunctionDef)
    asks.name, asks.args = method.name, method.args
    return asks


class _Renamed(ast.NodeTransformer):
    """Writes `self.network(...)` where an attribute of another name is called."""

    def __init__(self, own: str):
        self.own = own

    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        if of_self(node.func) == self.own and isinstance(node.func, ast.Attribute):
            node.func.attr = "network"
        return node
