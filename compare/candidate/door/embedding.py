"""Which functions and classes embed a timestep, by names: of what is loaded as of what is read.

An embedding is called with t and gives a row for each; its width is an argument of the function,
or of the class. A function of a number and a width gives the rows of all t, and what adds places to
a sequence shows them if the sequence is 0.
"""

import ast
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from compare.candidate.door.names import TIMES, WORDS, X, plain
from compare.candidate.door.signature import MODELS, asked_for, named_keywords
from compare.candidate.door.source import parsed

ROWS = 1000  # of a table that is asked for: T of an adapter that shows no schedule
OPEN = "..."  # what no name says
WIDTHS = {
    *("d", "c", "channels", "nchannels", "numchannels", "modelchannels", "timechannels", "size"),
    *("embeddingsize", "embsize", "embedsize", "hiddensize", "features", "nfeatures", "nembd"),
    "dmodel",
}
AXES = {"ndim", "ndims", "dims", "numdims", "xdim"}  # how many axes something has
LENGTHS = {
    *("n", "num", "t", "steps", "timesteps", "nsteps", "numsteps", "noisesteps", "ntimesteps"),
    *("numtimesteps", "totaltimesteps", "totalsteps", "numtraintimesteps", "numembeddings"),
    *("length", "len", "maxlen", "maxlength", "seqlen", "maxseqlen", "seqlength", "positions"),
    *("npositions", "numpositions", "nposition", "maxposition", "maxpositions", "maxpos", "maxt"),
    *("maxtime", "maxsteps", "maxstep", "maxtimestep", "maxtimesteps"),
}
GIVEN = {"device": '"cpu"', "dropout": "0.0", "pdrop": "0.0", "drop": "0.0"}  # what a class is
TIMEWORDS = {*WORDS["step"]["t"], *map(plain, TIMES), "sigma", "sigmas", "pos", "position"}
ANYTHING = {"x", "xt", "inp", "input", "inputs", "v", "value", "values", "tensor", "seq", "tokens"}
CALLED = re.compile(
    r"sinus|fourier|(time|step|position|positional|pos)s?_?(emb|enc)", re.IGNORECASE
)
EMBEDS = re.compile("emb|enc|sin|fourier", re.IGNORECASE)
OTHERS = re.compile(  # of other things than a time
    r"label|class|token|text|patch|rotary|rope|relative|alibi|image|2d|3d|box", re.IGNORECASE
)


@dataclass(frozen=True)
class Way:
    """How an embedding is had.

    Attributes:
        given: {parameter: what it is given} in the call: "t", "dim", "T", or `OPEN`.
        built: the same of what its class is built with, also `GIVEN`; None of a function.
        of_table: it gives the rows of all t, of which those of t are taken.
        places: the axis of a sequence along which it adds them; None if it adds nothing.
    """

    given: Mapping[str, str]
    built: Mapping[str, str] | None = None
    of_table: bool = False
    places: int | None = None

    @property
    def whole(self) -> bool:
        """True if nothing is left open."""
        return OPEN not in (*self.given.values(), *(self.built or {}).values())


def is_called_so(name: str) -> bool:
    """True for a name of embeddings of a time or of a place.

    >>> [is_called_so(n) for n in ("SinusoidalPosEmb", "get_timestep_embedding", "pos_encoding")]
    [True, True, True]
    >>> [is_called_so(name) for name in ("LabelEmbedding", "get_2d_sincos_pos_embed", "EmbedFC")]
    [False, False, False]
    """
    return bool(CALLED.search(name)) and not OTHERS.search(name)


def of_function(function: Callable[..., Any]) -> Way | None:
    """How a function embeds: it asks for t and a width; or it is called so.

    >>> of_function(lambda embedding_dim, timesteps: 0).given
    {'embedding_dim': 'dim', 'timesteps': 't'}
    >>> def sinusoidal_embedding(n, d): ...
    >>> of_function(sinusoidal_embedding).given, of_function(sinusoidal_embedding).of_table
    ({'n': 'T', 'd': 'dim'}, True)
    >>> def gather(c, t): ...
    >>> of_function(gather), of_function(lambda x, dim: 0)
    (None, None)
    """
    name = getattr(function, "__name__", "")
    asked, so = asked_for(function), is_called_so(name)
    given = {name: _stands(name) for name in asked}
    letters = any(what == "dim" and len(name) == 1 for name, what in given.items())
    sure = not letters or EMBEDS.search(name)  # d or c alone may be anything: gather(c, t)
    if sorted(given.values()) == ["dim", "t"] and sure and not OTHERS.search(name):
        return Way(given)
    given = _with_width(given, function)
    rest = [name for name, what in given.items() if what != "dim"]
    if not so or {*asked} & MODELS or not rest or len(rest) == len(given):
        return None
    if "t" not in given.values():
        of_table = any(plain(name) in LENGTHS for name in rest)
        filled = {n: "T" if plain(n) in LENGTHS else OPEN for n in rest}
        return Way(given | (filled if of_table else {rest[0]: "t"}), of_table=of_table)
    return Way(given)


def of_class(name: str, methods: Mapping[str, Any], forward: ast.AST | None = None) -> Way | None:
    """How a class embeds: it is built with a width and called with t; or it is called so.

    Args:
        name: of the class.
        methods: {name: a function without self}, or with it by this name.
        forward: the source of what it is called by.
    """
    call = methods.get("forward") or methods.get("__call__")
    if call is None or "__init__" not in methods or OTHERS.search(name):
        return None
    so, asked = is_called_so(name), asked_for(call)
    built = {name: _stands(name, of_class=True) for name in asked_for(methods["__init__"])}
    built = _with_width(built, methods["__init__"]) if so else built
    times = [name for name in asked if plain(name) in TIMEWORDS]
    if "dim" not in built.values() or not asked or {*asked} & MODELS:
        return None
    if (not times and (not so or plain(asked[0]) not in ANYTHING)) or (not so and len(asked) > 1):
        return None
    places = None if times or forward is None else _places(asked[0], forward)
    t = times[0] if times else asked[0]
    given = {n: "t" if n == t or plain(n) in X.split() else OPEN for n in asked}
    return Way(given, built, places=places)


def _stands(name: str, of_class: bool = False) -> str:
    """What a parameter is given by its name; `OPEN` if that does not say it."""
    word = plain(name)
    if word in WIDTHS or ("dim" in word and word not in AXES):
        return "dim"
    if of_class:
        return "T" if word in LENGTHS else GIVEN.get(word, OPEN)
    return "t" if word in TIMEWORDS and name != "T" else OPEN


def _with_width(given: dict[str, str], function: Any) -> dict[str, str]:
    """The same, with a width that it has by default and does not ask for."""
    if "dim" in given.values():
        return given
    widths = [n for n in named_keywords(function) if n not in given and _stands(n) == "dim"]
    return given | dict.fromkeys(widths[:1], "dim")


def _places(x: str, forward: ast.AST) -> int | None:
    """The axis of the sequence x along which places are added to it."""
    text = ast.unparse(forward)
    adds = re.search(rf"\b{x} = {x}\b.*\+|\b{x} \+= |return .*\b{x} \+|\+ {x}\b|\({x} \+", text)
    axis = re.search(rf"\b{x}\.(?:size\((-?\d)\)|shape\[(-?\d)\])", text)
    if not adds or not axis:
        return None
    return int(axis[1] or axis[2]) % 3


def embedding_of(thing: Any) -> Callable[..., Any] | None:
    """The role of a function or a class that embeds; None if its names do not say all of it.

    >>> def embed(timesteps, dim): return timesteps, dim
    >>> embedding_of(embed)("t", 32)
    ('t', 32)
    """
    if not inspect.isclass(thing):
        way = of_function(thing)
    else:
        known = ("__init__", "forward", "__call__")
        methods = {name: getattr(thing, name) for name in known if hasattr(thing, name)}
        way = of_class(thing.__name__, methods, parsed(methods.get("forward")))
        own = None if way is None else _static(thing)
        if own is not None:
            return embedding_of(own)
    if way is None or not way.whole:
        return None
    return lambda t, dim: _called(thing, way, t, dim)


def _static(made: type) -> Any:
    """A function of a class that embeds by itself, such as a layer stands above."""
    static = [e.__func__ for e in vars(made).values() if isinstance(e, staticmethod)]
    return next((each for each in static if of_function(each) is not None), None)


def _called(thing: Any, way: Way, t: Any, dim: int) -> Any:
    import torch

    values = {"t": t, "dim": dim, "T": ROWS, '"cpu"': "cpu", "0.0": 0.0}
    made = thing
    if way.built is not None:
        made = thing(**{name: values[what] for name, what in way.built.items()})
        made = made.eval() if isinstance(made, torch.nn.Module) else made
    if way.places is not None:
        shape = (ROWS, 1, dim) if way.places == 0 else (1, ROWS, dim)
        return made(torch.zeros(shape)).reshape(ROWS, dim)[t]
    rows = made(**{name: values[what] for name, what in way.given.items()})
    return rows[t] if way.of_table else rows
