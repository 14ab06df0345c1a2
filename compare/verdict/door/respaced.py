"""A loop over steps that were kept of a longer chain, by a list that its object has.

The longer chain is not shown. That the levels are those of its kept steps, and that the model is
told their numbers, holds together only if the levels are those of a family at these numbers.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor

from compare.candidate.load import Broken
from compare.candidate.loop.calls import loop_tells
from compare.candidate.model.told import Told, own_lists
from compare.candidate.subject import Subject
from compare.measure.check import Check, note
from compare.measure.tolerances import log_snr
from compare.measure.values import deviation
from compare.oracle import Oracle, Setting
from compare.stages.schedule import FAMILIES, bound
from compare.verdict.report import Diagnosis, Report

USUAL = 1000  # steps of a chain, where its last ones were not kept
LATENT = (0.00085, 0.012)  # the ends of Stable Diffusion's scaled_linear
Made = Callable[[Setting, Tensor], Tensor]  # levels of a chain that has kept these numbers
ID = "sampling/loop/respaced"
FIX = "from one step that is kept to the next beta is 1 - alpha-bar / alpha-bar of the one before"
DECIDES = "Say by which table it was trained: Adapter(alpha_bar=...)"


def respaced(report: Report, subject: Subject) -> None:
    """Passes no such loop whose levels, or what its model is told, are not those of its list."""
    if "sampling" not in report.judged:
        return
    table = subject.scheduler().table()
    if table is None:
        return
    with suppress(Broken):
        told = loop_tells(subject, table)
        every = (own for thing in subject.own_objects for own in own_lists(thing, len(table)))
        for own in every:
            family = _family(table, own.listed, _levels)
            is_told = told is not None and _alike(told, own)
            levels = f"its levels are those of {family} steps at {own.words}"
            if family is None and is_told:
                _of_none(report, table, own)
            elif is_told:
                report.checks.append(note(ID, levels))
            elif family is not None:
                words = f"{levels}, and its model is told {told or 'other numbers'}"
                report.leave_open((), "sampling", f"{words}. {DECIDES}")


def _alike(told: Told, own: Told) -> bool:
    """True if the numbers that are told are those of a list, whatever they are called."""
    told_of = (told.number(t) for t in range(len(own.listed)))
    return all(abs(number - kept) < 0.5 for number, kept in zip(told_of, own.listed, strict=True))


def _of_none(report: Report, table: Tensor, own: Told) -> None:
    """What is said of levels that are those of no family at these numbers; its betas may be."""
    said = f"its model is told {own.words}, up to {own.listed[-1]:g}"
    family = _family(table, own.listed, _product_of_betas)
    if family is None:
        words = f"{said}, and its levels are those of no family at these numbers"
        report.leave_open((), "sampling", f"{words}. {DECIDES}")
        return
    words = f"{said}, and its betas are those of {family} steps at these numbers"
    report.diagnoses.append(Diagnosis(None, "sampling", words, FIX))
    report.checks.append(Check(ID, "sampling", "differs", words))


def _levels(setting: Setting, numbers: Tensor) -> Tensor:
    return Oracle().alpha_bar(setting)[numbers]


def _product_of_betas(setting: Setting, numbers: Tensor) -> Tensor:
    return (1 - Oracle().betas(setting)[numbers]).cumprod(0)


def _family(table: Tensor, kept: tuple[float, ...], made: Made) -> str | None:
    """The family of which a table is made so, at every step; None if it is none."""
    numbers = torch.tensor(kept).long()
    for setting in _longer(int(kept[-1])):
        allowed = bound(setting, Oracle())[numbers]
        if deviation(log_snr(table), log_snr(made(setting, numbers)), allowed)[0] != "differs":
            return f"{setting.num_train_timesteps} {setting.beta_schedule}"
    return None


def _longer(last: int) -> Iterator[Setting]:
    """The chains of which step `last` may be."""
    for T in sorted({last + 1, max(last + 1, USUAL)}):
        base = Setting(num_train_timesteps=T)
        yield from (replace(base, beta_schedule=name) for name in FAMILIES)
        first, last_beta = LATENT
        yield replace(base, beta_schedule="scaled_linear", beta_start=first, beta_end=last_beta)
