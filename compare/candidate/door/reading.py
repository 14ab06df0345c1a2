"""What is known of a scheduler's door, and by which evidence.

A convention is a choice that the candidate's own other parts, or its own words, share; a mistake is
contradicted by some part of the same program. What is declared decides and is never overruled by
values. Nothing here imports torch, so that the command line can refuse a word before a run.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from compare.candidate.door.names import role

Rank = Literal["declared", "structural", "behaviour"]
Told = Mapping[str, "Fact"]  # facts that are decided from outside
CONTRACT = {
    "step": ("out", "t", "x"),
    "add_noise": ("x_0", "noise", "t"),
    "get_velocity": ("x_0", "noise", "t"),
}
LONG = {"out": "model_output", "x": "x_t"}  # the words of the contract
NUMBER, BATCH, FOUR_AXES = "an int", "a tensor (b,)", "a tensor (b, 1, 1, 1)"
ONE = "a tensor (1,) for all images"
SHAPES_OF_T = {"int": NUMBER, "(b,)": BATCH, "(b,1,1,1)": FOUR_AXES}
IMAGES, RGB, POINTS = "images (b, c, h, w)", "images (b, 3, h, w)", "points (b, d)"
SEQUENCES, VOLUMES = "sequences (b, l, d)", "volumes (b, c, d, h, w)"
SAME, DOUBLED = "as many channels as x_t", "twice the channels, the second half for the variance"
EXCHANGED = "twice the channels, the first half for the variance"
HALVES = {"out,v": DOUBLED, "v,out": EXCHANGED}
ALL_STEPS, LISTED = "all steps of its chain", "its own list of steps alone"
ALWAYS, NOT_LAST = "z at every step", "z but for the last step, where it is 0"
TENSOR = "a tensor"  # what a method returns
SIGNED, UNIT = "[-1, 1]", "[0, 1]"  # what pictures are in
UNMAPPED = "[0, 1], also inside"  # those that the network sees too
BYTES = "0..255"
PLAIN, MINUS, SCORE = "what it predicts", "minus what it predicts", "the score, -eps / sqrt(1 - ab)"
RANGES = {"[-1,1]": SIGNED, "[0,1]": UNIT, "unmapped": UNMAPPED, "bytes": BYTES}
SAID: tuple[tuple[str, str, dict[str, Any]], ...] = (  # (a word, its fact, {value: in full})
    ("t", "t_base", {"0": 0, "1": 1}),
    ("t", "t_of_step", SHAPES_OF_T | {"(1,)": ONE}),
    ("t_of_add_noise", "t_of_add_noise", SHAPES_OF_T),
    ("z", "z", {"0": NOT_LAST, "1": ALWAYS}),
    ("visits", "visits", {"all": ALL_STEPS, "listed": LISTED}),
    ("prediction", "prediction", {k: k for k in ("epsilon", "sample", "v_prediction")}),
    ("output", "output", HALVES),
    ("pictures", "pictures", RANGES),
    ("answers", "answers", {"plain": PLAIN, "minus": MINUS, "score": SCORE}),
)
OPTIONS = (
    "step=x,t,out, add_noise=x_0,t,noise, get_velocity=x_0,noise,t (each in its own order); t=0 or "
    "t=1 (what t counts from); t=int, t=(b,), t=(1,) or t=(b,1,1,1) (of step; t_of_add_noise=int "
    "and so on, of add_noise); z=0 or z=1 (what a step is given for its noise at the last t); "
    "visits=all or visits=listed (from which t, and to which, its step goes); "
    "prediction=epsilon, sample or v_prediction; output=out,v or output=v,out (which half of twice "
    "the channels is for the variance); "
    "pictures=[-1,1], pictures=[0,1], pictures=bytes or pictures=unmapped (of loss and loop; the "
    "last are in [0, 1] for the network too); answers=plain, answers=minus or answers=score (what "
    "the model gives for what it predicts, in loss and loop)"
)


@dataclass(frozen=True)
class Fact:
    """One thing that is known of the door.

    Attributes:
        value: what it is.
        rank: of its evidence: `declared` (names, lists, tables, its own calls, the user's words),
            `structural` (what can be called at all) or `behaviour` (values; the contract's reading
            is tried first).
        evidence: the same in words.
        others: what else would fit.
    """

    value: Any
    rank: Rank = "behaviour"
    evidence: str = "the contract's, tried first"
    others: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Order:
    """In which order a method takes what it is given.

    Attributes:
        roles: by position; of `out`, `t`, `x`, `z` or of `x_0`, `noise`, `t`.
        named: {role: keyword} of what is handed over by name.
    """

    roles: tuple[str, ...]
    named: tuple[tuple[str, str], ...] = ()

    @property
    def takes(self) -> tuple[str, ...]:
        """All roles, those by position first."""
        return (*self.roles, *(role for role, _ in self.named))

    def __str__(self) -> str:
        return ",".join(self.takes)


@dataclass(frozen=True)
class Reading:
    """How a scheduler is called; the defaults are the contract's.

    Attributes:
        step, add_noise, get_velocity: the `Order` of their arguments; one without `noise` draws it.
        t_of_step: `NUMBER` (or an element of the candidate's own list), `BATCH`, `ONE` or
            `FOUR_AXES`.
        t_of_add_noise: `BATCH`, `NUMBER` (image by image) or `FOUR_AXES`.
        t_base: 0 or 1: what t counts from.
        entry: 0 or 1: where the level of t = 0 stands in its table, if t counts from 0.
        visits: `ALL_STEPS`, or `LISTED`, from each of whose entries its step goes to the next.
        data: `IMAGES`, `RGB`, `POINTS`, `SEQUENCES` or `VOLUMES`.
        output: channels of the model's output: `SAME`, `DOUBLED` or `EXCHANGED`.
        pictures: `SIGNED`, `UNIT`, `BYTES` or `UNMAPPED`, the range of those that a loss is given
            and a loop returns.
        prediction: what the model predicts: `"epsilon"`, `"sample"` or `"v_prediction"`.
        answers: `PLAIN`, `MINUS` or `SCORE`: what it gives for that.
        z: `ALWAYS` or `NOT_LAST`: when a step that takes its noise is given some.
        step_returns, add_noise_returns: what kind of thing, as `handing.kind_of` says it.
    """

    step: Fact = Fact(Order(CONTRACT["step"]))
    add_noise: Fact = Fact(Order(CONTRACT["add_noise"]))
    get_velocity: Fact = Fact(Order(CONTRACT["get_velocity"]))
    t_of_step: Fact = Fact(NUMBER)
    t_of_add_noise: Fact = Fact(BATCH)
    t_base: Fact = Fact(0)
    entry: Fact = Fact(0)
    visits: Fact = Fact(ALL_STEPS)
    data: Fact = Fact(IMAGES)
    output: Fact = Fact(SAME)
    pictures: Fact = Fact(SIGNED)
    prediction: Fact = Fact("epsilon")
    answers: Fact = Fact(PLAIN)
    z: Fact = Fact(ALWAYS)
    step_returns: Fact = Fact(TENSOR)
    add_noise_returns: Fact = Fact(TENSOR)

    @property
    def facts(self) -> dict[str, Fact]:
        """All of them by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def order(self, method: str) -> Order:
        """Of the arguments of a method."""
        return getattr(self, method).value

    def told(self, facts: Told) -> "Reading":
        """The same where some facts are decided."""
        return replace(self, **facts)

    def call(self, method: str) -> str:
        """How a method is called, in the words of the contract."""
        order = self.order(method)
        by_place = [LONG.get(role, role) for role in order.roles]
        by_name = [f"{name}={LONG.get(role, role)}" for role, name in order.named]
        return f"{method}({', '.join([*by_place, *by_name])})"

    def _departs(self, name: str, fact: Fact) -> bool:
        known = name == "step_returns" and fact.value != "a dict"  # all of them in the contract
        return fact.value != getattr(CANONICAL, name).value and not known

    def _words(self, name: str, value: Any) -> str:
        if name in CONTRACT:
            return f"called as {self.call(name)}"
        return {
            "t_of_step": f"t of step is {value}",
            "t_of_add_noise": f"t of add_noise is {value}",
            "t_base": f"t counts from {value}",
            "entry": f"the level of t is entry t + {value} of its table",
            "visits": f"its step visits {value}",
            "data": f"its data are {value}",
            "output": f"its model's output has {value}",
            "pictures": f"the pictures of its loss and loop are in {value}",
            "prediction": f"its model predicts {value}",
            "answers": f"its model answers with {value}",
            "z": f"step is given {value}",
            "step_returns": f"step returns {value}",
            "add_noise_returns": f"add_noise returns {value}",
        }[name]

    def plain(self) -> dict[str, dict[str, Any]]:
        """{fact: {value, rank, evidence, others, words}} for JSON; words for what departs."""
        return {
            name: _plain(fact)
            | {"words": self._words(name, fact.value) if self._departs(name, fact) else ""}
            for name, fact in self.facts.items()
        }


CANONICAL = Reading()


def _plain(fact: Fact) -> dict[str, Any]:
    found = asdict(replace(fact, value=None, others=()))
    value, *others = (v if isinstance(v, int) else str(v) for v in (fact.value, *fact.others))
    return found | {"value": value, "others": others}


def told_by(words: str | Iterable[str] | None, by: str = "--reading") -> dict[str, Fact]:
    """The facts that a user decides, from words such as `"step=x,t,out"` and `"t=1"`; `by` is where
    they stand.

    >>> told_by("step=x,t,out")["step"].value.roles
    ('x', 't', 'out')

    Raises:
        ValueError: a word that is not known; one line.
    """
    words = [words] if isinstance(words, str) else words or ()
    facts = (_told(word) for word in words)
    return {name: replace(fact, evidence=f"as {by} says") for name, fact in facts}


def _told(word: str) -> tuple[str, Fact]:
    name, _, value = (part.strip() for part in word.partition("="))
    if name in CONTRACT:
        parts = [part.strip() for part in value.split(",")]
        roles = tuple(role(name, part) or part for part in parts)
        known = set(CONTRACT[name]) | ({"z"} if name == "step" else set())
        needed = set(CONTRACT[name]) - ({"noise"} if name == "add_noise" else set())
        if not needed <= set(roles) <= known or len(set(roles)) != len(roles):
            raise ValueError(
                f"--reading {word}: {name} takes {','.join(CONTRACT[name])} in any order"
            )
        return name, said(Order(roles))
    value = value.replace(" ", "")
    for word_of, fact, values in SAID:
        if name == word_of and value in values:
            return fact, said(values[value])
    raise ValueError(f"--reading {word} is not known; it is {OPTIONS}")


def said(value: Any) -> Fact:
    """A fact that the user decides."""
    return Fact(value, "declared", "as --reading says")
