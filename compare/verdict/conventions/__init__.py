"""Reads off what a candidate does without naming it: T, t base, clip, variance, spacing, betas.

Such choices are shown on the convention card and every stage is judged by them; none is a failure.

length    how many steps there are, and what t counts from
schedule  which family the table is
step      what the model predicts, whose step it is, and its variance
learned   what is made of twice the channels of its model
clip      whether x0-hat is limited, and at what
prediction  what the model of a loss or a loop predicts
pictures  in which range those of a loss and a loop are
spacing   which lists set_timesteps leaves
loop      what of a loop is a choice of its own
card      all of it in words
network   how a network of its own is called
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from compare.candidate.door import find
from compare.candidate.door.reading import Told
from compare.candidate.load import Broken
from compare.candidate.loop.begun import schedule_in_variables
from compare.candidate.subject import Subject
from compare.oracle import LEARNED, Setting
from compare.stages.embedding import conventions_of
from compare.verdict.conventions.card import card_of
from compare.verdict.conventions.length import length, of_another_length
from compare.verdict.conventions.loop import card_of_loop
from compare.verdict.conventions.network import card_of_network
from compare.verdict.conventions.pictures import read_pictures
from compare.verdict.conventions.prediction import kind_called, read_answers, read_prediction
from compare.verdict.conventions.schedule import (
    leave_out_any_variance,
    leave_out_any_words,
    read_again,
    read_schedule,
)
from compare.verdict.conventions.spacing import read_spacing
from compare.verdict.conventions.step import read_step

OF_SCHEDULE = ("trained_betas", "beta_schedule", "beta_start", "beta_end")


def read(subject: Subject, door: Told | None = None) -> None:
    """Gives the subject its door and the setting of what it does by itself, and fills the card.

    `door` are facts of it that are decided from outside.
    """
    if subject.is_network:
        subject.conventions.update(card_of_network(subject))
    else:
        _read(subject, door or {})


def _read(subject: Subject, door: Told) -> None:
    claims = _claims(subject.first)
    if "trained_betas" not in subject.named and claims.get("trained_betas") is not None:
        claims = {k: v for k, v in claims.items() if k not in OF_SCHEDULE}  # made by itself: read
    if subject.adapter is not None and subject.adapter.prediction_type is not None:
        claims["prediction_type"] = subject.adapter.prediction_type
    if subject.declared is not None:
        claims["prediction_type"] = subject.declared
    if "prediction" in door:
        claims["prediction_type"] = door["prediction"].value
    kind = subject.defaults.get("variance_type")
    if "variance_type" not in subject.named and kind in LEARNED:  # one that takes no other
        claims["variance_type"] = kind
    told = {k: v for k, v in claims.items() if k not in subject.named and v is not None}
    subject.setting = replace(subject.setting, **told)
    subject.seen = schedule_in_variables(subject)
    T, subject.door = find.read(subject, door, length)
    subject.setting = replace(subject.setting, num_train_timesteps=T)
    by_name = find.predicted(subject)
    if by_name is not None and not {"prediction_type"} & {*subject.named, *claims}:
        claims["prediction_type"] = by_name
        subject.setting = replace(subject.setting, prediction_type=by_name)
    if "beta_schedule" in subject.named:
        leave_out_any_words(subject)
    if "variance_type" in subject.named:
        leave_out_any_variance(subject)
    known = {*subject.named, *claims}
    if "beta_schedule" not in known:
        subject.setting = read_schedule(subject.scheduler())
        if "num_train_timesteps" in subject.named:
            of_another_length(subject)
    if subject.has("step"):
        try:
            subject.setting = read_step(subject.scheduler(), known)
        except Broken as broken:
            subject.conventions["step"] = f"not read: {broken}"
    if subject.has("set_timesteps") and "timestep_spacing" not in known:
        subject.setting = read_spacing(subject)
    if "prediction" not in door:
        subject.door = subject.door.told({"prediction": read_prediction(subject, known)})
    if "beta_schedule" not in known:
        subject.setting = read_again(subject.scheduler())
    if "pictures" not in door:
        subject.door = subject.door.told({"pictures": read_pictures(subject)})
    if "answers" not in door:
        answers = read_answers(subject, bool({"prediction_type"} & known))
        subject.door = subject.door.told({"answers": answers})
    subject.conventions.update(card_of(subject) | card_of_loop(subject))
    subject.conventions.update(conventions_of(subject))


def _claims(thing: Any) -> dict[str, Any]:
    """What the candidate's `config` says of itself, in Diffusers' words; else what an attribute
    says of its prediction."""
    config = getattr(thing, "config", None)
    if not isinstance(config, Mapping):
        kind = kind_called(getattr(thing, "prediction_type", None))
        return {} if kind is None else {"prediction_type": kind}
    known = {k: config[k] for k in vars(Setting()) if k in config}
    if known.get("trained_betas") is not None:
        known["trained_betas"] = tuple(float(b) for b in known["trained_betas"])
    return known
