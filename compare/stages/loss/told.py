"""By which number a loss tells its model t, and whether a loop tells it the same."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor

from compare.candidate.load import Broken
from compare.candidate.loop.calls import loop_tells, loop_told, place_of_condition, place_of_time
from compare.candidate.loop.look import look
from compare.candidate.loss.look import Seen
from compare.candidate.loss.slopes import slopes
from compare.candidate.model.call import Manner, read
from compare.candidate.model.guidance import Mix
from compare.candidate.model.network import heard
from compare.candidate.model.told import NEAR_LEVEL, Told
from compare.candidate.subject import Subject
from compare.measure.check import Check, note, yes_no
from compare.measure.loop_steps import end_right, steps_of, visits
from compare.measure.probe import SHAPE
from compare.measure.tolerances import RATE
from compare.oracle import Oracle

MOSTLY = 0.6  # of the labels dropped: half of them were tried too
COEFFICIENTS = {"x_0": "sqrt(ab)", "noise": "sqrt(1 - ab)"}


def of_its_own(subject: Subject, table: Tensor, oracle: Oracle) -> Check:
    """Whether x_t is made with the t that the model is told, image by image."""
    seen = slopes(subject, table, RATE)
    others = [] if seen is None else [part for part in seen.of_others if part in COEFFICIENTS]
    whole = len(others) == 2
    words = "the model is told the t of another image of the batch"
    if not whole:
        what = "".join(others)
        words = f"in x_t {what} is multiplied by {COEFFICIENTS.get(what)} of another image's t"
    if seen is not None and seen.of_one is not None:
        words = (
            f"in x_t every image of a batch has the coefficients of the t of image {seen.of_one}"
        )
        others = [words]
    as_looked_for = whole if oracle.loss.others else not others
    right = "x_t = sqrt(ab_t) x_0 + sqrt(1 - ab_t) noise, the model told this t (Ho et al. eq. 14)"
    said = "x_t is made with the t told of it"
    return yes_no("loss/own-t", as_looked_for, said, words, right=right)


def told(subject: Subject, seen: Seen, table: Tensor, oracle: Oracle) -> Iterator[Check]:
    """What the model is told for t, and whether a loop tells it the same at one level of noise.

    A loop of fewer steps may be on a list of its own, by which what t counts from is not known.
    """
    if seen.told.base:
        alone = "" if subject.has("sample") else " (mistake 77 if sampling counts from 0)"
        yield note("loss/t-base", f"t counts from 1{alone}")
    if seen.dropped > MOSTLY:
        words = f"{seen.dropped:.0%} of the labels are told as {seen.nothing:g}, so as none"
        yield note("loss/dropped", f"{words}: usual are 10 or 20 % (Ho & Salimans 2022)")
    if seen.told.words != "t":
        yield note("loss/t-scale", f"the model is told {seen.told.words}")
    if not subject.has("sample"):
        with suppress(Broken):  # a step that gives no answer is told by its own stages
            yield from _of_step(subject, seen.told, len(table), oracle.loss.ahead)
        return
    with suppress(Broken):  # a loop that gives no answer is told by its own stage
        place, right = place_of_time(subject, table), "the model called in one way by both"
        if isinstance(place, int) and isinstance(seen.time, int):
            words = f"the loss tells the model t as argument {seen.time + 1}"
            wrong = f"{words}, the loop as argument {place + 1}, and something else in its place"
            yield yes_no(
                "loss/place", place == seen.time, f"{words}, as the loop", wrong, right=right
            )
        condition = place_of_condition(subject, table)
        if seen.beside and condition:
            words = f"a condition stands {seen.beside} x_t in the channels that the loss gives"
            wrong = f"{words} its model, {condition} it in those of the loop"
            said = f"{words}, as in those of the loop"
            yield yes_no("loss/condition", seen.beside == condition, said, wrong, right=right)
        yield from _nothing(look(subject, table).mix, seen)
        loop = loop_tells(subject, table)
        if loop is None:
            return
        expected = replace(loop, base=loop.base + oracle.loss.ahead)
        if expected != seen.told and not _is_sure(subject, table, loop, seen.told):
            return
        yield yes_no(
            "loss/told",
            expected == seen.told,
            f"loss and loop tell the model {loop} at the same level of noise",
            f"the loss tells the model {seen.told} at the level of noise at which the loop tells "
            f"it {loop} (t = 0 is one step of noise)",
            right="the same in loss and loop at the same level of noise",
        )


def _of_step(subject: Subject, by_loss: Told, T: int, ahead: int) -> Iterator[Check]:
    """What a step that asks a model itself tells it, at three t, where no loop shows it."""
    by_step = step_told(subject, T) if subject.has("step") else {}
    if not by_step:
        return
    wanted = {t: by_loss.number(t - ahead) for t in by_step}
    off = [t for t, v in wanted.items() if abs(by_step[t] - v) > NEAR_LEVEL * (1 + abs(v))]
    wrong = ""
    if off:
        told, by = by_step[off[-1]], wanted[off[-1]]
        wrong = f"the step tells the model {told:g} where the loss tells it {by:g}"
    yield yes_no(
        "loss/told",
        not off,
        f"loss and step tell the model {by_loss} at the same level of noise",
        f"{wrong}, at the same level of noise",
        right="the same in loss and step at the same level of noise",
    )


def step_told(subject: Subject, T: int) -> dict[int, float]:
    """{t: what a step tells its model there}; none of one that asks none, or tells no time."""

    def ask() -> dict[int, float]:
        scheduler, nothing, told = subject.scheduler(), torch.zeros(SHAPE), {}
        for t in (T // 4, T // 2, 3 * T // 4):
            with heard() as asked:
                scheduler.step(nothing, t, nothing, 0)
            for question in asked[:1]:
                with suppress(TypeError):
                    told[t] = float(read(*question, Manner(())).t.flatten()[0])
        return told

    found: dict[int, float] = subject.remember(("step told",), ask)
    return found


def _nothing(mix: Mix | None, seen: Seen) -> Iterator[Check]:
    """Whether a guided loop says "no label" by the number that the loss drops labels to."""
    if mix is None or mix.nothing is None or seen.nothing is None:
        return
    yield yes_no(
        "loss/no-label",
        mix.nothing == seen.nothing,
        f"no label is {seen.nothing:g} in loss and loop",
        f"the loss drops labels to {seen.nothing:g}, the loop asks with {mix.nothing:g} for none",
        right="one number for no label, which is no class, in loss and loop (Ho & Salimans 2022)",
    )


def _is_sure(subject: Subject, table: Tensor, loop: Told, loss: Told) -> bool:
    """True if a loop tells its model another number than the loss, whatever its list is: it visits
    all, or begins at T; or the two differ by more than where t counts from, or its steps are those
    of the levels of what it tells."""
    visits_all = len({*loop_told(subject, table).tolist()}) >= len(table)
    if visits_all or loop.base == 1 or loop.unit != loss.unit:
        return True
    if subject.t_base == loss.base:  # by which its list is read
        return False
    visited, setting = look(subject, table), subject.setting
    steps = steps_of(visited, Oracle(), setting, table, visits(visited, Oracle(), setting, table))
    return steps is not None and end_right(steps, setting)
