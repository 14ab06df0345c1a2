"""How a network's `forward` is called: the picture, t and labels by the names of its parameters."""

import ast
import inspect
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from compare.candidate.door.names import CALLED, DRAWN, LABELS, NOISE, TIMES, T, X, plain
from compare.candidate.door.signature import MODELS, TABLES, asked_for, named_keywords
from compare.candidate.door.source import parsed
from compare.candidate.load import Adapter

if TYPE_CHECKING:
    from torch import nn

TIME = {*T.split(), *map(plain, TIMES), "sigma", "sigmas", "cnoise", "gamma", "logsnr"}
PICTURE = {*X.split(), "input", "inputs", "inp", "noisy", "points", "data"}
OF_LABELS = {*map(plain, LABELS)}
NO_NETWORKS = {*NOISE.split(), *DRAWN.split(), "target", "targets"}  # what a loss is given
OF_DIFFUSION = {word for words in CALLED.values() for word in words.split()} - {"forward"}
OF_DIFFUSION |= TABLES | {"betas"}
DROPPED = {"conddropprob", "dropprob", "labeldropprob", "classdropprob", "puncond"}
NO_NETWORK = re.compile("sampler|trainer|forward(diffusion|process)")  # what a class is called
NORMAL = ("randn", "randn_like", "normal", "normal_")  # which no network draws
WRAPPERS = ("_orig_mod", "module")  # of torch.compile, of data in parallel


def is_network(thing: Any) -> bool:
    """True for an `nn.Module`, or a class of such, that is called with a picture and a time, and
    is no diffusion: has no tables, no loop, loss or step of its own.

    >>> from torch import nn
    >>> class Mine(nn.Module):
    ...     def forward(self, x, t): return x
    >>> class Diffusion(Mine):
    ...     def p_losses(self, x): return x
    >>> is_network(Mine), is_network(Mine()), is_network(Diffusion), is_network(nn.Linear)
    (True, True, False, False)
    """
    from torch import nn

    if isinstance(thing, nn.Module):
        thing = unwrapped(thing)
    kind = thing if inspect.isclass(thing) else type(thing)
    if (
        not issubclass(kind, nn.Module)
        or NO_NETWORK.search(plain(kind.__name__))
        or any(plain(n) in OF_DIFFUSION for n in own_names(thing))
    ):
        return False
    source = parsed(thing.forward)
    if source is not None and draws_noise(source):
        return False
    return {"x", "t"} <= {*arguments(thing.forward).values()}


def draws_noise(forward: ast.AST) -> bool:
    """True if what a module does when it is called draws from N(0, 1): it makes x_t."""
    calls = [e.func for e in ast.walk(forward) if isinstance(e, ast.Call)]
    return any(getattr(f, "attr", getattr(f, "id", "")) in NORMAL for f in calls)


def in_its_role(thing: Any) -> Any:
    """What was built; a network as an adapter."""
    return Adapter(network=lambda: thing) if is_network(thing) else thing


def own_names(thing: Any) -> set[str]:
    """Names of a module's methods, buffers and attributes, but those that every module has."""
    from torch import nn

    inside = set() if inspect.isclass(thing) else {*vars(thing), *thing._buffers}
    return ({*dir(thing if inspect.isclass(thing) else type(thing))} | inside) - {*dir(nn.Module)}


def unwrapped(network: "nn.Module") -> "nn.Module":
    """The network inside what hides the names of its arguments."""
    from torch import nn

    for name in WRAPPERS:
        inner = getattr(network, name, None)
        if isinstance(inner, nn.Module) and not arguments(network.forward):
            return unwrapped(inner)
    return network


def arguments(forward: Any) -> Mapping[str, str]:
    """{name: what it stands for} of what a `forward` is given: "x", "t", "labels", or "more" for
    what else it asks for; nothing if it names no picture and time.

    >>> arguments(lambda timestep, img, y, mask=None: None)
    {'timestep': 't', 'img': 'x', 'y': 'labels'}
    >>> arguments(lambda self, a, b: None), arguments(lambda self, x: None)
    ({'a': 'x', 'b': 't'}, {})
    >>> arguments(lambda model, x: None), arguments(lambda x, noise: None)
    ({}, {})
    """
    names, asked = list(named_keywords(forward)), asked_for(forward)
    asked = [name for name in asked if name != "self"]
    others = [name for name in asked if plain(name) not in OF_LABELS]
    times = [name for name in (*asked, *names) if plain(name) in TIME]
    pictures = [n for n in others if plain(n) in PICTURE and n not in times[:1]]
    pictures += [name for name in others if name not in times[:1]]
    unsure = not times and (len(others) < 2 or any(plain(n) in NO_NETWORKS for n in asked))
    if not pictures or unsure or {*asked} & MODELS:
        return {}
    time = times[0] if times else next(name for name in others if name != pictures[0])
    roles = {time: "t", pictures[0]: "x"}
    rest = (name for name in asked if name not in roles)
    roles |= {n: "labels" if plain(n) in OF_LABELS else "more" for n in rest}
    return {name: roles[name] for name in names if name in roles}


def of_labels(forward: Any) -> list[str]:
    """Names of labels that it may be given and does not ask for."""
    asked, every = asked_for(forward), named_keywords(forward)
    return [n for n in every if n not in asked and plain(n) in {"y", "classlabels", "labels"}]


def of_dropping(forward: Any) -> list[str]:
    """Names of how often labels are dropped, for guidance: by default also where nobody trains."""
    return [name for name in named_keywords(forward) if plain(name) in DROPPED]
