"""The role of a function alone, by the names of what it asks for."""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from compare.candidate.door.embedding import LENGTHS, ROWS, embedding_of
from compare.candidate.door.names import MODELS, plain, role, roles
from compare.candidate.door.reading import CONTRACT
from compare.candidate.door.signature import (
    BESIDE_MODEL,
    OF_SAMPLING,
    TABLES,
    asked_for,
    named_keywords,
    source_of,
    with_model,
)
from compare.candidate.door.tables import meant, product_of
from compare.candidate.text.does import asks_itself, loops

TO_NOISE = re.compile("inver|encod")  # loops the other way
OF_TARGETS = re.compile("velocity|target|^(get|predict|compute)?v$")  # no x_t, of what makes it
BETAS = re.compile("betaschedule|^(get|make|linear|cosine)?betas$")
ONE_WAY = {  # (x, t, eps) may be either: what a function is called says which
    "step": re.compile("reverse|psample|denois|posterior|step$"),
    "add_noise": re.compile("qsample|forward|diffuse|perturb|corrupt|^(add)?nois"),
}


def role_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The role of a function alone, by the names of what it asks for; none if they fit several,
    and its own name is none of them. A table of its module that is called alpha-bar is its own,
    else the product of one that is called betas.

    >>> [*role_of(lambda model, n: None)], [*role_of(lambda x0, noise, t: None)]
    (['sample'], ['add_noise'])
    >>> [*role_of(lambda model, x_0, generator: None)]
    ['loss']
    >>> def reverse(x, t, eps): return x
    >>> def forward(x, t, eps): return x
    >>> [*role_of(reverse)], [*role_of(forward)]
    (['step'], ['add_noise'])
    >>> def q_of(x0, t, noise=None): return x0
    >>> def its_loss(x0, t, noise=None): return x0
    >>> [*role_of(q_of)], [*role_of(its_loss)], [*role_of(lambda depth, t, noise=None: depth)]
    (['add_noise'], [], ['add_noise'])
    >>> def p_sample(x, t, noise=None): return x
    >>> [*role_of(p_sample)], [*role_of(lambda x_t, t, noise=None: x_t)]
    ([], [])
    >>> def cosine_beta_schedule(timesteps, s=0.008): return [0.1] * timesteps
    >>> [*role_of(cosine_beta_schedule)], role_of(lambda x, y: None)
    (['tables'], {})
    """
    whole = {each: with_model(function, each) for each in BESIDE_MODEL}
    found = {each: called for each, called in whole.items() if called is not None}
    name, source = getattr(function, "__name__", ""), source_of(function)
    if "loss" in found and source is not None and loops(name, {name: source}):
        del found["loss"]  # it is a loop, and handed what it starts from
    begun = _from_noise(function)
    if begun is not None and source is not None and loops(name, {name: source}):
        found["sample"] = begun
    asked = {method: roles(method, asked_for(function)) for method in ("add_noise", "step")}
    found |= {m: function for m, a in asked.items() if {*CONTRACT[m]} <= {*a} and None not in a}
    if may_draw(function):
        found["add_noise"] = function
    embeds = embedding_of(function)
    found |= {} if embeds is None else {"embedding": embeds}
    made = betas_of(function)
    found |= {} if made is None else {"tables": made}
    if OF_TARGETS.search(plain(name)):
        found.pop("add_noise", None)
    if {*found} == {*ONE_WAY}:
        found = {each: found[each] for each in found if ONE_WAY[each].search(plain(name))}
    found = {name: found[name]} if name in found else found if len(found) == 1 else {}
    inside = inspect.unwrap(function)  # below `torch.no_grad()`
    beside = _around(inside)  # the nearest
    if not any(map(is_table, beside.values())):
        beside = _opened(getattr(inside, "__globals__", {}))
    known = {name: value for name, value in sorted(beside.items()) if is_table(value)}
    named = {id(table): table for name, table in known.items() if plain(name) in TABLES}
    tables = _apart([*named.values()])
    betas = [table for name, table in known.items() if meant(name) == "betas"]
    if found and len(tables) == 1:
        return found | {"alpha_bar": lambda: product_of(tables[0], known.values())}
    if found and not tables and len(betas) == 1:
        table = np.asarray(betas[0]) if isinstance(betas[0], list | tuple) else betas[0]
        return found | {"alpha_bar": lambda: (1 - table).cumprod(0)}
    return found


def may_draw(function: Callable[..., Any]) -> bool:
    """True for a function of pictures and t that draws its noise where it is handed none."""
    word, asked = plain(getattr(function, "__name__", "")), asked_for(function)
    is_another = "loss" in word or ONE_WAY["step"].search(word) or {*asked} & MODELS
    others = [name for name in asked if role("add_noise", name) != "t"]
    if is_another or len(asked) != 2 or len(others) != 1 or asks_itself(source_of(function)):
        return False
    optional = [name for name, default in named_keywords(function).items() if default is None]
    known = role("add_noise", others[0]) == "x_0" or role("step", others[0]) is None
    return known and "noise" in roles("add_noise", optional)


def _from_noise(function: Callable[..., Any]) -> Callable[..., Any] | None:
    """A loop (model, shape) of a function that asks for a model and for x_T, and nothing else;
    where that is called x alone, the function is called as a loop is.

    >>> def likelihood(model, x): ...
    >>> def ddim_invert(model, z): ...
    >>> def chain(model, x_T): ...
    >>> [_from_noise(each) is None for each in (likelihood, ddim_invert, chain)]
    [True, True, False]
    """
    asked = asked_for(function)
    models = [name for name in asked if name in MODELS]
    others = [name for name in asked if name not in models]
    if len(models) != 1 or len(others) != 1:
        return None
    name, known = plain(getattr(function, "__name__", "")), role("step", others[0])
    is_x_T = known == "z" or plain(others[0]) == "xt" or (known == "x" and OF_SAMPLING.search(name))
    if not is_x_T or TO_NOISE.search(name):
        return None

    def called(model: Any, shape: Any) -> Any:
        return function(**{models[0]: model, others[0]: torch.randn(shape)})

    return called


def _apart(tables: list[Any]) -> list[Any]:
    """Those of several tables that are not another, in other precision or under another name."""
    found: list[Any] = []
    for table in tables:
        values = np.asarray(table, dtype=np.float64)
        same = (np.asarray(other, dtype=np.float64) for other in found)
        if not any(v.shape == values.shape and np.allclose(v, values, 1e-5) for v in same):
            found.append(table)
    return found


def _opened(beside: Mapping[str, Any]) -> dict[str, Any]:
    """What stands at the top of a file, and by their names in the dicts there and in things of its
    own classes."""
    values = [v for name, v in beside.items() if name[:2] != "__"]
    dicts = [v for v in values if isinstance(v, Mapping)]
    own = [v for v in values if type(v).__module__ == beside.get("__name__")]
    dicts += [
        v._asdict() if hasattr(type(v), "_asdict") else getattr(v, "__dict__", {}) for v in own
    ]
    return {str(key): v for inner in dicts for key, v in inner.items()} | dict(beside)


def _around(function: Any, deep: bool = True) -> dict[str, Any]:
    """{name: value} of what a function finds in those that it is written in, and what the functions
    that it finds there do."""
    try:
        found = dict(inspect.getclosurevars(function).nonlocals)
    except TypeError:
        return {}
    inner = [value for value in found.values() if inspect.isfunction(value)] if deep else []
    return {k: v for each in inner for k, v in _around(each, False).items()} | found


def is_table(value: Any) -> bool:
    """True for several numbers in a row: a tensor, an array or a list of floats."""
    if isinstance(value, list | tuple):
        return len(value) > 2 and all(isinstance(number, float) for number in value)
    return hasattr(type(value), "ndim") and value.ndim == 1 and len(value) > 1


def betas_of(function: Callable[..., Any]) -> Callable[[], Any] | None:
    """The tables of a function that is called as one of betas is, and asks for their number."""
    asked, name = asked_for(function), plain(getattr(function, "__name__", ""))
    if len(asked) != 1 or plain(asked[0]) not in LENGTHS or not BETAS.search(name):
        return None
    return lambda: {"betas": function(**{asked[0]: ROWS})}
