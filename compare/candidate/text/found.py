"""Somebody's class, or the functions of a file, as their text shows them."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from compare.candidate.door.names import plain
from compare.candidate.door.signature import MODELS, TABLES, asked_for, named_keywords
from compare.candidate.door.source import assigned, each_assigned
from compare.candidate.door.tables import meant
from compare.candidate.text import handed
from compare.candidate.text.does import callee
from compare.candidate.text.handed import OPEN, STEPS
from compare.candidate.text.offered import Function, bases_of, is_network, methods_of, signed
from compare.candidate.text.own.network import (
    as_asking,
    function_that_is_a_network,
    of_self,
    own_network,
)
from compare.candidate.text.own.parts import OfFile


@dataclass(frozen=True)
class Source:
    """Somebody's class, or the functions of a file.

    Attributes:
        functions: {name: its source}, those of a class or of a file; the one that is named alone.
        around: the same, with all others of the file that they may call.
        class_name: of the class; None for functions.
        tables: names of what is called alpha-bar in it.
        derived: names of the tables that are made of it, and of betas beside such.
        T: a constant of the file that is called as the number of steps is; "" if there is none.
        of_file: all classes and functions at its top.
        dicts: names of dicts at its top, or of the class, that hold tables.
        text: of the file.
        betas: the name of what is called so, at its top or of the class, and is no number; "" if
            there is none, or several.
        instance: what is built of the class at the top of the file, where that is meant.
        model: the name of a network at its top, or of a function that asks one, which a function of
            it asks; or the attribute or method that is the network of a class (`own_network`); ""
            if there is none.
    """

    functions: dict[str, Function]
    around: dict[str, Function]
    class_name: str | None
    tables: list[str]
    derived: list[str]
    T: str
    of_file: OfFile = field(default_factory=OfFile)
    dicts: list[str] = field(default_factory=list)
    text: str = ""
    betas: str = ""
    model: str = ""
    instance: str = ""

    @property
    def classes(self) -> Mapping[str, ast.ClassDef]:
        """{name: its source}, all of the file."""
        return self.of_file.classes

    @property
    def built(self) -> Function | None:
        """What the class is built by."""
        return self.functions.get("__init__") if self.class_name else None

    @property
    def owns_model(self) -> bool:
        """True if the class is built with its model, or builds it, or the file does."""
        return self._is_given_model or bool(self.kept_model)

    @property
    def _is_given_model(self) -> bool:
        given = (
            {} if self.built is None or self.instance else named_keywords(self.signed("__init__"))
        )
        return any(name in MODELS for name in given)

    @property
    def kept_model(self) -> str:
        """The attribute under which the class, or the file, has a model that it builds itself and
        calls; "" if there is none."""
        if self.model or self.class_name is None:
            return self.model
        if self.built is None or self._is_given_model or self.is_network:
            return ""
        made = [t for t, value in each_assigned(self.built) if isinstance(value, ast.Call)]
        if self.instance:  # it was given its model
            made += [t for t, v in each_assigned(self.built) if getattr(v, "id", "") in MODELS]
        others = [node for name, node in self.functions.items() if name != "__init__"]
        called = {of_self(e.func) for f in others for e in ast.walk(f) if isinstance(e, ast.Call)}
        return next((a for t in made if (a := of_self(t)) in MODELS and a in called), "")

    @property
    def copies(self) -> list[str]:
        """The attributes that are copies of the model that the class keeps, or built as that is."""
        if self.built is None or not self.kept_model:
            return []
        made = {of_self(t): ast.unparse(value) for t, value in each_assigned(self.built)}
        built = made.pop(self.kept_model, "")
        copied = f"deepcopy(self.{self.kept_model})"
        return [k for k, text in made.items() if k and (text == built or copied in text)]

    @property
    def is_network(self) -> bool:
        """True for the class of a network."""
        name = self.class_name
        return name is not None and is_network(self.classes[name], self.functions, self.classes)

    @property
    def owner(self) -> str:
        """How a method of it, or a function, is reached."""
        if self.class_name is None:
            return "mine"
        return "made()" if self.owns_model else "made"

    def signed(self, name: str) -> Any:
        """One of its functions, as `signed` reads it."""
        return signed(self.functions[name], self.class_name is not None)

    def parts(self, name: str) -> dict[str, str]:
        """{parameter of one of its functions: the thing of the file's own classes it is handed}."""
        node = self.functions[name]
        if self.class_name:
            return self.of_file.parts(node)
        kinds = self.of_file.kinds(node)
        return {each: self.of_file.at_the_top(kind)[0] for each, kind in kinds.items()}

    def called(self, what: str, name: str, own: Mapping[str, str] | None = None) -> str:
        """What a function of it is handed in a role; `own`: {a table: where the file has it}."""
        function, parts = self.signed(name), self.parts(name)
        return handed.call(what, function, own or {}, parts, self.around)


def source_of(file: Path, name: str, tree: ast.Module) -> Source:
    """A class or a function of a file; with no name, all its functions.

    Raises:
        ValueError: there is no such name, in one line.
    """
    classes = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef)}
    functions = _written_out({n.name: n for n in tree.body if isinstance(n, Function)})
    assigned = [(t, n.value) for n in tree.body if isinstance(n, ast.Assign) for t in n.targets]
    values = {t.id: value for t, value in assigned if isinstance(t, ast.Name)}
    lengths = [ast.unparse(v) for k, v in values.items() if plain(k) in STEPS and _is_count(v)]
    T, text = next(iter(lengths), ""), ast.unparse(tree)
    of_file = OfFile(classes, functions)
    of = values.get(name)
    made = of.func if isinstance(of, ast.Call) else of  # `Mine(...)`, `Mine.from_config(...)`
    kind = getattr(getattr(made, "value", made), "id", "")
    instance = name if kind in classes else ""
    name = kind if instance else name
    if name in classes:
        node = classes[name]
        names = _attributes([node, *bases_of(node, classes)], tree)
        tables = [known for known in names if _is_alpha_bar(known)] or _of_parts(node)
        dicts = _dicts_of(node)
        used = {e.attr for e in ast.walk(node) if isinstance(e, ast.Attribute)}
        tables = [name for name in _products(tables, node) if not dicts or name in used]
        methods, derived = _written_out(methods_of(node, classes)), _derived(names)
        tables_of_it = {known for known in names if _is_alpha_bar(known) or meant(known)}
        own = own_network(methods, {*names} - tables_of_it, tables_of_it, classes)
        methods = as_asking(methods, own) if own else methods
        beside = (T, of_file, dicts, text, _only_betas(names), own, instance)
        return Source(methods, methods, name, tables, derived, *beside)
    if name and name not in functions:
        near = get_close_matches(name, [*classes, *functions], 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"{file} has no class or function {name!r} at its top{hint}")
    tables = _products([known for known in values if _is_alpha_bar(known)], tree)
    tables = tables or _of_tops({*values}, tree)
    dicts = [known for known, value in values.items() if holds_tables(value)]
    built = [k for k, v in values.items() if isinstance(v, ast.Call) and not _is_alpha_bar(k)]
    derived = _derived(list(values))
    own = function_that_is_a_network(functions, {*built} - {*derived}, {*tables, *derived})
    functions = as_asking(functions, own) if own else functions
    chosen = {name: functions[name]} if name else functions
    given = (tables, derived, T, of_file, dicts, text)
    only = _only_betas([k for k, v in values.items() if not _is_number(v)])
    return Source(chosen, functions, None, *given, only, own or _model(values, functions))


def _only_betas(names: list[str]) -> str:
    """The one of these names that betas are called by; "" if there is none, or several."""
    betas = [name for name in names if meant(name) == "betas"]
    return betas[0] if len(betas) == 1 else ""


def _model(values: dict[str, ast.expr], functions: dict[str, Function]) -> str:
    """The name of a model at the top of a file that a function asks without being handed it."""
    built = [
        name for name, value in values.items() if name in MODELS and isinstance(value, ast.Call)
    ]
    asked = {
        getattr(e.func, "id", "")
        for node in functions.values()
        for e in ast.walk(node)
        if isinstance(e, ast.Call)
        and getattr(e.func, "id", "") not in {*named_keywords(signed(node, False))}
    }
    return next((name for name in built if name in asked), "")


def _written_out(functions: dict[str, Function]) -> dict[str, Function]:
    """Those that do more than `pass` or raise."""
    empty = ast.Pass | ast.Raise
    return {k: f for k, f in functions.items() if not isinstance(f.body[-1], empty) or f.body[1:-1]}


def _derived(names: list[str]) -> list[str]:
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
    return bool(_derived([name for name in names if isinstance(name, str)]))


def _dicts_of(node: ast.ClassDef) -> list[str]:
    """The attributes of a class of which tables are asked for by name: `self.tab["sqrt_ab"]`, or,
    where no table is an attribute itself, `self.tab[name]` in a method that is told the name."""
    stored = [e for e in ast.walk(node) if isinstance(e, ast.Attribute)]
    apart = any(meant(e.attr) for e in stored if isinstance(e.ctx, ast.Store))
    found = []
    for method in (each for each in node.body if isinstance(each, Function)):
        told = {each.arg for each in method.args.args} & {"name", "key", "which", "table"}
        for part in (each for each in ast.walk(method) if isinstance(each, ast.Subscript)):
            word = part.slice.value if isinstance(part.slice, ast.Constant) else ""
            by_word = isinstance(word, str) and meant(word) is not None
            if by_word or (not apart and getattr(part.slice, "id", "") in told):
                found.append(of_self(part.value))
    return list(dict.fromkeys(filter(None, found)))


def _is_count(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, int)


def _is_number(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant | ast.Tuple)


def _attributes(nodes: list[ast.ClassDef], tree: ast.Module) -> list[str]:
    """Names of attributes and buffers of a class and its bases; buffers may be named in what a
    function that they call returns."""
    every = [e for node in nodes for e in ast.walk(node) if isinstance(e, ast.Call)]
    called = {getattr(e.func, "id", "") for e in every}
    makers = [e for e in tree.body if isinstance(e, Function) and e.name in called]
    elsewhere = {id(e) for call in every for e in call.args if _of_a_part(call)}
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


def _products(tables: list[str], tree: ast.AST) -> list[str]:
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


def _of_parts(node: ast.ClassDef) -> list[str]:
    """`"schedule.alpha_bar"` of a class that looks it up in something which it keeps."""
    found = []
    for method in (each for each in node.body if isinstance(each, Function)):
        kept = {name: of_self(value) for name, value in assigned(method)}
        for each in (e for e in ast.walk(method) if isinstance(e, ast.Attribute)):
            part = of_self(each.value) or kept.get(getattr(each.value, "id", ""), "")
            found += [f"{part}.{each.attr}"] if part and _is_alpha_bar(each.attr) else []
        for call in (e for e in ast.walk(method) if isinstance(e, ast.Call) and _of_a_part(e)):
            words = [e.value for e in call.args if isinstance(e, ast.Constant)]
            said = [word for word in words if isinstance(word, str) and _is_alpha_bar(word)]
            found += [f"{_of_a_part(call)}.{word}" for word in said]
    return list(dict.fromkeys(found))


def _of_tops(tops: set[str], tree: ast.Module) -> list[str]:
    """`"TABLES.alpha_bar"` of a file that looks it up in something at its top."""
    parts = [e for e in ast.walk(tree) if isinstance(e, ast.Attribute) and _is_alpha_bar(e.attr)]
    return list(dict.fromkeys(ast.unparse(e) for e in parts if getattr(e.value, "id", "") in tops))


def of_what_is_handed(functions: Mapping[str, Function], of_file: OfFile) -> dict[str, list[str]]:
    """{a class: what is called alpha-bar in a thing of it}, which functions are handed."""
    found: dict[str, list[str]] = {}
    for node in functions.values():
        kinds = of_file.kinds(node)
        for each in (e for e in ast.walk(node) if isinstance(e, ast.Attribute)):
            kind = kinds.get(getattr(each.value, "id", ""))
            if kind and _is_alpha_bar(each.attr):
                found.setdefault(kind, []).append(each.attr)
    return found


def _of_a_part(call: ast.Call) -> str:
    """`"schedule"` of `self.schedule.lookup(...)`; "" for any other call."""
    return of_self(call.func.value) if isinstance(call.func, ast.Attribute) else ""


def _targets(line: ast.stmt) -> list[ast.expr]:
    """What a line of a class assigns to."""
    if isinstance(line, ast.AnnAssign):
        return [line.target] if line.value is not None else []
    return line.targets if isinstance(line, ast.Assign) else []


def _is_alpha_bar(name: str) -> bool:
    return plain(name) in TABLES or meant(name) == "alphas_cumprod"


def length(found: Source) -> str:
    """T, where a default or a constant of the file says it; of a class that asks for it, 1000."""
    if found.built is None or found.instance:
        return (not found.instance and found.T) or OPEN
    given = found.built.args
    by_place = [*given.posonlyargs, *given.args][-len(given.defaults) or None :]
    named = [*zip(by_place, given.defaults, strict=False)]
    named += [(e, d) for e, d in zip(given.kwonlyargs, given.kw_defaults, strict=True) if d]
    for each, default in named:
        if plain(each.arg) in STEPS and _is_count(default):
            return ast.unparse(default)
    asked = {plain(name) for name in asked_for(found.signed("__init__"))}
    return "1000" if asked & {*STEPS, "betas"} else found.T or OPEN
