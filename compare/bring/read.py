"""Reads how a scheduler that is to be used is called, by the judge's own reading of it."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from compare.candidate.door.reading import CONTRACT, LONG, Fact, Told, told_by
from compare.candidate.door.signature import asked_for, named_keywords
from compare.candidate.load import Adapter, Broken, Unloadable, load
from compare.candidate.shared_state import Settings
from compare.candidate.subject import NAMES, Subject
from compare.candidate.surroundings import Surroundings
from compare.candidate.text.ready import how_to_build
from compare.verdict import conventions
from compare.verdict.conventions.prediction import kind_called
from compare.verdict.door.rivals import rivals
from compare.verdict.quiet import quiet


def loaded(candidate: Any) -> tuple[Any, Surroundings]:
    """What a name stands for, or what was given, and its surroundings.

    Raises:
        ValueError: there is no such file or name, or importing it fails.
    """
    settings = Settings.now()
    if not isinstance(candidate, str):
        return candidate, Surroundings(settings=settings)
    try:
        return load(candidate, settings)
    except Unloadable as error:
        raise ValueError(str(error).removeprefix("candidate ")) from None


def name_of(candidate: Any) -> str:
    """What it is called in a message: the last part of `FILE.py:NAME`, or its own name."""
    if isinstance(candidate, str):
        return candidate.rpartition(":")[2]
    own = getattr(candidate, "name", None) or getattr(candidate, "__name__", None)
    return own if isinstance(own, str) else type(candidate).__name__


def is_built(candidate: Any) -> bool:
    """True for a class, or a function that asks for nothing but a schedule's keywords."""
    factory = inspect.isfunction(candidate) and {*asked_for(candidate)} <= {*NAMES}
    return inspect.isclass(candidate) or factory


def read(
    candidate: Any, reading: str | Sequence[str] = (), keywords: Mapping[str, Any] | None = None
) -> Subject:
    """A candidate whose door and conventions are read, built with its own defaults.

    Args:
        candidate: as for `compare.run`.
        reading: how it is called where its code does not say so.
        keywords: of its constructor, that are to be other than by default.

    Raises:
        ValueError: it cannot be loaded or built, a keyword is not its own, or nothing says how it
            is called; one line.
    """
    name = name_of(candidate)
    thing, own = loaded(candidate)
    given = dict(keywords or {})
    _refuse_unknown(name, thing, given)
    told = {**_said(thing, given), **_words(name, thing), **told_by(reading)}
    made = _made(thing, given) if is_built(thing) else thing

    def again(facts: Told) -> Subject:
        subject = Subject(made, name, own=own)
        conventions.read(subject, {**told, **facts})
        return subject

    try:
        with quiet():
            subject, others = rivals(again({}), again)
            _refuse_unsure(subject, others)
    except Broken as broken:
        said = f"{name} {broken}".replace(f"{name} it is", f"{name} is", 1)
        cure = how_to_build(thing) if str(broken).startswith("cannot be built") else ""
        raise ValueError(said + cure) from None
    return subject


def _refuse_unknown(name: str, thing: Any, given: Mapping[str, Any]) -> None:
    known = named_keywords(thing) if is_built(thing) else {}
    unknown = [keyword for keyword in given if keyword not in known]
    if unknown:
        takes = ", ".join(k for k in known if k in NAMES) or "none of a schedule's"
        raise ValueError(
            f"{name} has no keyword {unknown[0]!r}, so that it cannot be told; it has {takes}"
        )


def _made(thing: Any, given: Mapping[str, Any]) -> Callable[[], Any]:
    """Builds it so; whatever else it names stays as it is by default."""

    def make() -> Any:
        return thing(**given)

    make.__module__ = thing.__module__  # by which the devices are found that it names
    return make


def _said(thing: Any, given: Mapping[str, Any]) -> dict[str, Fact]:
    """What its network predicts, by the keyword that it has for it."""
    named = named_keywords(thing) if is_built(thing) else {}
    kind = kind_called(given.get("prediction_type", named.get("prediction_type")))
    fact = Fact(kind, "declared", "its own prediction_type")
    return {} if kind is None else {"prediction": fact}


def _words(name: str, thing: Any) -> dict[str, Fact]:
    try:
        return told_by(thing.reading if isinstance(thing, Adapter) else ())
    except ValueError as error:
        raise ValueError(f"{name}: {error}".replace("--reading ", "its reading=", 1)) from None


def _refuse_unsure(subject: Subject, others: Sequence[Subject]) -> None:
    """Refuses one without a table, or that can be called in several ways and is right by none, or
    by another."""
    for method in ("step", "add_noise"):
        if others and subject.door.facts[method].others:
            asked = ", ".join(asked_for(subject.function(method)))
            contract = CONTRACT[method]
            raise ValueError(
                f"{subject.name}: neither names nor calls say what {method}({asked}) is given; "
                f"call its arguments {', '.join(LONG.get(r, r) for r in contract)}, or say "
                f"--reading {method}=... with {','.join(contract)} in its order"
            )
    if subject.has("step") and subject.scheduler().table() is None:
        raise ValueError(
            f"{subject.name} shows no table; add alphas_cumprod, (T,) from t = 0, or an add_noise"
        )
    counted = [other.t_base for other in others if other.t_base != subject.t_base]
    if counted:
        raise ValueError(
            f"{subject.name}: nothing says whether its t counts from 0 or from 1; "
            "say --reading t=0 or --reading t=1"
        )
