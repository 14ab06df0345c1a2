"""What could be judged in a file, read from its source: to run a script may be to train for days.

What a function or a method is for is told by names, as of one that is loaded (`signature`).
"""

import ast
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from inspect import Parameter, Signature
from typing import Any

from compare.candidate.door import embedding
from compare.candidate.door.forward import NO_NETWORK, OF_DIFFUSION, TIME, arguments, draws_noise
from compare.candidate.door.names import plain
from compare.candidate.door.roles import role_of
from compare.candidate.door.signature import BESIDE_MODEL, asked_for, with_model
from compare.candidate.load import ROLES

METHODS = ("set_timesteps", "add_noise", "get_velocity", "step")  # judged whatever they ask for
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Offered:
    """Something at the top of a file: its name, what it is, what of it is judged, and else why not.

    `asks` are the names that it cannot be called, or built, without.
    """

    name: str
    kind: str
    judged: tuple[str, ...]
    asks: tuple[str, ...] = ()


def offered(source: str) -> list[Offered]:
    """What stands at the top of a file, but what is private or imported, in its order.

    Raises:
        SyntaxError: it is no Python.

    >>> offered("def q_sample(x_0, noise, t): ...")
    [Offered(name='q_sample', kind='function', judged=('add_noise',), asks=('x_0', 'noise', 't'))]
    """
    body = ast.parse(source).body
    classes = {node.name: node for node in body if isinstance(node, ast.ClassDef)}
    makers = {node.name: node for node in body if isinstance(node, Function)}
    found = [each for node in body for each in (*_of(node, classes), *_made_by(node, makers))]
    return [each for each in found if not each.name.startswith("_")]


def _of(node: ast.stmt, classes: Mapping[str, ast.ClassDef]) -> Iterator[Offered]:
    if isinstance(node, ast.ClassDef):
        yield _of_class(node, classes)
    elif isinstance(node, Function):
        yield _of_function(node)
    elif isinstance(node, ast.Assign) and _roles(node.value):
        names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        yield from (Offered(name, "adapter", _roles(node.value)) for name in names)


def _made_by(node: ast.stmt, makers: dict[str, Function]) -> Iterator[Offered]:
    """The functions that are made at the top of a file by one of it: `loss, sample = make()`."""
    call = node.value if isinstance(node, ast.Assign) else None
    maker = makers.get(getattr(call.func, "id", "")) if isinstance(call, ast.Call) else None
    if maker is None or not isinstance(node, ast.Assign):
        return
    inner = {e.name: e for e in ast.walk(maker) if isinstance(e, Function) and e is not maker}
    given = [e.value for e in ast.walk(maker) if isinstance(e, ast.Return) and e in maker.body]
    for target, value in ((t, v) for t in node.targets for v in given if v is not None):
        for name, made in zip(
            getattr(target, "elts", [target]), getattr(value, "elts", [value]), strict=False
        ):
            function = inner.get(getattr(made, "id", ""))
            if function is not None and isinstance(name, ast.Name):
                told = _of_function(function)
                yield Offered(name.id, "function", told.judged, told.asks)


def _of_function(node: Function) -> Offered:
    function = signed(node, False)
    asks = tuple(asked_for(function))
    made = [e.value for e in ast.walk(node) if isinstance(e, ast.Return) and e.value is not None]
    adapters = [_roles(value) for value in made if _roles(value)]
    if adapters and not asks:
        return Offered(node.name, "makes an adapter", adapters[0])
    return Offered(node.name, "function", tuple(role_of(function)), asks)


def _of_class(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> Offered:
    methods = methods_of(node, classes)
    whole = {role: methods[role] for role in BESIDE_MODEL if role in methods}
    judged = [name for name in METHODS if name in methods]
    judged += [role for role, method in whole.items() if with_model(signed(method, True), role)]
    embeds = embeds_by(node.name, methods)
    judged += ["embedding"] if embeds else []
    judged += ["network"] if not embeds and is_network(node, methods, classes) else []
    built = [] if "__init__" not in methods else asked_for(signed(methods["__init__"], True))
    built = [] if embeds and embeds.whole else built  # a width, and what goes without saying
    return Offered(node.name, "class", tuple(judged), tuple(built))


def embeds_by(name: str, methods: dict[str, Function]) -> embedding.Way | None:
    """How a class of these methods embeds a timestep; None if it does not."""
    call = methods.get("forward", methods.get("__call__"))
    known = {each: signed(node, True) for each, node in methods.items()}
    return embedding.of_class(name, known, call)


def is_network(
    node: ast.ClassDef, methods: dict[str, Function], classes: Mapping[str, ast.ClassDef]
) -> bool:
    """True for a module that is called with a picture and a time, and is no diffusion."""
    if "forward" not in methods or any(plain(name) in OF_DIFFUSION for name in methods):
        return False
    if NO_NETWORK.search(plain(node.name)) or draws_noise(methods["forward"]):
        return False
    asked = arguments(signed(methods["forward"], True))
    named = any(role == "t" and plain(name) in TIME for name, role in asked.items())
    return named and _is_module(node, classes)


def _is_module(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> bool:
    names = [getattr(base, "attr", getattr(base, "id", "")) for base in node.bases]
    own = [classes[name] for name in names if name in classes and name != node.name]
    return "Module" in names or any(_is_module(base, classes) for base in own)


def methods_of(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> dict[str, Function]:
    """Its own, and those of its bases in the same file; of a dataclass or a named tuple also the
    `__init__` that is made of its fields.

    >>> class_of = ast.parse("@dataclass\\nclass A:\\n    x: int\\n    y: float = 0.5").body[0]
    >>> ast.unparse(methods_of(class_of, {})["__init__"].args)
    'self, x: int, y: float=0.5'
    """
    nodes = [*reversed([node, *bases_of(node, classes)])]
    methods = [each for owner in nodes for each in owner.body if isinstance(each, Function)]
    found = {each.name: each for each in methods}
    if "__init__" not in found and any(map(_has_fields, nodes)):
        found["__init__"] = _of_fields(nodes)
    return found


def _has_fields(node: ast.ClassDef) -> bool:
    makers = [getattr(each, "func", each) for each in (*node.decorator_list, *node.bases)]
    names = {getattr(each, "attr", getattr(each, "id", "")) for each in makers}
    return bool(names & {"dataclass", "NamedTuple"})


def _of_fields(nodes: list[ast.ClassDef]) -> Function:
    """The `__init__` that fields make; those without a default first: some are keywords alone."""
    lines = [line for node in nodes for line in node.body if isinstance(line, ast.AnnAssign)]
    fields = {ast.unparse(line.target): line for line in lines if not _is_no_field(line)}
    asked = sorted(fields, key=lambda name: fields[name].value is not None)
    body = "; ".join(f"self.{name} = {name}" for name in asked) or "pass"
    texts = ", ".join(["self", *(ast.unparse(fields[name]) for name in asked)])
    made = ast.parse(f"def __init__({texts}): {body}").body[0]
    assert isinstance(made, ast.FunctionDef)
    return made


def _is_no_field(line: ast.AnnAssign) -> bool:
    return "ClassVar" in ast.unparse(line.annotation) or "init=False" in ast.unparse(line)


def bases_of(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> Iterator[ast.ClassDef]:
    """The classes of the same file that a class is made of, the nearest first."""
    for name in (getattr(base, "id", "") for base in node.bases):
        if name in classes and name != node.name:
            yield classes[name]
            yield from bases_of(classes[name], classes)


def _roles(value: ast.expr) -> tuple[str, ...]:
    """The roles of `Adapter(...)`; none of anything else."""
    function = value.func if isinstance(value, ast.Call) else None
    tail = getattr(function, "attr", getattr(function, "id", ""))
    if not isinstance(value, ast.Call) or tail != "Adapter":
        return ()
    given = {keyword.arg for keyword in value.keywords}
    return tuple(role for role in ROLES if role in given)


def signed(node: Function, method: bool) -> Any:
    """A function with the name and the parameters of one that is only read; a method without self.

    A default that is no number, word or row of such is None.
    """
    given = node.args
    by_place = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(by_place) - len(given.defaults)) + [*given.defaults]
    found = [
        _parameter(each.arg, Parameter.POSITIONAL_OR_KEYWORD, default)
        for each, default in zip(by_place, defaults, strict=True)
    ]
    is_static = any(getattr(e, "id", "") == "staticmethod" for e in node.decorator_list)
    found = found[1:] if method and not is_static else found
    found += [_parameter(given.vararg.arg, Parameter.VAR_POSITIONAL)] if given.vararg else []
    for each, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        found.append(_parameter(each.arg, Parameter.KEYWORD_ONLY, default))
    found += [_parameter(given.kwarg.arg, Parameter.VAR_KEYWORD)] if given.kwarg else []

    def function(*_: Any, **__: Any) -> None: ...

    function.__name__ = node.name
    function.__signature__ = Signature(found)  # type: ignore[attr-defined]
    function.source = node  # type: ignore[attr-defined]
    return function


def _parameter(name: str, kind: Any, default: ast.expr | None = None) -> Parameter:
    value: Any = Parameter.empty if default is None else None
    if default is not None:
        with suppress(ValueError):
            value = ast.literal_eval(default)
    return Parameter(name, kind, default=value)
