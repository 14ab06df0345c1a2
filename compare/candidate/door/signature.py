"""What a signature says: the keywords that it names, and a whole role by its parameters' names.

A method `sample(self, model, n)` or `loss(self, model, x)` of a class is judged as an adapter's
would be, and so is a function that is handed over alone (`roles`).
"""

import ast
import inspect
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from compare.candidate.door.names import GENERATORS, MODELS, OF_LOOPS, SEEDS, WORDS, plain
from compare.candidate.door.source import parsed
from compare.candidate.text import sizes

SIDES = OF_LOOPS["side"]  # of pictures, in pixels, plainly
SIDE = 8  # of those that are asked for: no formula hangs on it
BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
COUNTS = OF_LOOPS["count"]
OF_BATCH = {"b", "bs", "batch", "batchsize", "nbatch"}
NUMBERS = "numbers"
PLACES: dict[str, Any] = {  # {what a loop is told: where it is in (b, c, h, w)}
    sizes.COUNT: 0,
    "channels": 1,
    "length": -2,
    "features": -1,
    NUMBERS: -1,
    "height": -2,
    "width": -1,
    sizes.SIDE: -1,
    sizes.SIDES: slice(2, None),
    sizes.IMAGE: slice(1, None),
    sizes.SHAPE: slice(None),
}
OF_SAMPLING = re.compile("sampl|generat|denois|revers|diffus|draw|ddpm|ddim|infer")
BESIDE_MODEL = {
    "sample": COUNTS | OF_LOOPS["shape"] - {"size"},
    "loss": WORDS["add_noise"]["x_0"],
}
TABLES = {
    "ab",
    "acp",
    "abar",
    "ahat",
    "alphabart",
    "alphatbar",
    "abars",
    "alphabar",
    "alphabars",
    "alphasbar",
    "alphascumprod",
    "alphacumprod",
    "alphacumprods",
    "alphascumprods",
    "alphahat",
    "ac",
    "acs",
    "alphaprod",
    "alphasprod",
    "alphacum",
    "alphascum",
}


def attribute(thing: Any, name: str) -> Any:
    """What an object has under a name; None where it has nothing, as where a property raises."""
    with suppress(Exception):
        return getattr(thing, name)
    return None


def takes_generator(role: Callable[..., Any], place: int) -> bool:
    """True if a role has a parameter at the place of the generator.

    >>> takes_generator(lambda model, shape: None, 2)
    False
    """
    parameters = inspect.signature(role).parameters.values()
    positional = sum(p.kind in BY_PLACE for p in parameters)
    anything = any(p.kind == inspect.Parameter.VAR_POSITIONAL for p in parameters)
    return anything or positional > place


def ignoring_generator(role: Callable[..., Any] | None) -> Callable[..., Any] | None:
    """A role (model, what, generator) from one that may take no generator."""
    if role is None:
        return None
    ordered = in_order(role)
    if takes_generator(role, 2):
        return ordered

    def called(model: Any, what: Any, generator: Any) -> Any:
        if isinstance(generator, list):
            raise TypeError("takes no generators")
        return ordered(model, what)

    return called


def in_order(role: Callable[..., Any]) -> Callable[..., Any]:
    """A role (model, what, ...) from one whose names say another order, or a number of pictures.

    >>> in_order(lambda n, net: (n, net))("model", (32, 2, 8, 8))
    (32, 'model')
    """
    first, second, *_ = [*inspect.signature(role).parameters, "", ""]
    swapped = second in MODELS and first not in MODELS
    counts = plain(first if swapped else second) in COUNTS
    if not swapped and not counts:
        return role

    def called(model: Any, what: Any, *more: Any) -> Any:
        what = what[0] if counts else what
        return role(what, model, *more) if swapped else role(model, what, *more)

    return called


def written(role: Any) -> Any:
    """The candidate's own function below those that are made here."""
    while getattr(role, "__module__", None) == __name__:
        role = next(v for v in inspect.getclosurevars(role).nonlocals.values() if callable(v))
    return role


def own_roles(thing: Any) -> dict[str, Any]:
    """The whole roles that methods of an object fill by their names and those of their parameters.

    >>> class Mine:
    ...     def sample(self, model, n, scale=3.0): return model, n
    ...     def loss(self, x, labels): return x
    >>> own = own_roles(Mine())
    >>> [*own], own["sample"]("model", (32, 2, 8, 8))
    (['sample'], ('model', 32))
    """
    methods = {role: attribute(thing, role) for role in BESIDE_MODEL}
    found = {role: with_model(m, role) for role, m in methods.items() if inspect.ismethod(m)}
    return {role: called for role, called in found.items() if called is not None}


def asked_for(function: Callable[..., Any]) -> list[str]:
    """Names of the parameters that have no default, and are no generator."""
    named = named_keywords(function)
    empty = inspect.Parameter.empty
    return [name for name, v in named.items() if v is empty and name not in GENERATORS | SEEDS]


def with_model(function: Callable[..., Any], role: str) -> Callable[..., Any] | None:
    """A function (model, what) as a role, if it asks for these two by names and nothing else but a
    generator; a loop that is called as such may ask for more that says what pictures there are to
    be, and need not ask for any."""
    asked = asked_for(function)
    models = [name for name in asked if name in MODELS]
    if len(models) != 1:
        return None
    whats = [name for name in asked if name not in models]
    known = len(whats) == 1 and {whats[0], plain(whats[0])} & BESIDE_MODEL[role]
    told = of_loop(function) if role == "sample" else {}
    is_loop = OF_SAMPLING.search(plain(getattr(function, "__name__", "")))
    counted = {sizes.COUNT, sizes.SHAPE} & {*told.values()}
    if not known and not (counted and is_loop and {*whats} <= {*told}):
        return None

    def called(model: Any, what: Any, **more: Any) -> Any:
        said = {name: _said(place, what) for name, place in told.items()} or {whats[0]: what}
        return function(**{models[0]: model, **said}, **more)

    def with_generator(model: Any, what: Any, generator: Any) -> Any:
        return called(model, what, **{streams[0]: generator})

    def with_seed(model: Any, what: Any, generator: Any) -> Any:
        seed = None if generator is None else generator.initial_seed()
        return called(model, what, **{seeds[0]: seed})

    streams = [name for name in named_keywords(function) if name in GENERATORS]
    seeds = [name for name in named_keywords(function) if name in SEEDS]
    return with_generator if streams else with_seed if seeds else called


def of_loop(function: Callable[..., Any]) -> dict[str, str]:
    """{parameter: what it says of the pictures}, of `PLACES`; or "device", if it is asked for.

    >>> def generate(net, n_images=4, channels=3, size=28): ...
    >>> of_loop(generate)
    {'n_images': 'count', 'channels': 'channels', 'size': 'side'}
    >>> of_loop(lambda model, b, c, h, w: model)
    {'b': 'count', 'c': 'channels', 'h': 'height', 'w': 'width'}
    >>> of_loop(lambda model, n, c, w=2.0: model), of_loop(lambda model, n, c=1: model)
    ({'n': 'count'}, {'n': 'count', 'c': 'channels'})
    >>> of_loop(lambda model, shape, b=None: model)
    {'shape': 'shape'}
    >>> of_loop(lambda model, n, shape, w=2.0: model)
    {'n': 'count', 'shape': 'image'}
    >>> of_loop(lambda model, n_samples, batch=1: model)
    {'n_samples': 'numbers', 'batch': 'count'}
    >>> of_loop(lambda model, b, channels, length: model)
    {'b': 'count', 'channels': 'channels', 'length': 'numbers'}
    >>> of_loop(lambda model, n, dim: model), of_loop(lambda model, n, dim=64: model)
    ({'n': 'count', 'dim': 'features'}, {'n': 'count'})
    """
    named, asked = named_keywords(function), asked_for(function)
    left = {name for name, default in named.items() if len(name) == 1 and default is None}
    left |= {name for name, default in named.items() if hasattr(default, "shape")}  # a table
    words = {name: None if name in left else _word(name) for name in named}
    every, found = {*words.values()}, {}
    for name, word in words.items():
        if word is None or (word == "device" and name not in asked):
            continue
        if word in (sizes.SIDE, sizes.SHAPE):
            default = named[name] if name not in asked else None
            usual = sizes.IMAGE if word == sizes.SHAPE and sizes.COUNT in every else word
            word = sizes.meant(name, default, source_of(function), usual)
        found[name] = word
    counts = [name for name, word in found.items() if word == sizes.COUNT]
    batch = [name for name in counts if plain(name) in OF_BATCH]
    if len(counts) == 2 and len(batch) == 1:  # the other is how many numbers each has
        found |= dict.fromkeys({*counts} - {*batch}, NUMBERS)
    if counts and "features" not in found.values():
        found |= {k: NUMBERS for k, word in found.items() if word == "length" and k in asked}
    sized = bool({"height", sizes.SIDE} & {*found.values()})  # else w may be a weight, c labels
    unsure = set() if sized else {"c", "w"}
    if type(named.get("c")) is int:  # a default that no labels have
        unsure.discard("c")
    unsure |= {plain(name) for name in found if type(named[name]) is float}  # a weight, and no size
    points = {*found.values()} == {sizes.COUNT, "features"} and {*found} <= {*asked}
    if not points and not {"length", "features"} <= {*found.values()}:
        unsure |= OF_LOOPS["length"] | OF_LOOPS["features"]
    return {k: word for k, word in found.items() if word == NUMBERS or plain(k) not in unsure}


def _word(name: str) -> str | None:
    return next((word for word, names in OF_LOOPS.items() if plain(name) in names), None)


def _said(place: str, shape: Any) -> Any:
    """What a loop that is to make pictures of a shape is told."""
    return "cpu" if place == "device" else shape[PLACES[place]]


def source_of(function: Any) -> ast.AST | None:
    """The source of a function, of one that is only read too; None if it cannot be read."""
    source: ast.AST | None = getattr(function, "source", None)
    return parsed(function) if source is None else source


def named_keywords(function: Any) -> dict[str, Any]:
    """The keywords that a signature names, with their defaults.

    The `**kwargs` of a class are followed into its bases: they name what a base names.

    >>> named_keywords(lambda a, b=2, **rest: None)
    {'a': <class 'inspect._empty'>, 'b': 2}
    >>> class Base:
    ...     def __init__(self, a=1, b=2): pass
    >>> class Mine(Base):
    ...     def __init__(self, b=3, **kwargs): super().__init__(b=b, **kwargs)
    >>> named_keywords(Mine)
    {'a': 1, 'b': 3}
    """
    found: dict[str, Any] = {}
    for each in _followed(function) if inspect.isclass(function) else [function]:
        try:
            parameters = inspect.signature(each).parameters.values()
        except (TypeError, ValueError):
            break
        by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        named = [p for p in parameters if p.kind in by_name and p.name != "self"]
        found = {p.name: p.default for p in named} | found
        if all(p.kind != inspect.Parameter.VAR_KEYWORD for p in parameters):
            break
    return found


def _followed(made: type) -> list[Any]:
    """The class, by whose signature it is called, then the `__init__` of each base above the one
    that it has."""
    own = [vars(base)["__init__"] for base in made.__mro__[:-1] if "__init__" in vars(base)]
    return [made, *own[1:]]
