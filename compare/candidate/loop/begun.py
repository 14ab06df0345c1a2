"""The schedule of who shows none, as it stands when a loop or a loss asks its model first."""

import ast
import inspect
import sys
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from compare.candidate.door import tables
from compare.candidate.door.signature import SIDE, asked_for, attribute
from compare.candidate.door.variables import (
    IMAGES,
    MOST,
    Seen,
    Variables,
    by_another,
    of_function,
    schedule_of,
    that_may_be,
    watched,
)
from compare.candidate.spy import Model
from compare.candidate.subject import Subject
from compare.candidate.surroundings import apart
from compare.candidate.text.own.named import is_alpha_bar, used_of_tops
from compare.candidate.text.own.words import usual
from compare.oracle import Oracle

OF_SCHEDULE = {  # with other values of these it would be another
    *("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas"),
    "rescale_betas_zero_snr",
}
SHOW = ("add_noise", "step", "loss")  # a table that they go by, whatever it is called


class _Enough(Exception):
    """A model was asked: the tables of who asks it are made."""


def schedule_in_variables(subject: Subject) -> Seen | None:
    """The schedule in variables of a candidate's functions, or that one gives; None where it shows
    one, or is built with it."""
    if subject.named & OF_SCHEDULE or _shows(subject):
        return None
    calls, begun = _begun(subject)
    names, tops = dict[str, str](), set[str]()
    with suppress(OSError, ValueError, SyntaxError):
        text = Path(subject.own.file).read_text(encoding="utf-8")
        names = {own: name for name, own in usual(text)[1].items()}
        tops = used_of_tops(ast.parse(text))
    imported = [call.without_others(tops) for call in subject.own.imported]
    every, top = [*calls, *imported], max(begun, default=0)
    seen = schedule_of(calls, names, top) or schedule_of(imported, names, top) or by_another(every)
    last = max((*begun, *(call.asked for call in calls)), default=0)
    seen = seen or _by_function(subject, last)
    return seen or (None if any(map(subject.has, SHOW)) else that_may_be(every))


def _shows(subject: Subject) -> bool:
    with apart(subject.own):
        return any(
            tables.of_schedule(thing, name) is not None
            for thing in subject.own_objects
            for name in tables.SCHEDULE
        )


def _begun(subject: Subject) -> tuple[list[Variables], list[int]]:
    """What the functions of a candidate have until it asks a model; and at which t it does."""
    calls: list[Variables] = []
    begun: list[int] = []

    def ends(x: Tensor, t: Tensor) -> Tensor:
        begun.append(int(t[0]))
        raise _Enough

    model = Model(ends, Oracle().alpha_bar(subject.setting))
    images = torch.zeros(IMAGES, 2, SIDE, SIDE)
    asked = {"sample": tuple(images.shape), "loss": images}
    with watched(calls, subject.own.file):
        with suppress(Exception):
            subject.fresh(subject.setting)
        for role in (each for each in asked if each in subject.whole):
            with suppress(Exception):
                subject.whole[role](model, asked[role], torch.Generator())
    return calls, begun


def _by_function(subject: Subject, top: int) -> Seen | None:
    """The alpha-bar of a function or method of one argument that is called so, up to a step."""
    file = subject.own.file
    modules = [m for m in [*sys.modules.values()] if getattr(m, "__file__", None) == file]
    for owner in [*modules, *subject.own_objects] if file and 2 < top < MOST else []:
        for name in filter(is_alpha_bar, tables.public(owner)):
            function = attribute(owner, name)
            if inspect.isroutine(function) and len(asked_for(function)) == 1:
                with apart(subject.own):
                    table = of_function(function, top)
                if table is not None:
                    return Seen(f"what {name} gives", tables.SCHEDULE[0], table)
    return None
