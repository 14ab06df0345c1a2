"""What a signature says: the keywords that it names, and a whole role by its parameters' names.

A method `sample(self, model, n)` or `loss(self, model, x)` of a class is judged as an adapter's
would be, and so is a function that is handed over alone (`roles`).
"""

import inspect
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from compare.candidate.door.names import WORDS, plain

MODELS = {"model", "net", "network", "unet", "nn_model", "denoiser", "eps_model", "eps_theta"}
MODELS |= {"denoise_model", "denoise_fn", "eps_net", "eps_fn", "score_model", "model_fn"}
COUNTS = {"n", "b", "num", "count", "batch_size", "n_sample", "n_samples", "num_samples"}
SHAPES = {"shape", "image_shape", "sample_shape"}
SIDES = {"imagesize", "imgsize", "resolution", "samplesize"}  # of pictures, in pixels, plainly
SIDE = 8  # of those that are asked for: no formula hangs on it
BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
BESIDE_MODEL = {"sample": COUNTS | SHAPES, "loss": WORDS["add_noise"]["x_0"]}
TABLES = {
    "ab",
    "acp",
    "abar",
    "alphabart",
    "abars",
    "alphabar",
    "alphabars",
    "alphasbar",
    "alphascumprod",
    "alphacumprod",
    "alphacumprods",
    "alphascumprods",
    "alphahat",
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
    counts = (first if swapped else second) in COUNTS
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
    """Names of the parameters that have no default."""
    named = named_keywords(function)
    return [name for name, default in named.items() if default is inspect.Parameter.empty]


def with_model(function: Callable[..., Any], role: str) -> Callable[..., Any] | None:
    """A function (model, what) as a role, if it asks for these two by names and nothing else but a
    generator."""
    asked = [name for name in asked_for(function) if name != "generator"]
    models = [name for name in asked if name in MODELS]
    whats = [name for name in asked if {name, plain(name)} & BESIDE_MODEL[role]]
    if len(asked) != 2 or len(models) != 1 or len(whats) != 1:
        return None

    def called(model: Any, what: Any, **more: Any) -> Any:
        what = what[0] if whats[0] in COUNTS else what
        return function(**{models[0]: model, whats[0]: what}, **more)

    def with_generator(model: Any, what: Any, generator: Any) -> Any:
        return called(model, what, generator=generator)

    return with_generator if "generator" in named_keywords(function) else called


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
