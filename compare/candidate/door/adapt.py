"""An `Adapter` for somebody's code, written from its source and never run: a text to edit.

Methods and functions are known by what people call them, their parameters by their names; what no
name says stands as `...` in the text, for who knows it.
"""

import ast
import inspect
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from compare.candidate.door.names import CALLED, plain, roles
from compare.candidate.door.offered import Function, methods_of, signed
from compare.candidate.door.signature import (
    COUNTS,
    MODELS,
    SHAPES,
    SIDE,
    SIDES,
    TABLES,
    asked_for,
    named_keywords,
)
from compare.candidate.door.tables import meant

GIVEN = {  # {role: what its lambda is given}
    "add_noise": "x_0, noise, t",
    "step": "out, t, x",
    "sample": "model, shape, generator",
    "loss": "model, x_0, generator",
}
HANDED = {  # {role: {what a parameter stands for: what it is handed}}
    "add_noise": {"x_0": "x_0", "noise": "noise", "t": "t"},
    "step": {"out": "out", "x": "x", "t": "t", "z": "z"},
    "sample": {"x": "torch.randn(shape)"},
    "loss": {
        "x_0": "x_0",
        "noise": "torch.randn_like(x_0)",
        "t": "torch.randint(0, T, (len(x_0),))",
    },
}
STEPS = {"t", "timesteps", "nsteps", "numtimesteps", "noisesteps", "steps", "numtraintimesteps"}
STEPS |= {"nt", "numsteps", "diffusionsteps", "ntimesteps"}
CHANNELS = {"channels", "inchannels", "c", "nchannels", "imagechannels"}
AGAIN = {"tindex", "i", "index", "idx", "step"}  # t once more, as one number
BUILT = {"device": '"cpu"', "betas": "torch.linspace(1e-4, 0.02, T)"}  # what a class is built with
BUILT |= {"betastart": "1e-4", "beta1": "1e-4", "betaend": "0.02", "beta2": "0.02"}
BUILT |= dict.fromkeys(STEPS, "T") | dict.fromkeys(CHANNELS, "2")
BUILT |= dict.fromkeys({*SIDES, "size"}, str(SIDE))
WHOLE = {"device": '"cpu"', "generator": "generator"}  # what a loop takes beside its model
WHOLE |= dict.fromkeys(STEPS, "T") | dict.fromkeys(SIDES, "shape[-1]")
WHOLE |= dict.fromkeys(CHANNELS, "shape[1]") | dict.fromkeys(map(plain, COUNTS), "shape[0]")
WHOLE |= dict.fromkeys(map(plain, SHAPES), "shape") | {"size": "shape[1:]"}
UNKNOWN = "..."
SHOWN = """    def shown(it):
        names = (
{}        )
        return {{name: getattr(it, name) for name in names if hasattr(it, name)}}
"""


@dataclass(frozen=True)
class Source:
    """Somebody's class, or the functions of a file.

    Attributes:
        functions: {name: its source}, those of a class or of a file.
        class_name: of the class; None for functions.
        tables: names of what is called alpha-bar in it.
        derived: names of the tables that are made of it, and of betas beside such.
        T: a constant of the file that is called as the number of steps is; "" if there is none.
    """

    functions: dict[str, Function]
    class_name: str | None
    tables: list[str]
    derived: list[str]
    T: str

    @property
    def built(self) -> Function | None:
        """What the class is built by."""
        return self.functions.get("__init__") if self.class_name else None

    @property
    def owns_model(self) -> bool:
        """True if the class is built with its model."""
        return self.built is not None and any(
            n in MODELS for n in named_keywords(self.signed("__init__"))
        )

    def signed(self, name: str) -> Any:
        """One of its functions, as `signed` reads it."""
        return signed(self.functions[name], self.class_name is not None)


def adapter(file: Path, name: str, source: str) -> str:
    """The text of a module whose `adapted()` makes the adapter.

    Args:
        file: its path, for the text.
        name: of a class or a function in it; "" for all its functions.
        source: what is written in it.

    Raises:
        SyntaxError: it is no Python.
        ValueError: there is no such name, or nothing in it has a role; in one line.
    """
    found = _source(file, name, ast.parse(source))
    chosen = _chosen(found)
    if not chosen:
        what = f"{file}:{name}" if name else str(file)
        raise ValueError(f"{what} has nothing called as a part of a DDPM is: {_names(found)}")
    body = "\n".join(_roles(found, chosen))
    head = [f'"""{file.name} for `ddpm compare`: which of its parts is which."""\n']
    head += ["import torch"] * ("torch." in body)
    class_name = found.class_name
    head += [
        f"from {file.stem} import {class_name}" if class_name else f"import {file.stem} as mine"
    ]
    head += [f"from compare import Adapter{', as_network' * ('as_network(' in body)}\n"]
    head += [f"T = {_length(found)}\n"] * bool(re.search(r"\bT\b", body))
    text = "\n".join([*head, "", "def adapted():", body, ""])
    note = f"# {UNKNOWN} is what no name says: put it in.\n" if UNKNOWN in text else ""
    return note + text


def _source(file: Path, name: str, tree: ast.Module) -> Source:
    classes = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef)}
    functions = {n.name: n for n in tree.body if isinstance(n, Function)}
    assigned = [(t, n.value) for n in tree.body if isinstance(n, ast.Assign) for t in n.targets]
    values = {t.id: value for t, value in assigned if isinstance(t, ast.Name)}
    lengths = [ast.unparse(v) for k, v in values.items() if plain(k) in STEPS and _is_count(v)]
    T = next(iter(lengths), "")
    if name in classes:
        node = classes[name]
        tables, derived = _tables_of_class(node, tree)
        return Source(methods_of(node, classes), name, tables, derived, T)
    if name and name not in functions:
        near = get_close_matches(name, [*classes, *functions], 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"{file} has no class or function {name!r} at its top{hint}")
    tables = [known for known in values if plain(known) in TABLES]
    chosen = {name: functions[name]} if name else functions
    return Source(chosen, None, tables, _derived(list(values)), T)


def _derived(names: list[str]) -> list[str]:
    """Names of tables that are made of alpha-bar, and `betas` beside them; what is called alpha or
    beta alone may be one number."""
    known = {name: meant(name) for name in names}
    unsure = (None, "alphas", "betas", "alphas_cumprod")
    found = [name for name, table in known.items() if table not in unsure]
    return ["betas", *found] if found and "betas" in known else found


def _is_count(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, int)


def _tables_of_class(node: ast.ClassDef, tree: ast.Module) -> tuple[list[str], list[str]]:
    """Attributes and buffers called alpha-bar, then those that are made of it; buffers may be named
    in a dict elsewhere."""
    found, elsewhere = [], False
    for each in ast.walk(node):
        if isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store):
            found.append(each.attr)
        if isinstance(each, ast.Call) and getattr(each.func, "attr", "") == "register_buffer":
            elsewhere = elsewhere or not isinstance(each.args[0], ast.Constant)
    for each in ast.walk(tree if elsewhere else node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            found.append(each.value)  # register_buffer("alphas_cumprod", ...)
    names = list(dict.fromkeys(found))
    return [name for name in names if plain(name) in TABLES], _derived(names)


def _chosen(found: Source) -> dict[str, str]:
    """{role: the name of the function that fills it}, by what people call it and what it takes.

    A module that holds its network returns the loss, if it is called.
    """
    chosen = {}
    for what, words in CALLED.items():
        called = words.split()
        picture = {"add_noise": "x_0", "loss": "x_0", "step": "x"}.get(what)
        fitting = [
            name
            for name in found.functions
            if plain(name) in called
            and (picture is None or picture in _known(what, found.signed(name)).values())
        ]
        if fitting:
            chosen[what] = min(fitting, key=lambda name: called.index(plain(name)))
    if found.owns_model and "loss" not in chosen and "forward" in found.functions:
        chosen["loss"] = "forward"
    return chosen


def _names(found: Source) -> str:
    names = [name for name in found.functions if not name.startswith("_")]
    return ", ".join(names[:8]) if names else "no functions"


def _length(found: Source) -> str:
    """T, where a default or a constant of the file says it; of a class that asks for it, 1000."""
    if found.built is None:
        return found.T or UNKNOWN
    given = found.built.args
    by_place = [*given.posonlyargs, *given.args][-len(given.defaults) or None :]
    named = [*zip(by_place, given.defaults, strict=False)]
    named += [(e, d) for e, d in zip(given.kwonlyargs, given.kw_defaults, strict=True) if d]
    for each, default in named:
        if plain(each.arg) in STEPS and _is_count(default):
            return ast.unparse(default)
    asks = any(plain(name) in STEPS for name in asked_for(found.signed("__init__")))
    return "1000" if asks else found.T or UNKNOWN


def _roles(found: Source, chosen: dict[str, str]) -> list[str]:
    """The lines of `adapted`."""
    lines = ["    return Adapter("]
    if found.class_name:
        build = f"        return {found.class_name}({_build(found)})\n"
        model = "model=as_network()" if found.owns_model else ""
        lines = [f"    def made({model}):", build, *lines]
    owner = "made()" if found.class_name else "mine"
    if found.tables:
        lines.append(f"        alpha_bar=lambda: {owner}.{found.tables[0]},")
    if found.derived:
        names = "".join(f"            {name!r},\n" for name in found.derived).replace("'", '"')
        lines += [f"        tables=lambda: shown({owner}),"]
        lines.insert(0, SHOWN.format(names))
    for what, name in chosen.items():
        function = found.signed(name)
        known = _known(what, function)
        owner = _owner(found, what, known)
        call = f"{owner}.{name}({_call(what, function, known)})"
        lines.append(f"        {what}=lambda {_given(what, known)}: {call},")
    return [*lines, "    )"]


def _known(what: str, function: Any) -> dict[str, str | None]:
    """{parameter: what it stands for by its name}."""
    names = [*named_keywords(function)]
    method = "add_noise" if what in ("add_noise", "loss") else "step"
    return dict(zip(names, roles(method, names), strict=True))


def _owner(found: Source, what: str, known: dict[str, str | None]) -> str:
    """Whose method is called: a class may be built with its model, and then a step takes no output:
    it asks a model, which gives the output that we want."""
    if found.class_name is None:
        return "mine"
    if not found.owns_model or what == "add_noise":
        return "made()"
    if what == "step":
        return "made()" if "out" in known.values() else "made(as_network(out))"
    return "made(model)"


def _given(what: str, known: dict[str, str | None]) -> str:
    if what == "add_noise" and "noise" not in known.values():
        return "x_0, t"  # it draws its noise, and returns it beside x_t
    return GIVEN[what] + ", z" * (what == "step" and "z" in known.values())


def _build(found: Source) -> str:
    """The arguments that a class is built with: its model, what it cannot do without, and small
    pictures."""
    if found.built is None:
        return ""
    function = found.signed("__init__")
    asked = {*asked_for(function)}
    values = {
        name: "model" if name in MODELS else BUILT.get(plain(name), UNKNOWN)
        for name in named_keywords(function)
        if name in asked or name in MODELS or plain(name) in SIDES
    }
    for each in found.built.args.args:  # some ask for both ends of betas, and not for all
        if each.arg == "betas" in values and "uple" in ast.unparse(each.annotation or each):
            values["betas"] = "(1e-4, 0.02)"
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _call(what: str, function: Any, known: dict[str, str | None]) -> str:
    """What a function is handed: by place what it asks for, by name what it may be told.

    What it draws by itself is left to it.
    """
    asked, parameters = asked_for(function), inspect.signature(function).parameters
    values = {name: _value(what, name, role) for name, role in known.items()}
    words = []
    for name, value in values.items():
        if parameters[name].kind == inspect.Parameter.KEYWORD_ONLY or name not in asked:
            drawn = name not in asked and value.startswith("torch.rand")
            words += [f"{name}={value}"] if value and not drawn else []
            words += [f"{name}={UNKNOWN}"] if name in asked and not value else []
        else:
            words.append(value or UNKNOWN)
    return ", ".join(words)


def _value(what: str, name: str, role: str | None) -> str:
    """What stands for a parameter in the lambda of a role; "" if nobody says."""
    if name in MODELS:
        return "as_network(out)" if what == "step" else "model"
    if role in HANDED[what]:
        return HANDED[what][role]
    if what == "step" and plain(name) in AGAIN:
        return "int(torch.as_tensor(t).flatten()[0])"
    return WHOLE.get(plain(name), "") if what in ("sample", "loss") else ""
