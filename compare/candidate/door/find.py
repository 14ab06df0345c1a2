"""Finds how a scheduler is called: first what it declares, then what can be called at all.

Values decide nothing here. Where names and calls are silent, what else would fit is kept with the
fact (`Fact.others`), and `verdict/door` judges under the contract's reading first.
"""

import copy
import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import permutations, product
from typing import TYPE_CHECKING, Any

from compare.candidate.door import count, source
from compare.candidate.door.names import GENERATORS, role, roles
from compare.candidate.door.names import predicted as name_says
from compare.candidate.door.reading import (
    ALL_STEPS,
    BATCH,
    CANONICAL,
    CONTRACT,
    DOUBLED,
    EXCHANGED,
    FOUR_AXES,
    IMAGES,
    LISTED,
    NOT_LAST,
    NUMBER,
    ONE,
    POINTS,
    RGB,
    SAME,
    SEQUENCES,
    TENSOR,
    VOLUMES,
    Fact,
    Order,
    Reading,
    Told,
)
from compare.candidate.door.signature import BY_PLACE, named_keywords
from compare.candidate.load import Broken

if TYPE_CHECKING:
    from compare.candidate.subject import Subject

Length = Callable[["Subject"], tuple[int, dict[str, Fact]]]
OF_PICTURES = re.compile(r"(img|image|picture)s?(_|\d|$)")
OF_SEQUENCES = re.compile(
    r"(?i)\b(seq|sequence|time.?serie|serie|audio|waveform|token|action|horizon|trajectory|"
    r"trajectorie|motion|joint|residue|protein|speech|ecg|eeg|1-?d.signal|"
    r"one.dimensional|channels?, *length)s?(_|\b)"
)
FOREIGN = ("torch", "numpy", "diffusers", "builtins", "compare")  # whose text says nothing of data
SHOWS_PICTURES = re.compile(r"(?i)Conv2d|mnist|cifar|\b(img|image|picture|pixel|channel)s?(_|\b)")
# How a number for each of a batch is spread over what is a sequence, and a picture.
SPREAD_ON_TWO = re.compile(r"(view|reshape)\([^()]*, *1, *1\)|\[:, None, None\]")
SPREAD_ON_FOUR = re.compile(
    r"(view|reshape)\([^()]*, *1, *1, *1, *1\)|\[:, None, None, None, None\]"
)
SPREAD_ON_THREE = re.compile(r"(view|reshape)\([^()]*, *1, *1, *1\)|\[:, None, None, None\]")
ONE_NUMBER = re.compile(
    "TypeError: (only integer (tensors of a single element|scalar arrays)|list indices must be)"
)
OPTIONS = (*GENERATORS, "return_dict", "eta", "use_clipped_model_output")  # of a step, in words


def read(subject: "Subject", told: Told, length: Length) -> tuple[int, Reading]:
    """T, and how the candidate is called.

    Args:
        subject: the candidate.
        told: what the user decides.
        length: says T, and, where something says so, what t counts from and where its table
            begins.
    """
    found = dict(told)
    methods = [m for m in CONTRACT if subject.has(m)]
    for method in methods:
        if method not in found:
            found[method] = _order(subject, method)
    subject.door = CANONICAL.told(found)
    T, counted = length(subject)
    found |= {name: fact for name, fact in counted.items() if name not in told}
    found |= _declared(subject, found)
    subject.setting = replace(subject.setting, num_train_timesteps=T)
    found |= _visited(subject, T, found)
    for method in ("add_noise", "step", "get_velocity"):
        if method in methods:
            way = _structure(subject, method, found)
            found |= way
            if method == "step" and _is_judged_in_a_loop(subject, T, bool(way)):
                subject.in_loop_alone.add("step")
                words = "cannot be called alone: judged in the loop that calls it"
                subject.conventions["step"] = words
    subject.door = CANONICAL.told(found)
    if "t_base" not in found:
        by_end = count.by_end(subject, T)
        either = count.all_take(subject, T)
        found["t_base"] = by_end or (Fact(0, others=(1,)) if either else Fact(0))
    return T, CANONICAL.told(found)


def _is_judged_in_a_loop(subject: "Subject", T: int, is_called: bool) -> bool:
    """True if a candidate has a loop, and calls its step itself, which cannot be called alone, as
    it asks for the step after it, or for a place in its list."""
    if not subject.has("sample"):
        return False
    if subject.adapter is not None:
        return subject.by_names and _has_fewer(subject, T)
    step = subject.function("step")
    if is_called and not source.asks_for_a_place(source.parsed(step)):
        return False
    return any(True for _ in source.own_calls("step", subject.first, [*named_keywords(step)]))


def _has_fewer(subject: "Subject", T: int) -> bool:
    """True if a step is off the end of its tables before T, as one is that is told a place in the
    list of its loop."""
    first, last = (count.asked(subject, "step", t) for t in (0, T - 1))
    return first is not None and last is None


def _visited(subject: "Subject", T: int, found: dict[str, Fact]) -> dict[str, Fact]:
    """Which steps are visited, and what t counts from, by a list of some that it holds."""
    listed = count.own_list(subject.first, T) if subject.has("step") else []
    if not listed:
        return {}
    words = f"its own list of timesteps has {len(listed)} of {T}"
    said = {"visits": Fact(LISTED, "declared", words, (ALL_STEPS,))}
    if listed[-1] == 0:
        said["t_base"] = Fact(0, "declared", "its own list of timesteps ends with 0")
    return {name: fact for name, fact in said.items() if name not in found}


def predicted(subject: "Subject") -> str | None:
    """What the model predicts by the name of a step's parameter for its output, if that says it."""
    if not subject.has("step") or subject.door.step.others:
        return None
    order = subject.door.order("step")
    with suppress(TypeError, ValueError):
        parameters = Parameters(subject.function("step"))
        names = [p.name for p in parameters.all if p.kind in BY_PLACE]
        said = {**dict(zip(order.roles, names, strict=False)), **dict(order.named)}
        return name_says(said.get("out", ""))
    return None


class Parameters:
    """The parameters of a method that may be what it is handed: options by other names are none."""

    def __init__(self, function: Any):
        given = inspect.signature(function).parameters.values()
        self.anything = any(p.kind == inspect.Parameter.VAR_POSITIONAL for p in given)
        kinds = (*BY_PLACE, inspect.Parameter.KEYWORD_ONLY)
        self.all = [p for p in given if p.kind in kinds and p.name not in OPTIONS]

    @property
    def names(self) -> list[str]:
        """Of all of them."""
        return [p.name for p in self.all]

    @property
    def words(self) -> list[str]:
        """The same, where an annotation says which is t."""
        return ["t" if p.annotation in (int, "int") else p.name for p in self.all]

    def leave_out_generator(self, method: str) -> None:
        """An adapter's step takes it fourth, whatever its name."""
        late = "z" if method == "step" else "noise"  # that may come later
        self.all = [p for i, p in enumerate(self.all) if i < 3 or role(method, p.name) == late]

    def order(self, known: list[str | None]) -> Order:
        """How to hand over what each parameter stands for; None is left out."""
        by_place: list[str] = []
        named: list[tuple[str, str]] = []
        for i, (parameter, what) in enumerate(zip(self.all, known, strict=True)):
            if what is not None and parameter.kind in BY_PLACE and len(by_place) == i:
                by_place.append(what)
            elif what is not None:
                named.append((what, parameter.name))
        return Order(tuple(by_place), tuple(named))


def may_be_none(function: Any, order: Order, what: str) -> bool:
    """True if the parameter of a method that is handed `what` is None where it is handed nothing.

    >>> may_be_none(lambda x, t, noise=None: x, Order(("x_0", "t", "noise")), "noise")
    True
    """
    with suppress(TypeError, ValueError):
        parameters = Parameters(function)
        said = dict(zip(order.roles, parameters.all, strict=False))
        said |= {role: p for role, name in order.named for p in parameters.all if p.name == name}
        return what in said and said[what].default is None
    return False


def _order(subject: "Subject", method: str) -> Fact:
    """The order of the arguments: by their names, else by the candidate's own calls."""
    contract = Fact(Order(CONTRACT[method]))
    function = subject.function(method)
    try:
        parameters = Parameters(function)
    except (TypeError, ValueError):
        return contract
    if subject.adapter is not None:
        parameters.leave_out_generator(method)
        contract = Fact(contract.value, "declared", "the contract of an Adapter")
    if parameters.anything:
        return contract
    named = roles(method, parameters.words)
    draws = method == "add_noise" and sorted(map(str, named)) == ["t", "x_0"]  # its own noise
    is_own = subject.adapter is not None and not subject.by_names
    if is_own and not set(CONTRACT[method]) <= set(named) and not draws:
        return contract
    known = _completed(method, parameters, named)
    if known is not None:
        why = f"its parameters are named {', '.join(parameters.names)}"
        return Fact(parameters.order(known), "declared", why)
    called = None if subject.adapter else _by_calls(subject, method, parameters)
    if called is not None:
        return Fact(parameters.order(called), "declared", "its own code calls it so")
    orders = [parameters.order(o) for o in _possible(method, parameters, named)]
    return Fact(orders[0], others=tuple(orders[1:])) if orders else contract


def _completed(
    method: str, parameters: Parameters, known: list[str | None]
) -> list[str | None] | None:
    """What each parameter stands for, if no more than one has to be what is left; else None."""
    known = _without_optional_z(parameters, known)
    missing = [what for what in CONTRACT[method] if what not in known]
    open_ = _open(parameters, known)
    if missing == ["x"] and "z" in known and not open_:  # latents are called so
        return ["x" if what == "z" else what for what in known]
    if not missing and not open_:
        return known
    if len(missing) == len(open_) == 1:
        known[open_[0]] = missing[0]
        return known
    return known if method == "add_noise" and missing == ["noise"] and not open_ else None


def _without_optional_z(parameters: Parameters, known: list[str | None]) -> list[str | None]:
    """A step that draws its own noise where none is given is left to draw it."""
    optional = [p.default is not inspect.Parameter.empty for p in parameters.all]
    left = {"z", "out"} if None in known and bool(_open(parameters, known)) else {"z"}
    return [None if r in left and o else r for r, o in zip(known, optional, strict=True)]


def _open(parameters: Parameters, known: list[str | None]) -> list[int]:
    """The places of parameters that must be given and whose names say nothing."""
    return [
        i
        for i, (p, what) in enumerate(zip(parameters.all, known, strict=True))
        if what is None and p.default is inspect.Parameter.empty
    ]


def _possible(
    method: str, parameters: Parameters, known: list[str | None]
) -> Iterator[list[str | None]]:
    """Every order that the names leave open, the contract's first."""
    known = _without_optional_z(parameters, known)
    missing = [what for what in CONTRACT[method] if what not in known]
    open_ = _open(parameters, known)
    if len(missing) == len(open_):
        for chosen in permutations(missing):
            order = list(known)
            for place, what in zip(open_, chosen, strict=True):
                order[place] = what
            yield order


def _by_calls(subject: "Subject", method: str, parameters: Parameters) -> list[str | None] | None:
    """The order in which all calls in the candidate's own code that say it agree."""
    found = []
    for call in source.own_calls(method, subject.first, parameters.names):
        said = call.roles[: len(parameters.all)]
        known = _completed(method, parameters, said + [None] * (len(parameters.all) - len(said)))
        if known is not None:
            found.append(known)
    return found[0] if found and all(known == found[0] for known in found) else None


def _declared(subject: "Subject", found: dict[str, Fact]) -> dict[str, Fact]:
    """What the candidate's own calls of `step` and `add_noise` say of their t and z; an adapter has
    none."""
    declared: dict[str, Fact] = {}
    methods = (("step", "t_of_step"), ("add_noise", "t_of_add_noise"))
    for method, fact in methods if subject.adapter is None else ():
        for what, expressions in _handed(subject, method, found):
            if what == "t" and fact not in found and source.has_four_axes(expressions):
                declared[fact] = Fact(FOUR_AXES, "declared", "its own code calls it so")
            if what == "z" and "z" not in found and source.may_be_nothing(expressions):
                declared["z"] = Fact(NOT_LAST, "declared", "its own code gives 0 at the last step")
    if subject.has("step") and "z" in found["step"].value.takes and not {"z"} & {*found, *declared}:
        declared["z"] = Fact(CANONICAL.z.value, others=(NOT_LAST,))
    return declared


def _handed(subject: "Subject", method: str, found: dict[str, Fact]) -> Iterator[tuple]:
    """(role, its expressions) of what the candidate's own calls of a method hand over."""
    if method in found:
        names = [*named_keywords(subject.function(method))]
        for call in source.own_calls(method, subject.first, names):
            for place, what in enumerate(found[method].value.takes[: len(call.given)]):
                yield what, call.argument(place)


def _structure(subject: "Subject", method: str, found: dict[str, Fact]) -> dict[str, Fact]:
    """The first way in which a method can be called and gives x_{t-1} or x_t: the contract's first.

    Of the orders that are open, those that cannot be called fall away.
    """
    order = found.get(method, Fact(CANONICAL.order(method)))
    best: dict[str, Fact] = {}
    fitting = []
    for candidate in (order.value, *order.others):
        way = _first_way(subject, method, found | {method: Fact(candidate)})
        if way is not None:
            fitting.append(candidate)
            best = best or way
    if not fitting:
        return {}
    kept = Fact(fitting[0], order.rank, order.evidence, tuple(fitting[1:]))
    if order.others and not kept.others and kept.value != order.value:
        kept = Fact(kept.value, "structural", "it cannot be called in another order")
    return best | {method: kept}


def _first_way(subject: "Subject", method: str, found: dict[str, Fact]) -> dict[str, Fact] | None:
    """The first way that gives what was asked for, else the contract's if that answers at all.

    An answer of another shape is for the stages to blame, unless one of three channels, or of twice
    as many, gives that which was asked for, or one of sequences where its file has such.
    """
    answers: dict[str, Fact] | None = None
    said = _says(subject, method)
    if method != "step" and _asks_for_one_number(subject, method, found):
        said |= {NUMBER}
    for ways in _ways(method, found, said):
        taken = _taken(subject, method, CANONICAL.told(found | ways))
        others = {RGB, DOUBLED, *said & {SEQUENCES, VOLUMES}}
        wider = others & {fact.value for fact in ways.values()}
        if taken is not None and taken[1] and (answers is None or wider):
            return ways | _returned(method, taken[0])
        if taken is not None and not ways:
            answers = _returned(method, taken[0])
    return answers


def _asks_for_one_number(subject: "Subject", method: str, found: dict[str, Fact]) -> bool:
    """True if a method fails as Python does where a list is asked for several entries at once."""
    other = copy.copy(subject)
    other.door = CANONICAL.told(found)
    try:
        count.answer(other.fresh(subject.setting), method, 1, count.SHAPE)
    except Broken as broken:
        return bool(ONE_NUMBER.search(str(broken)))
    return False


def _says(subject: "Subject", method: str) -> set[str]:
    """What the parameters of a method say: that t is an int (many that say so take a tensor as
    well), or that what is noised are pictures; and its file, that they are sequences or
    volumes."""
    function, said = subject.function(method), set[str]()
    with suppress(TypeError, ValueError):
        given = [*inspect.signature(function).parameters.values()]
        said |= {NUMBER for p in given if p.annotation in (int, "int")}
        said |= {IMAGES for p in given if OF_PICTURES.match(p.name.lower())}
    for text in _texts(function):
        spread = SPREAD_ON_TWO.search(text) and not SPREAD_ON_THREE.search(text)
        may_be = not SHOWS_PICTURES.search(text) or OF_SEQUENCES.search(text)
        shows = "Conv1d" in text or (spread and may_be)
        said |= {SEQUENCES} if shows and "Conv2d" not in text else set()
        said |= {VOLUMES} if SPREAD_ON_FOUR.search(text) and "Conv2d" not in text else set()
    return said


def _texts(function: Any) -> list[str]:
    """The files of a function, and of what an adapter's calls; none that cannot be read."""
    modules, found = [inspect.getmodule(function)], []
    with suppress(TypeError):
        seen = inspect.getclosurevars(inspect.unwrap(function))
        for value in (*seen.nonlocals.values(), *seen.globals.values()):
            named = inspect.ismodule(value) or inspect.isfunction(value)
            modules.append(inspect.getmodule(value if named else type(value)))
    for module in dict.fromkeys(filter(None, modules)):
        if module.__name__.partition(".")[0] not in FOREIGN:
            with suppress(TypeError, OSError):
                found.append(inspect.getsource(module))
    return found


def _ways(method: str, found: dict[str, Fact], said: set[str]) -> Iterator[dict[str, Fact]]:
    """What may differ from the contract, the contract's way first.

    That images are noised one by one has to be said: so are mistakes that a batch alone shows.
    """
    t_name = "t_of_step" if method == "step" else "t_of_add_noise"
    kinds = (NUMBER, BATCH, ONE) if method == "step" else (BATCH, NUMBER)[: 1 + (NUMBER in said)]
    data = (IMAGES, RGB, POINTS, SEQUENCES, *said & {VOLUMES})[: 2 if IMAGES in said else 5]
    outputs = [found["output"].value] if "output" in found else [SAME, DOUBLED]
    options = {
        t_name: [found[t_name].value] if t_name in found else kinds,
        "data": [found["data"].value] if "data" in found else data,
        "output": outputs if method == "step" else [SAME],
    }
    for output, data, kind in product(options["output"], options["data"], options[t_name]):
        chosen = {t_name: kind, "data": data, "output": output}
        why = f"{method} can be called so, and not as in the contract"
        yield {
            name: Fact(value, "structural", why, (EXCHANGED,) if value == DOUBLED else ())
            for name, value in chosen.items()
            if value != getattr(CANONICAL, name).value and name not in found
        }


def _returned(method: str, returns: str) -> dict[str, Fact]:
    known = {"step": "step_returns", "add_noise": "add_noise_returns"}
    if method not in known or returns == TENSOR:
        return {}
    return {known[method]: Fact(returns, "structural", "seen when it was called")}


def _taken(subject: "Subject", method: str, reading: Reading) -> tuple[str, bool] | None:
    """What a method returns in mid-chain, and whether it fits; None if it raises."""
    other = copy.copy(subject)
    other.door = reading
    t = max(subject.setting.num_train_timesteps // 2, 1)
    answers: tuple[str, bool] | None = None
    for shape in (count.SHAPE, (2, 1, 8, 8)):
        try:
            scheduler = other.fresh(subject.setting)
            if method == "step":
                t = int(scheduler.near([t])[0])
            count.answer(scheduler, method, t, shape)
            return subject.returned[method], True
        except Broken as broken:
            if not broken.raised:
                answers = subject.returned.get(method, TENSOR), False
    return answers
