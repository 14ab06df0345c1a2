"""A file read as if what has words of its own had usual ones: names in other languages, or short.

What a thing is, its use says. Alpha-bar is what `cumprod` gives; a model is what is called with
something and a time; x_t is made by what hands its result to the model, of what it is given there:
noise is what was drawn, t a number that was drawn or counted. A name that says something is never
read otherwise, and one that two uses would have two ways is left as it is.
"""

import ast
import copy
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

from compare.candidate.door.names import (
    CALLED,
    GENERATORS,
    LABELS,
    MODELS,
    OF_LOOPS,
    SEEDS,
    plain,
    role,
)
from compare.candidate.door.signature import TABLES
from compare.candidate.door.source import each_assigned, is_model
from compare.candidate.door.tables import meant
from compare.candidate.text.does import LOSSES, asks, callee, loops, returns_a_loss
from compare.candidate.text.offered import Function
from compare.candidate.text.own.condition import conditions, is_picture, joined
from compare.candidate.text.own.network import builds_network, of_self

USUAL = {  # {what a thing is: words that are read so, of which a file takes the first that is free}
    "alpha_bar": ("alphas_cumprod", "alphas_bar"),
    "betas": ("betas", "beta_t", "betas_t"),
    "model": ("denoise_fn", "eps_model", "score_model"),
    "kept": ("denoiser", "nn_model", "eps_net"),
    "x_0": ("x_start", "x_init", "original_images"),
    "noise": ("eps_t", "noise_t", "noises"),
    "t": ("tt", "idx", "times"),
    "add_noise": ("noise_images", "q_sample", "noisify"),
    "count": ("how_many", "num_imgs", "n_batch"),
    "side": ("side_length", "image_size", "resolution"),
    "channels": ("n_channels", "num_channels", "image_channels"),
    "features": ("n_features", "feature_dim", "features"),
    "shape": ("input_shape", "img_shape", "image_shape"),
    "condition": ("condition_image", "image_condition", "cond_image"),
    "steps": ("n_timesteps", "num_steps", "total_steps"),
}
STEPS = {plain(word) for word in USUAL["steps"]}
CHAINED = {"to", "cuda", "cpu", "float", "double", "numpy", "clone", "detach", "type", "astype"}
NORMAL = {"randn", "randn_like", "normal", "standard_normal", "normal_"}
COUNTED = {"randint", "randint_like", "randperm", "integers", "arange"}
COUNTED |= {"full", "full_like", "tensor", "as_tensor", "LongTensor"}
OF_ALPHA_BAR = {"alphas_cumprod", "sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod"}
Own = dict[str, str]


@lru_cache(maxsize=32)
def usual(text: str) -> tuple[ast.Module, Own]:
    """What is written in a file, with usual names, and {usual name: its own} of those that were
    exchanged.

    Raises:
        SyntaxError: it is no Python.

    >>> text = "def verlust(netz, bild):\\n    t = torch.randint(0, T, (8,))\\n"
    >>> tree, own = usual(text + "    return mse_loss(netz(bild + 1, t), bild)")
    >>> own, tree.body[0].args.args[1].arg
    ({'denoise_fn': 'netz', 'x_start': 'bild'}, 'x_start')
    """
    tree, own = ast.parse(text), Own()
    looks = (_tables, _betas, _models, _conditions, _losses, _noising, _noised, _loops, _lengths)
    for look in looks:
        found = [*dict.fromkeys(look(tree))]
        sure = [(name, what) for name, what in found if [n for n, _ in found].count(name) == 1]
        words = _words(tree, sure)
        tree = _Renamed(words).visit(copy.deepcopy(tree)) if words else tree
        own |= {word: name for name, word in words.items()}
    return tree, own


def in_own_words(text: str, own: Mapping[str, str]) -> str:
    """A text about such a file in the words of the file."""
    return re.sub(r"\b\w+\b", lambda word: own.get(word[0], word[0]), text)


def _words(tree: ast.Module, found: list[tuple[str, str]]) -> dict[str, str]:
    """{name: the word for what it is}, each a word that the file has not."""
    taken = {*_identifiers(tree)}
    words: dict[str, str] = {}
    for name, what in found:
        free = [word for word in USUAL[what] if word not in {*taken, *words.values()}]
        words |= {name: free[0]} if free else {}
    return words


def _identifiers(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        for part in ("id", "attr", "arg", "name"):
            if isinstance(word := getattr(node, part, None), str):
                yield word


def _tables(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """What the product of a table is called, where nothing is called alpha-bar."""
    named = _values(tree)
    products = {name for name, value in named.items() if callee(_inner(value)) == "cumprod"}
    products |= {name for name, value in named.items() if _name(value) in products}
    buffers = [e for e in ast.walk(tree) if callee(e) == "register_buffer"]
    for call in (e for e in buffers if isinstance(e, ast.Call) and len(e.args) > 1):
        word, table = call.args[:2]
        if _name(table) in products or callee(_inner(table)) == "cumprod":
            products.add(str(getattr(word, "value", "")))
    products -= {""}
    shown: list[object] = [e.attr for e in ast.walk(tree) if isinstance(e, ast.Attribute)]
    shown += [e.value for e in ast.walk(tree) if isinstance(e, ast.Constant)]
    lines = [node for node in tree.body if isinstance(node, ast.Assign)]
    shown += [_name(t) for line in lines for t, _ in each_assigned(line)]
    words = [str(word) for word in shown if str(word).isidentifier()]
    if any(plain(word) in TABLES or meant(word) == "alphas_cumprod" for word in words):
        return
    if len(products) == 1 and meant(name := products.pop()) is None:
        yield name, "alpha_bar"


def _betas(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Parameters that are betas by what is made of them, `(1 - b).cumprod(0)`, or by what the
    function calls them that they are handed on to."""
    named = {f.name: f for f in _functions(tree)}
    for function in named.values():
        asked = {each for each in _asked(function) if meant(each) is None}
        for call in (e for e in ast.walk(function) if isinstance(e, ast.Call)):
            inner = call.func.value if isinstance(call.func, ast.Attribute) else None
            given = [inner, *call.args] if callee(call) == "cumprod" else []
            left = [e for e in given if isinstance(e, ast.BinOp) and ast.unparse(e.left) == "1"]
            yield from ((_name(e.right), "betas") for e in left if _name(e.right) in asked)
            other = named.get(callee(call))
            pairs = zip(_asked(other), call.args, strict=False) if other else ()
            for parameter, value in pairs:
                if plain(parameter) in ("beta", "betas") and _name(value) in asked:
                    yield _name(value), "betas"


def _models(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """What a function is handed, or a class keeps of what it is built with, and is called with a
    time, where nothing is called a model."""
    calls = [e for e in ast.walk(tree) if isinstance(e, ast.Call) and _told(e) > 1]
    if any(is_model(call) for call in calls):
        return
    classes = {e.name: e for e in ast.walk(tree) if isinstance(e, ast.ClassDef)}
    kept: dict[str, str] = {}  # {attribute: the parameter that it is; its own name if it is built}
    for built in (f for f in _functions(tree) if f.name == "__init__"):
        given = [each.arg for each in built.args.args]
        for target, value in each_assigned(built):
            if of_self(target) and _name(value) in given:
                kept[of_self(target)] = _name(value)
            elif of_self(target) and builds_network(_inner(value), classes):
                kept[of_self(target)] = of_self(target)
    for function in _functions(tree):
        asked = {each.arg for each in function.args.args}
        for call in (e for e in ast.walk(function) if isinstance(e, ast.Call) and _told(e) > 1):
            name, attribute = getattr(call.func, "id", ""), of_self(call.func)
            if LOSSES.search(name or attribute) or not _has_time(call, function):
                continue
            if name in asked and _says_nothing(name):
                yield name, "model"
            if attribute in kept and _says_nothing(attribute):
                yield attribute, "model"
                yield from [(kept[attribute], "kept")] * (kept[attribute] != attribute)


def _conditions(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Pictures that stand beside x_t in what a model is given."""
    for name in conditions(tree):
        if not is_picture(name):
            yield name, "condition"


def _losses(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The pictures of a loss: all that it asks for beside its model."""
    named = {f.name: f for f in _functions(tree)}
    for name, function in named.items():
        if asks(name, named) and returns_a_loss(name, named) and not loops(name, named):
            rest = [each for each in _asked(function) if each not in MODELS | LABELS]
            rest = [each for each in rest if not is_picture(each)]
            if len(rest) == 1 and _says_nothing(rest[0]):
                yield rest[0], "x_0"


def _noising(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """What makes x_t for the model, and what it is handed there."""
    named = {f.name: f for f in _functions(tree)}
    known = {word for words in CALLED.values() for word in words.split()}
    for name, function in named.items():
        if not asks(name, named) or loops(name, named) or not returns_a_loss(name, named):
            continue
        values = _values(function)
        asked = [e for e in ast.walk(function) if isinstance(e, ast.Call) and is_model(e)]
        every = [a for call in asked for a in call.args]
        every += [part for parts in joined(function) for part in parts]
        given = [values.get(_name(a), a) for a in every]
        for call in (e for e in given if isinstance(e, ast.Call) and callee(e) in named):
            noising = named[callee(call)]
            if asks(noising.name, named):
                continue
            if plain(noising.name) not in known:
                yield noising.name, "add_noise"
            parameters = [e.arg for e in noising.args.args if e.arg != "self"]
            for parameter, argument in zip(parameters, call.args, strict=False):
                what = _handed(argument, values, function)
                if role("add_noise", parameter) is None and what:
                    yield parameter, what


def _noised(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """What draws noise for pictures that it is handed, and looks alpha-bar up by what else it is
    handed: these are x_0 and t."""
    named = {f.name: f for f in _functions(tree)}
    known = {word for words in CALLED.values() for word in words.split()}
    for name, function in named.items():
        asked, looked_up = _asked(function), looks_up(function)
        drawn = {_name(each) for each in _given_to_draws(function)} & {*asked}
        if len(asked) != 2 or not drawn or {*drawn, *looked_up} != {*asked} or asks(name, named):
            continue
        if plain(name) not in known:
            yield name, "add_noise"
        for each in asked:
            if role("add_noise", each) is None:
                yield each, "x_0" if each in drawn else "t"


def looks_up(function: ast.AST) -> set[str]:
    """The names by which a function looks up alpha-bar, or what is made of that alone.

    >>> looks_up(ast.parse("def noised(pics, level): return pics * alphas_cumprod[level]"))
    {'level'}
    """
    found = [e for e in ast.walk(function) if isinstance(e, ast.Subscript)]
    return {_name(e.slice) for e in found if meant(_name(e.value)) in OF_ALPHA_BAR} - {""}


def _given_to_draws(function: ast.AST) -> Iterator[ast.expr]:
    """Whose shape the noise has that a function draws: `x` of `randn_like(x)`, `randn(x.shape)`."""
    for call in (e for e in ast.walk(function) if callee(e) in NORMAL):
        assert isinstance(call, ast.Call)
        yield from (getattr(each, "value", each) for each in call.args)


def _handed(argument: ast.expr, values: Mapping[str, ast.expr], function: Function) -> str:
    """What is handed over: noise, t, or the pictures; "" if nobody knows."""
    value = _inner(values.get(_name(argument), argument))
    if callee(value) in NORMAL:
        return "noise"
    if callee(value) in COUNTED or role("add_noise", _name(argument)) == "t":
        return "t"
    return "x_0" if role("add_noise", _name(argument)) == "x_0" else ""


def _loops(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """What a loop, or what builds its class, is told of its pictures: by where that stands in the
    shape of what the loop draws."""
    named = {f.name: f for f in _functions(tree)}
    built = [pair for f in _functions(tree) if f.name == "__init__" for pair in _kept(f)]
    kept = {attribute: given for attribute, given in built if _says_nothing(attribute)}
    for name, function in named.items():
        asked = {each.arg for each in function.args.args if _says_nothing(each.arg)} - {"self"}
        if not (asked or kept) or not loops(name, named):
            continue
        for call in (e for e in ast.walk(function) if callee(e) in NORMAL | {"rand", "zeros"}):
            assert isinstance(call, ast.Call)
            rows = [k.value for k in call.keywords if k.arg == "size"] or call.args
            if len(rows) == 1 and isinstance(rows[0], ast.Tuple | ast.List):
                rows = rows[0].elts
            axes = [*_axes(rows)]
            yield from ((each, what) for each, what in axes if each in asked)
            of_built = [(each, what) for each, what in axes if each in kept and what != "count"]
            yield from of_built
            yield from ((kept[e], what) for e, what in of_built if kept[e] != e)


def _kept(built: Function) -> Iterator[tuple[str, str]]:
    """(attribute, parameter) of what an `__init__` keeps as it is handed it."""
    asked = _asked(built)
    for target, value in each_assigned(built):
        if of_self(target) and getattr(value, "id", "") in asked:
            yield of_self(target), _name(value)


def _axes(rows: list[ast.expr]) -> Iterator[tuple[str, str]]:
    """(name, what it says) of the axes of a shape; a number for all is said once."""
    names = [_name(each) for each in rows] or [""]
    starred = [e.value for e in rows if isinstance(e, ast.Starred)]
    if len(names) == 1 and not starred:
        yield names[0], "shape"
        return
    yield names[0], "count"
    if starred:
        yield _name(starred[0]), "shape"
    elif len(names) == 2:
        yield names[1], "features"
    elif len(names) == 4:
        yield names[1], "channels"
        yield from [(names[3], "side")] * (names[2] == names[3])


def _lengths(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """How many steps a class is told that it is to have."""
    for function in (f for f in _functions(tree) if f.name == "__init__"):
        asked = {each for each in _asked(function) if _says_nothing(each)}
        for call in (e for e in ast.walk(function) if isinstance(e, ast.Call)):
            third = [a for a in call.args[2:3] if callee(call) == "linspace"]
            third += [k.value for k in call.keywords if k.arg in ("steps", "num")]
            yield from ((_name(a), "steps") for a in third if _name(a) in asked)


def _functions(tree: ast.AST) -> list[Function]:
    return [node for node in ast.walk(tree) if isinstance(node, Function)]


def _asked(function: Function) -> list[str]:
    """Names of the parameters without a default."""
    given = [*function.args.posonlyargs, *function.args.args]
    asked = given[: len(given) - len(function.args.defaults)]
    return [each.arg for each in asked if each.arg != "self"]


def _says_nothing(name: str) -> bool:
    """True for a name that nobody knows."""
    word = plain(name)
    known = {word for words in OF_LOOPS.values() for word in words} | {*TABLES, *STEPS}
    roles = [role(method, name) for method in ("step", "add_noise")]
    says = name in MODELS | LABELS | GENERATORS | SEEDS or word in known or any(roles)
    says = says or is_picture(name)
    return not (says or meant(name))


def _told(call: ast.Call) -> int:
    return len(call.args) + len(call.keywords)


def _has_time(call: ast.Call, function: Function) -> bool:
    """True if one of the arguments is t by its name, or was drawn or counted; or if one behind the
    first is computed of such: `i / T * ones`."""
    counts = {_name(e.target) for e in ast.walk(function) if isinstance(e, ast.For)}
    values = {name: _inner(value) for name, value in _values(function).items()}
    computed = [part for each in call.args[1:] for part in _factors(each)]
    for argument in [*call.args, *(k.value for k in call.keywords), *computed]:
        name = _name(_inner(argument))
        made = values.get(name, _inner(argument))
        if role("step", name) == "t" or name in counts or callee(made) in COUNTED:
            return True
    return False


def _factors(node: ast.expr) -> list[ast.expr]:
    """What a product, a quotient or a sum is made of."""
    if isinstance(node, ast.BinOp):
        return [*_factors(node.left), *_factors(node.right)]
    return [node]


def _values(node: ast.AST) -> dict[str, ast.expr]:
    """{name: what it is given}, of what has one."""
    return {_name(t): value for t, value in each_assigned(node) if _name(t)}


def _inner(value: ast.expr) -> ast.expr:
    """What is called before `.to(device)` and such."""
    while callee(value) in CHAINED and isinstance(value, ast.Call):
        function = value.func
        if not isinstance(function, ast.Attribute):
            break
        value = function.value
    return value


def _name(node: ast.expr) -> str:
    """Of a name, or of an attribute of `self`; "" for anything else."""
    return getattr(node, "id", "") if isinstance(node, ast.Name) else of_self(node)


class _Renamed(ast.NodeTransformer):
    """Writes other words for names, attributes of `self`, parameters and what is called by name."""

    def __init__(self, words: Mapping[str, str]):
        self.words = words

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for part in ("id", "attr", "arg", "name"):
            word = str(getattr(node, part, None))
            if word in self.words and not isinstance(node, ast.ClassDef):
                setattr(node, part, self.words[word])
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = self.words.get(node.value, node.value)
        return node
