"""How many steps there are, and whether t counts from 0 or from 1: by tables, lists and calls."""

import copy
from contextlib import suppress
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from compare.candidate.door.reading import Fact
from compare.candidate.door.signature import attribute
from compare.candidate.load import Broken

if TYPE_CHECKING:
    from compare.candidate.scheduler import Scheduler
    from compare.candidate.subject import Subject

METHODS = ("add_noise", "step")
LISTS = ("timesteps", "steps", "time_steps", "ddim_timesteps", "tau", "taus", "seq", "grid")
SHAPE = (2, 1, 4, 5)  # no two axes are alike: what is broadcast by accident does not fit


def behind_one(subject: "Subject", T: int) -> Fact | None:
    """What t counts from where a table of T + 1 levels begins with that of the image itself, as the
    methods of a candidate say it; None if it has none."""
    if not any(subject.has(m) for m in METHODS):
        return None
    if none_takes(subject, T):
        return Fact(0, "structural", f"no method takes t={T}")
    listed = _listed(subject, T)
    if listed and min(listed) == 0:
        return Fact(0, "declared", "its own list of timesteps ends with 0")
    return Fact(1, "declared", f"its table has {T + 1} entries, the first of them 1")


def lists_all(subject: "Subject", T: int) -> bool:
    """True if a candidate has a list of T steps that ends with 0."""
    listed = attribute(subject.first, "timesteps")
    sized = isinstance(listed, Tensor | list | tuple | range) and len(listed) == T
    return sized and min(float(t) for t in listed) == 0


def _listed(subject: "Subject", T: int) -> list[float]:
    """The list of T steps that a candidate has of itself, or sets; none if there is no such."""
    listed = attribute(subject.first, "timesteps")
    sized = isinstance(listed, Tensor | list | tuple | range) and len(listed) == T
    if not sized and subject.has("set_timesteps"):
        with suppress(Broken):
            listed = subject.fresh(replace(subject.setting, num_train_timesteps=T)).listed(T)
            sized = len(listed) == T
    return [float(t) for t in listed] if sized and listed is not None else []


def own_list(thing: Any, T: int) -> list[Any]:
    """The list of something that holds some of T steps and does not set them, from the top; none if
    it has no such list."""
    if attribute(thing, "set_timesteps") is not None:
        return []
    for name in LISTS:
        with suppress(Exception):
            listed = sorted(attribute(thing, name), reverse=True)
            numbers = [float(t) for t in listed]
            whole = all(t.is_integer() for t in numbers) and len({*numbers}) == len(numbers)
            if whole and 1 < len(numbers) < T and numbers[-1] >= 0 and numbers[0] <= T:
                return listed
    return []


def by_list(subject: "Subject", T: int) -> Fact | None:
    """What t counts from where the candidate's own list of timesteps says so."""
    listed = _listed(subject, T)
    if not listed:
        offers_list = subject.has("set_timesteps") or subject.adapter is not None
        return Fact(0, "declared", "the contract of its list or role") if offers_list else None
    if min(listed) != 1 or max(listed) != T or not all_take(subject, T):
        return Fact(0, "declared", f"its own list of timesteps ends with {min(listed):g}")
    return Fact(1, "declared", "its own list of timesteps ends with 1")


def all_take(subject: "Subject", T: int) -> bool:
    """True if every method that a candidate has can be asked at t = T; one that cannot be asked at
    T - 1 either says nothing."""
    methods = [m for m in METHODS if subject.has(m)]
    takes = {m: asked(subject, m, T) is not None for m in methods}
    silent = {m: not takes[m] and asked(subject, m, T - 1) is None for m in methods}
    return any(takes.values()) and all(takes[m] or silent[m] for m in methods)


def none_takes(subject: "Subject", T: int) -> bool:
    """True if no method that can be asked at t = T - 1 can be at T: a table of T + 1 entries is
    read at t + 1."""
    found = [m for m in METHODS if subject.has(m) and asked(subject, m, T - 1) is not None]
    return bool(found) and all(asked(subject, m, T) is None for m in found)


def asked(subject: "Subject", method: str, t: int) -> Tensor | None:
    """What a method answers at t, whatever t counts from, or None if it does not."""
    other = copy.copy(subject)
    other.door = subject.door.told({"t_base": Fact(0)})
    try:
        return answer(other.fresh(other.setting), method, t, SHAPE)
    except Broken:
        return None


def answer(scheduler: "Scheduler", method: str, t: int, shape: tuple[int, ...]) -> Tensor:
    """What a method makes of images of a shape, all of them at t."""
    images = torch.linspace(-1, 1, prod(shape)).reshape(shape)
    if method == "step":
        return scheduler.step(-images, t, images, 0).prev
    return scheduler.add_noise(images, -images, torch.full((len(images),), t), method)


def by_end(subject: "Subject", T: int) -> Fact | None:
    """Counted from 1, if all methods take t = T and `add_noise` gives there what it gives at 0.

    A table of T entries has none at T, so that code which counts from 0 fails there; code that
    reads entry t - 1 finds the last one at t = 0, by Python's counting from the end.
    """
    if not (subject.has("add_noise") and subject.has("step") and wraps(subject, T)):
        return None
    return Fact(1, "structural", f"all methods take t={T}, and t=0 is the last of the table")


def wraps(subject: "Subject", T: int) -> bool:
    """True if all methods take t = T, and `add_noise` gives there what it gives at 0."""
    if not all_take(subject, T):
        return False
    first, last = (asked(subject, "add_noise", t) for t in (0, T))
    return first is not None and last is not None and torch.equal(first, last)
