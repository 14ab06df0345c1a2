"""What a class is built with and a function called with, as text: by the names of parameters.

What no name says is `OPEN`. What is drawn by the function itself is left to it.
"""

import ast
import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

from compare.candidate.door.embedding import OPEN, ROWS, Way
from compare.candidate.door.names import (
    GENERATORS,
    LABELS,
    OF_LOOPS,
    PREDICTED,
    SEEDS,
    plain,
    roles,
)
from compare.candidate.door.signature import (
    MODELS,
    PLACES,
    SIDE,
    SIDES,
    asked_for,
    named_keywords,
    of_loop,
    source_of,
)
from compare.candidate.door.source import each_assigned
from compare.candidate.door.tables import meant
from compare.candidate.text import sizes
from compare.candidate.text.does import asks_itself
from compare.candidate.text.own.condition import is_picture

GIVEN = {  # {role: what its lambda is given}
    "add_noise": "x_0, noise, t",
    "step": "out, t, x",
    "sample": "model, shape, generator",
    "loss": "model, x_0, generator",
}
HANDED = {  # {role: {what a parameter stands for: what it is handed}}
    "add_noise": {"x_0": "x_0", "noise": "noise", "t": "t"},
    "step": {"out": "out", "x": "x", "t": "t", "z": "z"},
    "sample": dict.fromkeys(("x", "out", "z"), "torch.randn(shape)"),
    "loss": {
        "x_0": "x_0",
        "noise": "torch.randn_like(x_0)",
        "t": "torch.randint(0, T, (len(x_0),))",
    },
}
TABLES = {  # {a table that a function is handed: what stands at the top of the adapter}
    "betas": "BETAS",
    "alphas": "ALPHAS",
    "alphas_cumprod": "ALPHA_BAR",
    "alphas_cumprod_prev": "PREV",
    "one_minus_alphas_cumprod": "1 - ALPHA_BAR",
    "sqrt_alphas": "ALPHAS.sqrt()",
    "sqrt_betas": "BETAS.sqrt()",
    "sqrt_alphas_cumprod": "ALPHA_BAR.sqrt()",
    "sqrt_one_minus_alphas_cumprod": "(1 - ALPHA_BAR).sqrt()",
    "sqrt_recip_alphas": "ALPHAS.rsqrt()",
    "sqrt_recip_alphas_cumprod": "ALPHA_BAR.rsqrt()",
    "sqrt_recipm1_alphas_cumprod": "(1 / ALPHA_BAR - 1).sqrt()",
    "posterior_variance": "BETAS * (1 - PREV) / (1 - ALPHA_BAR)",
    "posterior_mean_coef1": "BETAS * PREV.sqrt() / (1 - ALPHA_BAR)",
    "posterior_mean_coef2": "ALPHAS.sqrt() * (1 - PREV) / (1 - ALPHA_BAR)",
}
STEPS = {"t", "timesteps", "nsteps", "numtimesteps", "noisesteps", "steps", "numtraintimesteps"}
STEPS |= {
    "nt",
    "numsteps",
    "diffusionsteps",
    "ntimesteps",
    "totalsteps",
    "totaltimesteps",
    "maxsteps",
    "ddpmnumtimesteps",
}
CHANNELS = OF_LOOPS["channels"]
ZEROS = "torch.zeros(shape)"
BATCHES = {"batch", "data", "b", "xb", "samples", "inputs", "examples"}
T_AS_INT = "int(torch.as_tensor(t).flatten()[0])"
AGAIN = {"tindex", "i", "index", "idx", "step"}  # t once more, as one number
BUILT = {"device": '"cpu"', "betas": "torch.linspace(1e-4, 0.02, T)"}  # what a class is built with
BUILT |= {"betastart": "1e-4", "beta1": "1e-4", "betaend": "0.02", "beta2": "0.02"}
BUILT |= {"betamin": "1e-4", "minbeta": "1e-4", "betamax": "0.02", "maxbeta": "0.02"}
BUILT |= {"betat": "0.02", "usetimesteps": "range(T)"}
BUILT |= dict.fromkeys(("loss", "lossfn", "criterion"), "torch.nn.functional.mse_loss")
BUILT |= dict.fromkeys(STEPS, "T") | dict.fromkeys(CHANNELS, "2")
BUILT |= dict.fromkeys({*SIDES, "size"}, str(SIDE)) | dict.fromkeys(OF_LOOPS["features"], "32")
NETWORK = dict.fromkeys({*CHANNELS, "outchannels", "cin", "cout", "imgchannels"}, "3")
NETWORK |= dict.fromkeys({*SIDES, "size"}, "32") | {"device": '"cpu"', "numclasses": "10"}
NETWORK |= dict.fromkeys({"dim", "width", "basechannels", "modelchannels", "nfeat"}, "32")
NETWORK |= dict.fromkeys({"features", "hidden", "nfeatures", "ch", "hiddendim", "basedim"}, "32")
NETWORK |= dict.fromkeys({"timedim", "timeembdim", "timeembeddingdim", "timechannels"}, "32")
NETWORK |= dict.fromkeys({"dimmults", "chmult", "channelmult"}, "(1, 2)") | {"dropout": "0.0"}
NETWORK |= dict.fromkeys(STEPS, str(ROWS))
OF_NUMPY = re.compile(r"\bnp\.\w+\([^()]*\b(betas|alphas)\b")
WHOLE = {"device": '"cpu"'}  # what a loop takes beside its model
WHOLE |= dict.fromkeys(GENERATORS, "generator")
WHOLE |= dict.fromkeys(SEEDS, "generator and generator.initial_seed()")
WHOLE |= dict.fromkeys(map(plain, LABELS - {"mask"}), "torch.arange(shape[0]) % 10")
WHOLE |= dict.fromkeys({*STEPS, "timestep"}, "T") | dict.fromkeys(("batchidx", "batchindex"), "0")
WHOLE |= dict.fromkeys(("seq", "timeseq"), "range(T)")  # the steps that a loop is to take
SMALL = {
    sizes.SIDE: f"{SIDE}",
    sizes.SIDES: f"({SIDE}, {SIDE})",
    sizes.IMAGE: f"(2, {SIDE}, {SIDE})",
}


def known(what: str, function: Any) -> dict[str, str | None]:
    """{parameter: what it stands for by its name}, in this role.

    A step that asks a model itself is handed fresh noise, where it is handed any, and so is one
    that may be handed none.
    """
    names = [*named_keywords(function)]
    method = "add_noise" if what in ("add_noise", "loss") else "step"
    found = dict(zip(names, roles(method, names), strict=True))
    if what == "step":
        itself = asks_itself(source_of(function)) or models_of(function)
        drawn = {k for k, v in named_keywords(function).items() if itself or v is None}
        found = {k: "z" if part == "out" and k in drawn else part for k, part in found.items()}
    return found


def models_of(function: Any) -> set[str]:
    """The parameters that are a model by their names, or by these and as they are called with a
    picture and a time."""
    nodes = [*ast.walk(source_of(function) or ast.Module([], []))]
    calls = [e for e in nodes if isinstance(e, ast.Call) and len(e.args) > 1]
    called = {e.func.id for e in calls if isinstance(e.func, ast.Name)}
    named = {*named_keywords(function)}
    known = {k for k in named & MODELS if k in called or plain(k) not in PREDICTED.split()}
    return known | {k for k in named & called if "model" in k}


def given(what: str, function: Any, parameters: Mapping[str, str | None]) -> str:
    """What the lambda of a role is given: an `add_noise` may draw its noise, or draw it where it is
    handed none."""
    noises = [name for name, role in parameters.items() if role == "noise"]
    if what == "add_noise" and not noises:
        return "x_0, t"
    if what == "add_noise" and named_keywords(function)[noises[0]] is None:
        return "x_0, t, noise=None"
    return GIVEN[what] + ", z" * (what == "step" and "z" in parameters.values())


def build(
    function: Any,
    source: ast.FunctionDef | ast.AsyncFunctionDef | None,
    network: bool,
    parts: Mapping[str, str] | None = None,
) -> str:
    """The arguments that a class is built with: its model, what it cannot do without, and small
    pictures.

    Args:
        function: its `__init__`; None if it has none.
        source: of that.
        network: it is a network.
        parts: {parameter: how what it is to be is made}, of the file's own classes.
    """
    if function is None or source is None:
        return ""
    asked, words = {*asked_for(function)}, NETWORK if network else BUILT
    values = {}
    for name, default in named_keywords(function).items():
        is_side = plain(name) in SIDES and not network
        is_model = name in MODELS and not isinstance(default, str)
        if name in asked or is_model or is_side:
            values[name] = "model" if is_model else words.get(plain(name), OPEN)
        if name in asked and not is_model:
            values[name] = (parts or {}).get(name, values[name])
        if is_side and isinstance(default, tuple | list):
            values[name] = SMALL.get(sizes.meant(name, default, None, sizes.SIDE), OPEN)
    if "betas" in values and OF_NUMPY.search(ast.unparse(source)):
        values["betas"] += ".numpy()"
    for each in source.args.args:  # some ask for both ends of betas, and not for all
        name, said = each.arg, ast.unparse(each.annotation or each)
        if (
            name in ("beta", "betas")
            and name in values
            and ("uple" in said or _is_pair(name, source))
        ):
            values[name] = "(1e-4, 0.02)"
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _is_pair(name: str, source: ast.AST) -> bool:
    """True if a parameter is taken for two things: `a, b = name`, or `name[0]` and `name[1]`, or
    the two ends of `linspace(*name, T)`."""
    nodes = [*ast.walk(source)]
    spread = [a for e in nodes if isinstance(e, ast.Call) and len(e.args) == 2 for a in e.args[:1]]
    if any(isinstance(a, ast.Starred) and getattr(a.value, "id", "") == name for a in spread):
        return True
    given = [e for e in nodes if isinstance(e, ast.Assign) and getattr(e.value, "id", "") == name]
    two = [e for e in given if isinstance(e.targets[0], ast.Tuple) and len(e.targets[0].elts) == 2]
    items = [
        e for e in nodes if isinstance(e, ast.Subscript) and getattr(e.value, "id", "") == name
    ]
    return bool(two) or {ast.unparse(each.slice) for each in items} == {"0", "1"}


def call(
    what: str,
    function: Any,
    own: Mapping[str, str],
    parts: Mapping[str, str],
    around: Mapping[str, ast.AST],
) -> str:
    """What a function is handed in a role: by place what it asks for, by name what it may be told.

    Args:
        what: the role.
        function: as `signed` reads it.
        own: {a table of the oracle: where its file has it}.
        parts: {parameter: what it is to be}, of the file's own classes.
        around: {a function that it may call: its source}.
    """
    asked, parameters = asked_for(function), inspect.signature(function).parameters
    models = dict.fromkeys(models_of(function), "as_network(out)" if what == "step" else "model")
    values = {name: value(what, name, role, own) for name, role in known(what, function).items()}
    values |= {name: text for name, text in parts.items() if name in asked and not values[name]}
    values |= models
    values |= of_pictures(function) if what == "sample" else {}
    if what == "loss":
        node = source_of(function) or ast.Module([], [])
        values |= {k: _apart(k, node, around) for k, text in values.items() if text == "x_0"}
    row = [p.name for p in parameters.values() if p.kind == inspect.Parameter.VAR_POSITIONAL]
    axes = ["*shape"] if what == "sample" and {*map(plain, row)} & OF_LOOPS["shape"] else []
    words, said = list[str](), list[str]()
    for name, text in values.items():
        if name not in asked and text == "T":  # how many steps is its own
            continue
        usual = text in (*TABLES.values(), WHOLE["seq"])
        if usual and name not in asked and _makes(name, source_of(function)):
            continue
        if parameters[name].kind == inspect.Parameter.KEYWORD_ONLY or name not in asked:
            drawn = name not in asked and text.startswith("torch.rand")
            said += [f"{name}={text}"] if text and not drawn else []
            said += [f"{name}={OPEN}"] if name in asked and not text else []
        else:
            words.append(text or OPEN)
    return ", ".join([*words, *axes, *said])


def _makes(name: str, source: ast.AST | None) -> bool:
    """True if a function makes what it may be handed itself, where it is handed none, or leaves
    that to one that it hands it on to.

    >>> _makes("seq", ast.parse("if seq is None:\\n    seq = range(9)"))
    True
    >>> _makes("seq", ast.parse("seq = range(9) if seq is None else seq"))
    True
    >>> _makes("seq", ast.parse("return steps(model, seq)"))
    True
    >>> _makes("seq", ast.parse("if seq is None:\\n    raise ValueError"))
    False
    """
    nodes = [*ast.walk(source or ast.Module([], []))]
    none = f"{name} is None"
    lines = [e for e in nodes if isinstance(e, ast.If) and ast.unparse(e.test) == none]
    made = [t for line in lines for e in line.body for t, _ in each_assigned(e)]
    chosen = [e for e in nodes if isinstance(e, ast.IfExp) and ast.unparse(e.test) == none]
    used = [e for e in nodes if isinstance(e, ast.Name) and e.id == name]
    handed = [a for e in nodes if isinstance(e, ast.Call) for a in e.args if a in used]
    by_another = bool(used) and len(handed) == len(used)
    return by_another or bool(chosen) or any(getattr(t, "id", "") == name for t in made)


def _apart(name: str, function: ast.AST, around: Mapping[str, ast.AST], deep: int = 2) -> str:
    """The pictures of a loss; with labels beside them where it takes its batch apart, or hands it
    on to a function that does."""
    x_0, labels = "x_0", "torch.arange(len(x_0)) % 10"
    nodes = [*ast.walk(function)]
    named = [
        e for e in nodes if isinstance(e, ast.Subscript) and getattr(e.value, "id", "") == name
    ]
    keys = [e.slice.value for e in named if isinstance(e.slice, ast.Constant)]
    words = [key for key in dict.fromkeys(keys) if isinstance(key, str)]
    if words:
        return "{" + ", ".join(f'"{k}": {labels if i else x_0}' for i, k in enumerate(words)) + "}"
    assigned = [
        e for e in nodes if isinstance(e, ast.Assign) and getattr(e.value, "id", "") == name
    ]
    if (0 in keys and plain(name) in BATCHES) or any(
        isinstance(e.targets[0], ast.Tuple) for e in assigned
    ):
        return f"({x_0}, {labels})"
    handed_on = _handed_on(name, nodes, around) if deep else {}
    texts = (_apart(inner, node, around, deep - 1) for inner, node in handed_on.items())
    return next((text for text in texts if text != x_0), x_0)


def _handed_on(
    name: str, nodes: Iterable[ast.AST], around: Mapping[str, ast.AST]
) -> dict[str, ast.AST]:
    """{what a function that is called calls a thing: its source}, of those that get it."""
    found: dict[str, ast.AST] = {}
    for each in (e for e in nodes if isinstance(e, ast.Call)):
        node = around.get(getattr(each.func, "attr", getattr(each.func, "id", "")))
        if isinstance(node, ast.FunctionDef):
            names = [a.arg for a in node.args.args if a.arg != "self"]
            by_place = zip(names, each.args, strict=False)
            by_name = ((k.arg, k.value) for k in each.keywords)
            given = [k for k, v in (*by_place, *by_name) if k and getattr(v, "id", "") == name]
            found |= dict.fromkeys(given, node)
    return found


def of_pictures(function: Any) -> dict[str, str]:
    """{parameter of a loop: the part of `shape` that it says}."""
    told = {name: PLACES[place] for name, place in of_loop(function).items() if place in PLACES}
    return {name: _part(place) for name, place in told.items()}


def _part(place: int | slice) -> str:
    """The part of `shape` that stands at a place.

    >>> _part(-1), _part(slice(1, None)), _part(slice(None))
    ('shape[-1]', 'shape[1:]', 'shape')
    """
    if isinstance(place, int):
        return f"shape[{place}]"
    return "shape" if place.start is None else f"shape[{place.start}:]"


def value(what: str, name: str, role: str | None, own: Mapping[str, str]) -> str:
    """What stands for a parameter in the lambda of a role; "" if nobody says."""
    if role in HANDED[what]:
        return HANDED[what][role]
    if what == "step" and plain(name) in AGAIN:
        return T_AS_INT
    table = meant(name)
    if table is not None and (table in own or table in TABLES):
        return own.get(table, TABLES.get(table, ""))
    if is_picture(name):  # the same for all images, by which it is known in the channels
        return {"step": "torch.zeros_like(x)", "loss": "torch.zeros_like(x_0)"}.get(what, ZEROS)
    if what == "loss" and name in LABELS and "mask" not in name:
        return "torch.arange(len(x_0)) % 10"
    if what == "sample" and name == "S":  # of how many steps, as Rombach et al. call it
        return "T"
    text = WHOLE.get(plain(name), "") if what in ("sample", "loss") else ""
    return "" if what == "loss" and "shape" in text else text


def embedded(way: Way, thing: str, built: Any, drops: bool, function: Any) -> str:
    """The rows of t by a class or a function that embeds.

    Args:
        way: how.
        thing: how the class or function is called.
        built: the `__init__` of the class, as `signed` reads it.
        drops: it has a dropout, which is to rest.
        function: what is called.
    """
    if way.built is not None:
        thing = f"{thing}({_words(way.built, built)})" + ".eval()" * drops
    if way.places is not None:
        shape, rows = (f"{ROWS}, 1", "t, 0") if way.places == 0 else (f"1, {ROWS}", "0, t")
        return f"{thing}(torch.zeros({shape}, dim))[{rows}]"
    return f"{thing}({_words(way.given, function)})" + "[t]" * way.of_table


def _words(values: Mapping[str, str], function: Any) -> str:
    asked = asked_for(function)
    texts = {name: str(ROWS) if value == "T" else value for name, value in values.items()}
    return ", ".join(text if n in asked else f"{n}={text}" for n, text in texts.items())
