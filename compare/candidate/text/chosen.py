"""Which of somebody's functions fills which role: by what people call it, what it takes, and what
it does with a model."""

import ast
import re
from typing import Any

from compare.candidate.door.embedding import OPEN
from compare.candidate.door.names import CALLED, LABELS, plain
from compare.candidate.door.roles import role_of
from compare.candidate.door.signature import OF_SAMPLING, asked_for, named_keywords, of_loop
from compare.candidate.door.source import assigned
from compare.candidate.text import handed, sizes
from compare.candidate.text.does import (
    adds_noise,
    asks,
    asks_alone,
    callee,
    draws,
    loops,
    returns_a_loss,
    trains,
    yields,
)
from compare.candidate.text.found import Source
from compare.candidate.text.later import asked, asked_by
from compare.candidate.text.own.condition import is_picture
from compare.candidate.text.own.words import looks_up

OF_DIFFUSION = re.compile(
    r"diffus|ddpm|ddim|nois|[qp]_sample|p_losses|alphas?_?(bar|cum|hat)|\ba_?bars?\b"
    r"|epsilon|cumprod|\bsnr\b",
    re.IGNORECASE,
)
OF_LOOPS = re.compile("ddpm|ddim|psample|reverse|diffus")  # no other model's are called so
NOISING = re.compile("noising|corrupt|perturb|diffus|qsample|forward")  # what a method is called
OF_GUIDANCE = re.compile("guid|^cfg|cfg$")  # what the weight of two answers is called
CALLS = ("forward", "__call__")  # what a class does if it is called


def chosen(found: Source) -> dict[str, str]:
    """{role: the name of the function that fills it}, by what people call it and what it takes.

    Whole roles are called as those of other models are: they are chosen where something is of a
    diffusion.
    """
    by_name = {}
    for what, words in CALLED.items():
        called = words.split()
        fitting = [n for n in found.functions if plain(n) in called and _takes(found, what, n)]
        if fitting:
            by_name[what] = min(fitting, key=lambda name: called.index(plain(name)))
    others = _by_what_they_take(found, by_name)
    if found.class_name:
        others = _called_as_noising(found, others) | _step_that_draws(found, others)
    others = _by_what_they_do(found) | _one_step(found) | others
    both = others | by_name if OF_DIFFUSION.search(found.text) else {}
    both = {what: name for what, name in both.items() if not asked_by(name)}
    if "loss" in both:
        both["loss"] = _that_draws_t(both["loss"], found)
    if any(helps(found, both) for helps in (_is_a_mean, _goes_along_a_list, _gives_parts)):
        del both["step"]
    return {what: both[what] for what in CALLED if what in both}


def left_out(found: Source, as_it_is: bool) -> dict[str, list[str]]:
    """{role: methods that do what it is for, and that nothing calls which is chosen}: the loops
    that ask a model step after step, the losses that are made of what it answers, what is
    called as a step is and adds noise, what makes something of pictures and alpha-bar, what
    averages weights, a guidance that is not run, and the words of a schedule by which it may be
    built.

    `as_it_is`: of a class that is judged by the names of its methods alone, and by no adapter.
    """
    fill = chosen(found)
    fill = {what: n for what, n in fill.items() if n == what} if as_it_is else fill
    judged = reached({*fill.values()}, found)
    rest = [n for n in found.functions if n not in judged and not n.startswith("_")]
    rest = [n for n in rest if not trains(found.functions[n])]
    loop = [n for n in rest if loops(n, found.around)]
    loop = [n for n in loop if fill.get("loss") not in reached({n}, found)]  # else it trains
    made = [n for n in rest if n not in loop and asks(n, found.around)]
    losses = [n for n in made if returns_a_loss(n, found.around)]
    called = CALLED["step"].split()
    steps = [n for n in rest if n not in loop and plain(n) in called and _has_noise(found, n)]
    levels = _made_of_levels(rest, found)
    steps += [n for n in levels if n not in [*loop, *made, *steps] and _draws_for_two(found, n)]
    every = {"sample": loop, "loss": losses, "step": steps, "ema": _averages(found)}
    every["add_noise"] = [] if fill or steps else levels
    every["guidance"] = _guidance(found, fill.get("sample", ""))
    every["schedule"] = _other_schedules(found)
    return {role: names for role, names in every.items() if names}


def _made_of_levels(names: list[str], found: Source) -> list[str]:
    """Those that look alpha-bar up by one of several things that they are handed."""
    asked = {name: {*asked_for(found.signed(name))} for name in names}
    looked_up = {name: looks_up(found.functions[name]) & asked[name] for name in names}
    return [name for name in names if looked_up[name] and asked[name] - looked_up[name]]


def _draws_for_two(found: Source, name: str) -> bool:
    """True if a function draws noise, and is handed two things beside what it looks alpha-bar up
    by, as a step is."""
    asked = {*asked_for(found.signed(name))} - looks_up(found.functions[name])
    return len(asked) > 1 and draws(name, found.around)


def _guidance(found: Source, loop: str) -> list[str]:
    """The guidance of a loop whose labels are none by default, with the name of its weight."""
    named = named_keywords(found.signed(loop)) if loop else {}
    labels = [name for name, default in named.items() if name in LABELS and default is None]
    weights = [name for name in named if OF_GUIDANCE.search(plain(name))]
    return [f"guidance ({weights[0]})"] if labels and weights else []


def _other_schedules(found: Source) -> list[str]:
    """The words that what builds a class compares its schedule's with, but for the default."""
    if found.built is None:
        return []
    named = named_keywords(found.signed("__init__"))
    words = {n: v for n, v in named.items() if isinstance(v, str) and "schedule" in plain(n)}
    others = list[str]()
    for node in ast.walk(found.built):
        match node:
            case ast.Compare(ast.Name(name), [ast.Eq()], [ast.Constant(word)]) if name in words:
                others += [f"{name}={word!r}"] if word != words[name] else []
    return list(dict.fromkeys(others))


def _averages(found: Source) -> list[str]:
    """What averages weights, of a class: its methods, and classes and functions that it uses."""
    nodes = [node for function in found.functions.values() for node in ast.walk(function)]
    used = {callee(node) for node in nodes} & {*found.classes, *found.around}
    named = dict.fromkeys((*found.functions, *sorted(used)))
    later = {name: asked(name) for name in named}
    return [name for name, role in later.items() if role is not None and role.name == "ema"]


def reached(names: set[str], found: Source) -> set[str]:
    """These functions, and all that they call of the others."""
    nodes = [node for name in names for node in ast.walk(found.functions[name])]
    called = {callee(node) for node in nodes} & {*found.functions}
    return names if called <= names else reached(names | called, found)


def _is_a_mean(found: Source, both: dict[str, str]) -> bool:
    """True if what would be the step leaves its noise to the loop beside it."""
    step, loop = both.get("step"), both.get("sample")
    if step is None or loop is None or _has_noise(found, step):
        return False
    return adds_noise(loop, found.around)


def _gives_parts(found: Source, both: dict[str, str]) -> bool:
    """True if what would be the step draws nothing and gives the loop several things, none of which
    is its next x: the noise and x_0, of which the loop makes that."""
    step, loop = both.get("step"), both.get("sample")
    if step is None or loop is None or _has_noise(found, step):
        return False
    made = [e for e in ast.walk(found.around[loop]) if isinstance(e, ast.Assign)]
    calls = [(e.targets[0], e.value) for e in made if callee(e.value) == step]
    return bool(calls) and all(
        isinstance(target, ast.Tuple) and not {*map(ast.unparse, target.elts)} & _handed_to(call)
        for target, call in calls
    )


def _handed_to(call: ast.expr) -> set[str]:
    return {*map(ast.unparse, call.args)} if isinstance(call, ast.Call) else set()


def _that_draws_t(loss: str, found: Source) -> str:
    """A loss; of one that is handed its t the function that draws it, takes the pictures, and
    returns what that gives, if there is one such."""
    if "t" not in handed.known("loss", found.signed(loss)).values():
        return loss
    fitting = []
    for name, node in found.functions.items():
        function = found.signed(name)
        known = handed.known("loss", function).values()
        returned = [e.value for e in ast.walk(node) if isinstance(e, ast.Return)]
        values = dict(assigned(node))
        given = [values.get(getattr(e, "id", ""), e) for e in returned]
        is_it = bool(given) and all(loss in {callee(e) for e in ast.walk(v or node)} for v in given)
        whole = "t" not in known and OPEN not in found.called("loss", name)
        if is_it and whole and "x_0" in known and not trains(node):
            fitting.append(name)
    return fitting[0] if len(fitting) == 1 else loss


def _goes_along_a_list(found: Source, both: dict[str, str]) -> bool:
    """True if what would be the step is told a place in a list of timesteps, by which it looks up
    its tables, and a loop goes along that list."""
    step = both.get("step")
    if step is None or "sample" not in both:
        return False
    known = handed.known("step", found.signed(step))
    places = {name for name, what in known.items() if what == "t"}
    node = found.functions[step]
    listed = {name for name, value in assigned(node) if _goes_by(value, places)}
    return any(_goes_by(each, listed) for each in ast.walk(node))


def _goes_by(node: ast.AST, places: set[str]) -> bool:
    """True for what is looked up by one of these names."""
    index = node.slice if isinstance(node, ast.Subscript) else ast.Constant(None)
    return any(getattr(each, "id", "") in places for each in ast.walk(index))


def _by_what_they_do(found: Source) -> dict[str, str]:
    """{role: a method that nobody calls so} of those that ask a model: the loop that asks it step
    after step, and the loss that is made of what it answers; first of all what the module does if
    it is called."""
    roles: dict[str, str] = {}
    for name in sorted(found.functions, key=lambda name: name not in CALLS):
        function, is_call = found.signed(name), name in CALLS
        known = handed.known("loss", function)
        if (name.startswith("_") and not is_call) or not (
            found.owns_model or handed.models_of(function)
        ):
            continue
        if loops(name, found.around):
            fits, what = is_call or _samples(name, function, found), "sample"
        else:
            makes = asks(name, found.around) and returns_a_loss(name, found.around)
            makes = makes and not yields(found.functions[name])
            makes = makes and plain(name) not in CALLED["step"].split()
            fits, what = makes and (is_call or "x_0" in known.values()), "loss"
        is_whole = is_call or OPEN not in found.called(what, name)
        if fits and is_whole and what not in roles:
            roles[what] = name
    return roles


def _one_step(found: Source) -> dict[str, str]:
    """The step that a function alone is which asks a model it is handed, once, and draws noise."""
    name = next(iter(found.functions), "")
    if len(found.functions) != 1 or found.class_name or loops(name, found.around):
        return {}
    function = found.signed(name)
    is_step = {"x", "t"} <= {*handed.known("step", function).values()}
    is_step = is_step and bool(handed.models_of(function)) and asks(name, found.around)
    is_step = is_step and draws(name, found.around) and not returns_a_loss(name, found.around)
    return {"step": name} if is_step and OPEN not in found.called("step", name) else {}


def _samples(name: str, function: Any, found: Source) -> bool:
    """True for a loop that is called as one, or is told how many pictures to make, or of which
    others, and trains nothing."""
    told = {sizes.COUNT, sizes.SHAPE} & {*of_loop(function).values()}
    told |= {*filter(is_picture, asked_for(function))}
    return bool(OF_SAMPLING.search(plain(name))) or bool(told and not trains(found.functions[name]))


def _by_what_they_take(found: Source, by_name: dict[str, str]) -> dict[str, str]:
    """{role: a function that nobody calls so} of those whose parameters say the role."""
    rest = [n for n in found.functions if n not in by_name.values()]
    rest = [n for n in rest if n in CALLS or not n.startswith("_")]
    roles = [(name, role_of(found.signed(name))) for name in rest]
    fitting = [(what, name) for name, role in roles for what in CALLED if what in role]
    return dict(reversed(fitting))


def _called_as_noising(found: Source, by_take: dict[str, str]) -> dict[str, str]:
    """Its `add_noise` by what it takes and what it, or a class that is called, is called; what else
    takes the same is v."""
    name = by_take.get("add_noise", "")
    word = found.class_name or "" if name in CALLS else name
    return {"add_noise": name} if NOISING.search(plain(word)) else {}


def _step_that_draws(found: Source, by_take: dict[str, str]) -> dict[str, str]:
    """Its step by what it takes; what else takes the same makes x_0, and draws nothing."""
    name = by_take.get("step")
    if name is None:
        return {}
    return {"step": name} if _has_noise(found, name) else {}


def _has_noise(found: Source, step: str) -> bool:
    """True if a step draws its noise, or is handed it."""
    given = handed.known("step", found.signed(step)).values()
    return draws(step, found.around) or "z" in given


def _has_output(found: Source, step: str) -> bool:
    """True if a step is handed the model's output, or what no name says; or a model that it asks,
    unless it is held where we can put our own."""
    function = found.signed(step)
    handed_over = "out" in handed.known("step", function).values() or handed.models_of(function)
    return found.owns_model or bool(handed_over) or OPEN in found.called("step", step)


def _takes(found: Source, what: str, name: str) -> bool:
    """True if a function takes what its role needs: the picture and t; or the model, if that is not
    held, nor tables that it goes by."""
    function, node = found.signed(name), found.functions[name]
    known = handed.known(what, function)
    is_loop = loops(name, found.around)
    if what == "add_noise" and name in CALLS and "noise" not in known.values():  # a network's
        return False
    if what in ("add_noise", "step"):
        one = not (is_loop or asks_alone(node)) if what == "step" else not asks(name, found.around)
        one = one and (what == "add_noise" or _has_output(found, name))
        return one and {"x_0" if what == "add_noise" else "x", "t"} <= {*known.values()}
    if what == "sample" and not is_loop and {"x", "t"} <= {*known.values()}:  # it is one step
        return False
    if what == "loss" and (trains(node) or yields(node)):
        return False
    held = found.owns_model or (found.class_name and OF_LOOPS.search(plain(name)))
    has_model = held or bool(handed.models_of(function))
    return bool(has_model) and (what == "sample" or "x_0" in known.values())
