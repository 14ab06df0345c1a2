"""The tables of somebody's file by what they are called, and where they stand: at its top, in a
class, in what that keeps, in what a function is handed."""

import ast
import re
from collections.abc import Mapping
from typing import Any

from compare.candidate.door.names import plain
from compare.candidate.door.signature import TABLES
from compare.candidate.door.source import assigned, each_assigned
from compare.candidate.door.tables import meant
from compare.candidate.text.does import callee
from compare.candidate.text.offered import Function
from compare.candidate.text.own.network import of_self
from compare.candidate.text.own.parts import OfFile

KEEPS = re.compile("set|buffer|regist|put|add|store|save|keep|Parameter")  # what is named, it has


def is_alpha_bar(name: str) -> bool:
    """True for what alpha-bar is called."""
    return plain(name) in TABLES or meant(name) == "alphas_cumprod"


def only_betas(names: list[str]) -> str:
    """The one of these names that betas are called by; "" if there is none, or several."""
    betas = [name for name in names if meant(name) == "betas"]
    return betas[0] if len(betas) == 1 else ""


def derived_of(names: list[str]) -> list[str]:
    """Names of tables that are made of alpha-bar, and `betas` beside them; what is called alpha or
    beta alone may be one number."""
    known = {name: meant(name) for name in names}
    unsure = (None, "alphas", "betas", "alphas_cumprod")
    found = [name for name, table in known.items() if table not in unsure]
    return ["betas", *found] if found and "betas" in known else found


def holds_tables(value: ast.expr | None) -> bool:
    """True for `{"alphas_cumprod": ..., ...}` or `dict(alphas_cumprod=..., ...)`."""
    names: list[Any] = []
    if isinstance(value, ast.Dict):
        names = [key.value for key in value.keys if isinstance(key, ast.Constant)]
    if isinstance(value, ast.Call) and getattr(value.func, "id", "") == "dict":
        names = [keyword.arg for keyword in value.keywords]
    return bool(derived_of([name for name in names if isinstance(name, str)]))


def dicts_of(node: ast.ClassDef) -> list[str]:
    """The attributes of a class of which tables are asked for by name: `self.tab["sqrt_ab"]`, or,
    where no table is an attribute itself, `self.tab[name]` in a method that is told the name."""
    stored = [e for e in ast.walk(node) if isinstance(e, ast.Attribute)]
    apart = any(meant(e.attr) for e in stored if isinstance(e.ctx, ast.Store))
    found = []
    for method in (each for each in node.body if isinstance(each, Function)):
        names = {e.id for e in ast.walk(method) if isinstance(e, ast.Name)}
        names |= {each.arg for each in method.args.args}
        told = names & {"name", "key", "which", "table"}
        for part in (each for each in ast.walk(method) if isinstance(each, ast.Subscript)):
            word = part.slice.value if isinstance(part.slice, ast.Constant) else ""
            by_word = isinstance(word, str) and meant(word) is not None
            if by_word or (not apart and getattr(part.slice, "id", "") in told):
                found.append(of_self(part.value))
    return list(dict.fromkeys(filter(None, found)))


def attributes(nodes: list[ast.ClassDef], tree: ast.Module) -> list[str]:
    """Names of attributes and buffers of a class and its bases; buffers may be named in what a
    function that they call returns."""
    every = [e for node in nodes for e in ast.walk(node) if isinstance(e, ast.Call)]
    called = {getattr(e.func, "id", "") for e in every}
    makers = [e for e in tree.body if isinstance(e, Function) and e.name in called]
    elsewhere = {id(e) for call in every for e in call.args if not KEEPS.search(_method(call))}
    set_here = [target for node in nodes for line in node.body for target in _targets(line)]
    found = [target.id for target in set_here if isinstance(target, ast.Name)]
    for each in (e for part in (*nodes, *makers) for e in ast.walk(part)):
        if isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store):
            found.append(each.attr)
        word = each.value if isinstance(each, ast.Constant) and id(each) not in elsewhere else ""
        if isinstance(word, str) and word:
            found.append(word)  # register_buffer("alphas_cumprod", ...)
        if isinstance(each, ast.Call) and getattr(each.func, "id", "") == "dict":
            found += [keyword.arg for keyword in each.keywords if keyword.arg]
    return list(dict.fromkeys(found))


def products(tables: list[str], tree: ast.AST) -> list[str]:
    """The names of alpha-bars; of one of which the product is made, that of the product: it is
    alpha."""
    made = {}
    for target, value in each_assigned(tree):
        if isinstance(value, ast.Call) and callee(value) == "cumprod":
            inner = value.func.value if isinstance(value.func, ast.Attribute) else None
            for each in filter(None, (inner, *value.args)):
                made[of_self(each) or getattr(each, "id", "")] = target
    names = [made.get(name) for name in tables]
    found = [
        name if product is None else of_self(product) or getattr(product, "id", "")
        for name, product in zip(tables, names, strict=True)
    ]
    return [name for name in found if name]


def of_parts(node: ast.ClassDef) -> list[str]:
    """`"schedule.alpha_bar"` of a class that looks it up in something which it keeps."""
    found = []
    for method in (each for each in node.body if isinstance(each, Function)):
        kept = {name: of_self(value) for name, value in assigned(method)}
        for each in (e for e in ast.walk(method) if isinstance(e, ast.Attribute)):
            part = of_self(each.value) or kept.get(getattr(each.value, "id", ""), "")
            found += [f"{part}.{each.attr}"] if part and is_alpha_bar(each.attr) else []
    return list(dict.fromkeys(found))


def of_tops(tops: set[str], tree: ast.Module) -> list[str]:
    """`"TABLES.alpha_bar"` of a file that looks it up in something at its top."""
    parts = [e for e in ast.walk(tree) if isinstance(e, ast.Attribute) and is_alpha_bar(e.attr)]
    return list(dict.fromkeys(ast.unparse(e) for e in parts if getattr(e.value, "id", "") in tops))


def used_of_tops(tree: ast.Module) -> set[str]:
    """The names at the top of a file that its functions and classes use, or what they use is made
    of.

    >>> text = "a = 1; b = a; c = 2\\ndef f(): return b"
    >>> sorted(used_of_tops(ast.parse(text)) & {"a", "b", "c"})
    ['a', 'b']
    """
    inner = [node for node in tree.body if isinstance(node, ast.ClassDef | Function)]
    used = {e.id for node in inner for e in ast.walk(node) if isinstance(e, ast.Name)}
    others = [node for node in tree.body if node not in inner]
    for node in reversed(others):
        names = [e for e in ast.walk(node) if isinstance(e, ast.Name)]
        if any(isinstance(e.ctx, ast.Store) and e.id in used for e in names):
            used |= {e.id for e in names}
    return used


def of_what_is_handed(functions: Mapping[str, Function], of_file: OfFile) -> dict[str, str]:
    """{a class: what is called alpha-bar in a thing of it}, which functions are handed: by what
    they look up in it, else by what its class has."""
    found: dict[str, str] = {}
    for node in functions.values():
        kinds = of_file.kinds(node)
        for each in (e for e in ast.walk(node) if isinstance(e, ast.Attribute)):
            kind = kinds.get(getattr(each.value, "id", ""))
            if kind and is_alpha_bar(each.attr):
                found.setdefault(kind, each.attr)
        for kind in kinds.values():
            own = attributes([of_file.classes[kind]], ast.Module([], []))
            for name in filter(is_alpha_bar, own):
                found.setdefault(kind, name)
    return found


def _method(call: ast.Call) -> str:
    """The name of the method that is called; that of a function is not looked at."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else "set"


def _targets(line: ast.stmt) -> list[ast.expr]:
    """What a line of a class assigns to."""
    if isinstance(line, ast.AnnAssign):
        return [line.target] if line.value is not None else []
    return line.targets if isinstance(line, ast.Assign) else []
