"""Somebody's class, or the functions of a file, as their text shows them."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from compare.candidate.door.names import plain
from compare.candidate.door.signature import MODELS, asked_for, named_keywords
from compare.candidate.door.source import each_assigned
from compare.candidate.door.tables import meant
from compare.candidate.text import handed
from compare.candidate.text.handed import OPEN, STEPS
from compare.candidate.text.offered import Function, bases_of, is_network, methods_of, signed
from compare.candidate.text.own.named import (
    attributes,
    derived_of,
    dicts_of,
    holds_tables,
    is_alpha_bar,
    of_parts,
    of_tops,
    only_betas,
    products,
)
from compare.candidate.text.own.network import (
    as_asking,
    copies_of,
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
        if self.built is None or self.instance:
            return False
        return any(name in MODELS for name in named_keywords(self.signed("__init__")))

    @property
    def kept_model(self) -> str:
        """The attribute under which the class, or the file, has a model that it builds itself and
        calls; "" if there is none."""
        if self.model or self.class_name is None:
            return self.model
        if self.built is None or self._is_given_model or self.is_network:
            return ""
        assigned = [*each_assigned(self.built)]
        given = [t for t, value in assigned if getattr(value, "id", "") in MODELS]
        if self.instance and given:  # it was given its model
            return of_self(given[0])
        made = [t for t, value in assigned if isinstance(value, ast.Call)]
        others = [node for name, node in self.functions.items() if name != "__init__"]
        called = {of_self(e.func) for f in others for e in ast.walk(f) if isinstance(e, ast.Call)}
        return next((a for t in made if (a := of_self(t)) in MODELS and a in called), "")

    @property
    def copies(self) -> list[str]:
        """The attributes that are copies of the model that the class keeps, or built as that is."""
        if self.built is None or not self.kept_model:
            return []
        return copies_of(self.kept_model, self.built, self.classes)

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
        """{parameter of one of its functions: the thing of the file's own classes it is handed};
        the device, too, where the file asks for its type."""
        node = self.functions[name]
        if self.class_name:
            asked = {"device": 'torch.device("cpu")'} if "device.type" in self.text else {}
            return asked | self.of_file.parts(node)
        kinds = self.of_file.kinds(node)
        return {each: self.of_file.at_the_top(kind)[0] for each, kind in kinds.items()}

    def called(self, what: str, name: str, own: Mapping[str, str] | None = None) -> str:
        """What a function of it is handed in a role; `own`: {a table: where the file has it}."""
        function, parts = self.signed(name), self.parts(name)
        return handed.call(what, function, own or {}, parts, self.around)


def source_of(file: Path, name: str, tree: ast.Module) -> Source:
    """A class or a function of a file, or what is built of a class at its top; with no name, all
    its functions.

    Raises:
        ValueError: there is no such name, in one line.
    """
    classes = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef)}
    functions = _written_out({n.name: n for n in tree.body if isinstance(n, Function)})
    assigned = [(t, n.value) for n in tree.body if isinstance(n, ast.Assign) for t in n.targets]
    values = {t.id: value for t, value in assigned if isinstance(t, ast.Name)}
    built = values.get(name)
    of = built.func if isinstance(built, ast.Call) else built  # `Mine()`, `Mine.from_config(c)`
    kind = getattr(getattr(of, "value", of), "id", "")
    lengths = [ast.unparse(v) for k, v in values.items() if plain(k) in STEPS and _is_count(v)]
    whole = Source({}, {}, None, [], [], next(iter(lengths), ""), OfFile(classes, functions))
    whole = replace(whole, text=ast.unparse(tree))
    if name in classes:
        return _of_class(whole, name, tree)
    if kind in classes:
        return replace(_of_class(whole, kind, tree), instance=name)
    if name and name not in functions:
        near = get_close_matches(name, [*classes, *functions], 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"{file} has no class or function {name!r} at its top{hint}")
    return _of_functions(whole, name, values, tree)


def _of_class(whole: Source, name: str, tree: ast.Module) -> Source:
    """A class of a file."""
    classes, node = whole.classes, whole.classes[name]
    names = attributes([node, *bases_of(node, classes)], tree)
    tables = [known for known in names if is_alpha_bar(known)] or of_parts(node)
    dicts, used = dicts_of(node), {e.attr for e in ast.walk(node) if isinstance(e, ast.Attribute)}
    methods = _written_out(methods_of(node, classes))
    tables_of_it = {known for known in names if is_alpha_bar(known) or meant(known)}
    own = own_network(methods, {*names} - tables_of_it, tables_of_it, classes)
    methods = as_asking(methods, own) if own else methods
    return replace(
        whole,
        functions=methods,
        around=methods,
        class_name=name,
        tables=[table for table in products(tables, node) if not dicts or table in used],
        derived=derived_of(names),
        dicts=dicts,
        betas=only_betas(names),
        model=own,
    )


def _of_functions(
    whole: Source, name: str, values: dict[str, ast.expr], tree: ast.Module
) -> Source:
    """The functions of a file, or one of them; `values`: {name at its top: what it is}."""
    functions = dict(whole.of_file.functions)
    tables = products([known for known in values if is_alpha_bar(known)], tree)
    tables = tables or of_tops({*values}, tree)
    built = [k for k, v in values.items() if isinstance(v, ast.Call) and not is_alpha_bar(k)]
    derived = derived_of(list(values))
    own = function_that_is_a_network(functions, {*built} - {*derived}, {*tables, *derived})
    functions = as_asking(functions, own) if own else functions
    return replace(
        whole,
        functions={name: functions[name]} if name else functions,
        around=functions,
        tables=tables,
        derived=derived,
        dicts=[known for known, value in values.items() if holds_tables(value)],
        betas=only_betas([k for k, v in values.items() if not _is_number(v)]),
        model=own or _model(values, functions),
    )


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


def _is_count(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, int)


def _is_number(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant | ast.Tuple)


def length(found: Source) -> str:
    """T, where a default or a constant of the file says it; of a class that asks for it, 1000."""
    if found.instance:
        return OPEN
    if found.built is None:
        return found.T or OPEN
    given = found.built.args
    by_place = [*given.posonlyargs, *given.args][-len(given.defaults) or None :]
    named = [*zip(by_place, given.defaults, strict=False)]
    named += [(e, d) for e, d in zip(given.kwonlyargs, given.kw_defaults, strict=True) if d]
    for each, default in named:
        if plain(each.arg) in STEPS and _is_count(default):
            return ast.unparse(default)
    asked = {plain(name) for name in asked_for(found.signed("__init__"))}
    return "1000" if asked & {*STEPS, "betas"} else found.T or OPEN
