"""An `Adapter` for somebody's code, written from its source and never run: a text to edit.

Methods and functions are known by what people call them, their parameters by their names; what no
name says stands as `...` in the text, for who knows it.
"""

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compare.candidate.door import embedding
from compare.candidate.door.names import predicted, role
from compare.candidate.door.roles import betas_of
from compare.candidate.door.source import (
    asks_for_a_place,
    assigned,
    compared,
    may_be_nothing,
    outputs_in,
)
from compare.candidate.door.tables import meant
from compare.candidate.text import handed
from compare.candidate.text.chosen import CALLS, chosen, reached
from compare.candidate.text.does import counts_from_one, trains
from compare.candidate.text.found import Source, length, source_of
from compare.candidate.text.later import asked_by
from compare.candidate.text.offered import Function, embeds_by, methods_of, offered, signed
from compare.candidate.text.own.named import holds_tables, of_what_is_handed
from compare.candidate.text.own.words import in_own_words, usual
from compare.candidate.text.package import package_of

UNKNOWN, AGAIN_T = embedding.OPEN, handed.T_AS_INT
OF_BATCHES = re.compile(r"reshape|view|[\[,] ?None[,\]]|gather|extract|expand|unsqueeze|broadcast")
PARTS = {"alpha_bar", "tables", "embedding", "network"}  # that a step or a loop is made with
SHOWN = """    def shown(it):
        names = (
{}        )
        return {{name: getattr(it, name) for name in names if hasattr(it, name)}}
"""
OWN_TABLE = "        # alpha_bar=lambda: YOURS,  # if it is not that of linear betas 1e-4..0.02"
ASSUMED = {  # tables that functions are handed, where their file has none
    "BETAS": "BETAS = torch.linspace(1e-4, 0.02, T)",
    "ALPHAS": "ALPHAS = 1 - BETAS",
    "ALPHA_BAR": "ALPHA_BAR = (1 - BETAS).cumprod(0)",
    "PREV": "PREV = torch.cat([torch.ones(1), ALPHA_BAR[:-1]])",
}


BETAS_FROM_1 = "BETAS = torch.cat([torch.zeros(1), torch.linspace(1e-4, 0.02, T)])"  # t = 1..T
USES_T = re.compile(r"\bT\b(?!=)")  # and says no argument of that name
ONE_OFF = re.compile(r"\b(t|i|step|timestep)s? - 1\b")


@dataclass(frozen=True)
class Written:
    """The text of a module whose `adapted()` makes an adapter, and the roles that it fills."""

    text: str
    roles: tuple[str, ...]

    @property
    def needs_edit(self) -> bool:
        """True if something in it is left open."""
        return UNKNOWN in self.text

    @property
    def assumes(self) -> bool:
        """True if the tables in it, which functions are handed, are nobody's."""
        return "\nBETAS = " in self.text

    @property
    def is_whole(self) -> bool:
        """True if it has more than parts that a step or a loop is made with, and calls nothing that
        is private."""
        return not {*self.roles} <= PARTS and not re.search(r"\b(made|mine)\._\w+\(", self.text)


def adapter(file: Path, name: str, source: str) -> str:
    """The text of the adapter for a class or a function of a file, or for all its functions; see
    `written`."""
    return written(file, name, source).text


def written(file: Path, name: str, source: str) -> Written:
    """The adapter for a class or a function of a file, or for all its functions.

    Args:
        file: its path, for the text.
        name: of a class or a function in it; "" for all its functions, or its only class.
        source: what is written in it.

    Raises:
        SyntaxError: it is no Python.
        ValueError: there is no such name, or nothing in it has a role; in one line.
    """
    tree, own = usual(source)
    name = {word: usual_name for usual_name, word in own.items()}.get(name, name)
    try:
        made = _written(file, name, source, tree)
    except ValueError as error:
        raise ValueError(in_own_words(str(error), own)) from None
    return Written(in_own_words(made.text, own), made.roles)


def _written(file: Path, name: str, source: str, tree: ast.Module) -> Written:
    """The same, of a file as it reads in usual names."""
    found = source_of(file, name, tree)
    roles = _roles(found)
    if name and found.class_name is None and f".{name}(" not in "".join(roles.values()):
        roles = {}  # but tables of its file
    if not name and {*roles} <= PARTS:
        roles, found = _of_only_class(file, source, tree, (roles, found))
    if not roles:
        what = f"{file}:{name}" if name else str(file)
        later = asked_by(*filter(None, (name, *found.functions, *found.classes)))
        said = f"{what} has nothing called as a part of a DDPM is: {_names(found)}{later}"
        raise ValueError(said + _that_trains(found))
    text = _module(file, source, found, "\n".join(_adapted(found, roles)))
    return Written(
        text, tuple(role for role in roles if role not in ("reading", "prediction_type"))
    )


def _of_only_class(
    file: Path, source: str, tree: ast.Module, functions: tuple[dict[str, str], Source]
) -> tuple[dict[str, str], Source]:
    """The roles of the one class of a file that has any, if its functions have none, or parts of
    what a class does."""
    kinds = [each.name for each in offered(source) if each.kind == "class"]
    read = [source_of(file, name, tree) for name in kinds]
    fitting = [(roles, found) for found in read if (roles := _roles(found))]
    if functions[0] or len(fitting) > 1:
        fitting = [each for each in fitting if not {*each[0]} <= PARTS]
    if len(fitting) > 1:
        names = ", ".join(f"{file}:{found.class_name}" for _, found in fitting)
        raise ValueError(f"{file} has several classes; say which: {names}")
    return fitting[0] if fitting else functions


def _module(file: Path, source: str, found: Source, body: str) -> str:
    """The whole text, below what it imports and assumes."""
    assumed, own_T = _assumed(found, body), _own_length(found, body)
    if own_T:
        body = body.replace("    return Adapter(", f"    {own_T}\n\n    return Adapter(", 1)
    kinds = [] if found.class_name else filter(found.of_file.made, found.classes)
    tops = map(found.of_file.at_the_top, kinds)
    at_the_top = [line for name, line in tops if re.search(rf"(?<![.\w]){name}\b", body)]
    needs_T = bool(assumed) or (bool(USES_T.search(body)) and not own_T)
    folder, module = package_of(file.resolve(), source)
    where = f"\n\nIt belongs into {folder}, beside the package.\n" * (module != file.stem)
    head = [f'"""{file.name} for `ddpm compare`: which of its parts is which.{where}"""\n']
    head += ["import torch"] * ("torch." in body or bool(assumed))
    head += _imported(module, _named(found, body))
    head += [f"from compare import Adapter{', as_network' * ('as_network(' in body)}\n"]
    any_T = bool(assumed) or bool(re.search(r"tables=lambda: .*\bT\b", body))  # an argument
    T = "1000" if any_T and length(found) == UNKNOWN else length(found)
    head += [f"T = {T}"] * needs_T + assumed + at_the_top
    head += [""] * (needs_T or bool(assumed) or bool(at_the_top))
    text = "\n".join([*head, "", "def adapted():", body, ""])
    note = f"# {UNKNOWN} is what no name says: put it in.\n" if UNKNOWN in text else ""
    return note + text


def _assumed(found: Source, body: str) -> list[str]:
    """The lines of the tables that functions are handed, where their file has none; of t from 1,
    where nothing is taken off that, with an entry of no step before the others."""
    lines: list[str] = []
    for name, line in reversed(ASSUMED.items()):  # each is made of those before it
        if _is_handed(name, "\n".join([body, *lines])):
            lines.insert(0, line)
    called = [node for name, node in found.functions.items() if f".{name}(" in body]
    less = any(ONE_OFF.search(ast.unparse(node)) for node in called)
    if lines and '"t=1"' in body and not less:
        lines[0] = BETAS_FROM_1
    return lines


def _own_length(found: Source, body: str) -> str:
    """The line that reads T off the class's own table, where nothing else says it; else ""."""
    built, uses = body.split("    return Adapter(", 1)
    if not USES_T.search(uses) or USES_T.search(built) or length(found) != UNKNOWN:
        return ""
    if found.class_name is None or found.owns_model or not found.tables:
        return ""
    return f"T = len(made.{found.tables[0]})"


def _named(found: Source, body: str) -> list[str]:
    """What of a file an adapter names: a class, and what that is built with; none of functions."""
    tops = [*found.classes, *found.of_file.functions] if found.class_name else []
    tops += [found.instance] * bool(found.instance)
    return [name for name in tops if re.search(rf"(?<![.\w]){name}\b", body)]


def _imported(module: str, names: list[str]) -> list[str]:
    """The lines that import somebody's file, whatever it is called, or these names of it."""
    parts = module.split(".")
    if all(part.isidentifier() for part in parts) and (names or len(parts) == 1):
        said = f"from {module} import {', '.join(sorted(names))}"
        return [said if names else f"import {module} as mine"]
    whole = f"import_module({module!r})".replace("'", '"')
    lines = [f"{name} = {whole}.{name}" for name in names] or [f"mine = {whole}"]
    return ["from importlib import import_module\n", *lines]


def _is_handed(table: str, text: str) -> bool:
    """True if a table of `ASSUMED` stands in a text, not one of the file's that is called so."""
    return bool(re.search(rf"(?<!\.)\b{table}\b", text))


def _that_trains(found: Source) -> str:
    """What to do about a function that is a loss and an optimizer's step in one."""
    trained = next((name for name, node in found.functions.items() if trains(node)), "")
    cure = "give its loss a function of its own, which returns it"
    return f"; {trained} goes on to change weights: {cure}" if trained else ""


def _names(found: Source) -> str:
    names = [name for name in found.functions if not name.startswith("_")]
    return ", ".join(names[:8]) if names else "no functions"


def _roles(found: Source) -> dict[str, str]:
    """{role: the text that fills it}, of a class or of the functions of a file."""
    texts = {}
    fill = chosen(found)
    if fill or (found.class_name and found.derived and found.tables):
        texts = _of_tables(found)
    elif found.class_name is None:
        texts = _of_functions_tables(found)
    if fill and found.betas and not texts:
        betas = f"torch.as_tensor({found.owner}.{found.betas})"
        texts = {"alpha_bar": f"lambda: (1 - {betas}).cumprod(0)"}
        if "add_noise" in fill and found.class_name:  # which shows alpha-bar as it uses it
            texts = {"tables": f'lambda: {{"betas": {found.owner}.{found.betas}}}'}
    own: dict[str, str] = {}
    words: list[str] = []
    for what, name in fill.items():
        function = found.signed(name)
        if found.class_name is None:
            tables = (*found.tables, *found.derived, *([found.betas] if found.betas else []))
            own = {str(meant(known)): f"mine.{known}" for known in tables}
        known = handed.known(what, function)
        call = found.called(what, name, own)
        taken = _taken(what, found.functions[name])
        method = "" if name == "__call__" else f".{name}"
        made = f"{_owner(found, what, function)}{method}({call}){taken}"
        texts[what] = f"lambda {handed.given(what, function, known)}: {made}"
        kind = _kind_said(what, found.functions[name], known)
        if kind is not None and (what == "step" or "prediction_type" not in texts):
            texts["prediction_type"] = f'"{kind}"'
        words += _reading(found, what, name, known)
    if "step" in fill and _is_judged_in_a_loop(found, fill, texts):
        del texts["step"]
    from_one = any(map(counts_from_one, found.around.values()))
    if {"step", "add_noise"} & {*fill} and from_one:
        words.append("t=1")
    if "loss" in texts and from_one:
        texts["loss"] = texts["loss"].replace("torch.randint(0, T,", "torch.randint(1, T + 1,")
    if words:
        texts["reading"] = (
            f'"{words[0]}"' if len(words) == 1 else str(tuple(words)).replace("'", '"')
        )
    handed_over = {each for text in texts.values() for each in ASSUMED if _is_handed(each, text)}
    if handed_over and "alpha_bar" not in texts:
        texts = {"alpha_bar": "lambda: ALPHA_BAR"} | texts
    embeds = _embedding(found)
    texts |= {"embedding": f"lambda t, dim: {embeds}"} if embeds else {}
    own_name = found.class_name
    noises = {*fill.values()} & {*CALLS}  # what it does if it is called
    if (
        own_name
        and not noises
        and found.is_network
        and embeds_by(own_name, found.functions) is None
    ):
        texts["network"] = "lambda: made"
    return texts


def _kind_said(what: str, node: Function, known: dict[str, str | None]) -> str | None:
    """What a model predicts by the names of its output: of a step any, of a loop or a loss where
    they say x_0; of a loss v by that of what it is compared with."""
    kinds = {predicted(name) for name, role in known.items() if role == "out"}
    kinds |= {predicted(name) for name in outputs_in(node)}
    if what == "loss" and "v_prediction" in map(predicted, compared(node)):
        return "v_prediction"
    kind = kinds.pop() if len(kinds) == 1 and what != "add_noise" else None
    return kind if what == "step" or kind == "sample" else None


def _is_judged_in_a_loop(found: Source, fill: dict[str, str], texts: dict[str, str]) -> bool:
    """True if a step is called by the loop, which says what no name of the step's does, or which
    place in a list it is handed for t or beside it."""
    places = texts["step"].count(AGAIN_T) > 1 or asks_for_a_place(found.functions[fill["step"]])
    if UNKNOWN not in texts["step"] and not places:
        return False
    whole = "sample" in texts and UNKNOWN not in texts["sample"]
    return whole and fill["step"] in reached({fill["sample"]}, found)


def _taken(what: str, node: Function) -> str:
    """What is taken of an answer: a loop may return its course beside the pictures, and a loss
    more than itself."""
    returned = [e.value for e in ast.walk(node) if isinstance(e, ast.Return)]
    several = bool(returned) and all(isinstance(e, ast.Tuple) for e in returned)
    first = "[0]" if several and what in ("sample", "loss") else ""
    if what != "loss":
        return first
    keys = [e.slice for e in ast.walk(node) if isinstance(e, ast.Subscript)]
    keys += [k for e in ast.walk(node) if isinstance(e, ast.Dict) for k in e.keys if k]
    named = any(isinstance(key, ast.Constant) and key.value == "loss" for key in keys)
    return first + ('["loss"]' if named else "")


def _reading(found: Source, what: str, name: str, known: dict[str, str | None]) -> list[str]:
    """The word that says how a method is called, where the code says it."""
    if what == "step" and "z" in known.values() and _is_quiet_at_the_end(found, name):
        return ["z=0"]
    t = next((name for name, role in known.items() if role == "t"), "")
    node = found.functions[name]
    said = {each.arg: ast.unparse(each.annotation or ast.Constant("")) for each in node.args.args}
    is_one = said.get(t) == "int" and not OF_BATCHES.search(ast.unparse(node))
    return ["t_of_add_noise=int"] if what == "add_noise" and is_one else []


def _is_quiet_at_the_end(found: Source, step: str) -> bool:
    """True if what calls its step hands it no noise at the last one: `z = ... if t > 1 else 0`."""
    others = [node for name, node in found.around.items() if name != step]
    given = [each for node in others for each in assigned(node)]
    drawn = [value for name, value in given if role("step", name) in ("z", "out")]
    return any(isinstance(value, ast.IfExp) and may_be_nothing([value]) for value in drawn)


def _of_tables(found: Source) -> dict[str, str]:
    """Alpha-bar and what is made of it, as attributes or at the top of the file."""
    texts = {}
    if found.tables:
        texts["alpha_bar"] = f"lambda: {found.owner}.{found.tables[0]}"
    if found.dicts and (found.class_name or not found.derived):
        texts["tables"] = f"lambda: {found.owner}.{found.dicts[0]}"
    elif found.derived:
        texts["tables"] = f"lambda: shown({found.owner})"
    of_parts = {} if found.class_name else of_what_is_handed(found.around, found.of_file)
    for kind, table in of_parts.items():
        texts.setdefault("alpha_bar", f"lambda: {found.of_file.at_the_top(kind)[0]}.{table}")
    return texts


def _of_functions_tables(found: Source) -> dict[str, str]:
    """Tables of a file without a formula: at its top, or what a function of it returns."""
    if found.derived or found.dicts or found.tables:
        return _of_tables(found)
    for name, node in found.functions.items():
        returned = [e.value for e in ast.walk(node) if isinstance(e, ast.Return)]
        local = dict(assigned(node))
        values = [local.get(v.id, v) if isinstance(v, ast.Name) else v for v in returned]
        built = handed.build(found.signed(name), node, False)
        if any(holds_tables(value) for value in values):
            return {"tables": f"lambda: mine.{name}({built})"}
        if betas_of(found.signed(name)) is not None:
            return {"tables": f'lambda: {{"betas": mine.{name}({built})}}'}
    return {}


def _embedding(found: Source) -> str:
    """The rows of t by a class, a method or a function that embeds; "" if there is none."""
    text = _of_function(found)
    if not text and found.class_name:
        way = embeds_by(found.class_name, found.functions)
        return _of_class(found.class_name, found.functions, way) if way else ""
    if text or len(found.functions) == 1:
        return text
    for name, node in found.classes.items():
        methods = methods_of(node, found.classes)
        way = embeds_by(name, methods)
        if way is not None and way.whole:
            return f"mine.{_of_class(name, methods, way)}"
    return ""


def _of_class(name: str, methods: dict[str, Function], way: embedding.Way) -> str:
    call = methods.get("forward", methods.get("__call__"))
    assert call is not None
    drops = any("ropout" in ast.unparse(node) for node in methods.values())
    built = signed(methods["__init__"], True)
    return handed.embedded(way, name, built, drops, signed(call, True))


def _of_function(found: Source) -> str:
    for name, node in found.functions.items():
        function = found.signed(name)
        way = embedding.of_function(function)
        if way is None or name in ("__init__", *CALLS):
            continue
        static = any(getattr(e, "id", "") == "staticmethod" for e in node.decorator_list)
        owner = found.class_name if static and found.class_name else found.owner
        return handed.embedded(way, f"{owner}.{name}", None, False, function)
    return ""


def _adapted(found: Source, roles: dict[str, str]) -> list[str]:
    """The lines of `adapted`."""
    lines = ["    return Adapter(", *(f"        {role}={text}," for role, text in roles.items())]
    if {"sample", "loss"} & {*roles} and not {"alpha_bar", "tables"} & {*roles}:
        lines.insert(1, OWN_TABLE)
    body = "\n".join(roles.values())
    if re.search(r"\bmade\b", body):
        built = None if found.built is None else found.signed("__init__")
        parts = {} if found.built is None else found.parts("__init__")
        made = f"{found.class_name}({handed.build(built, found.built, found.is_network, parts)})"
        made = found.instance or made
        head = f"    made = {made}\n"
        if found.owns_model:
            head = f"    def made(model=as_network()):\n        return {made}\n"
        if found.kept_model:
            it = "it" if found.class_name else "mine"
            head = f"    it = {made}\n\n" if found.class_name else ""
            own = f"{it}.{found.kept_model}"
            if found.class_name and found.model in found.functions:  # for an `nn.Module` too
                own = f'vars({it})["{found.model}"]'
            head += "    def made(model=as_network()):\n"
            every = [own, *(f"{it}.{copy}" for copy in found.copies), "model"]
            head += f"        {' = '.join(every)}\n        return {it}\n"
        lines = [head, *lines]
    if "shown(" in body:
        names = "".join(f"            {name!r},\n" for name in found.derived).replace("'", '"')
        lines.insert(0, SHOWN.format(names))
    return [*lines, "    )"]


def _owner(found: Source, what: str, function: Any) -> str:
    """Whose method is called: a class may be built with its model, and then a step takes no output:
    it asks a model, which gives the output that we want. So does a file that holds its model."""
    is_handed = found.class_name is None and handed.models_of(function)
    if not found.owns_model or what == "add_noise" or is_handed:
        return found.owner
    if what == "step":
        takes = "out" in handed.known(what, function).values()
        return found.owner if takes else "made(as_network(out))"
    return "made(model)"
