"""The curves that the page draws: alpha-bar, and the coefficients of a step, over t."""

from contextlib import suppress

import torch
from torch import Tensor

from compare.candidate.load import Broken
from compare.candidate.subject import Subject
from compare.measure.probe import probe
from compare.measure.step import curves_of_mean, level_of, replayed_noise, right_curves
from compare.oracle import Oracle

POINTS = 120
NAMES = ("sqrt(alpha-bar_t)", "a_t: x_t in a step", "b_t: model output in a step", "s_t: noise")


def measured(subject: Subject) -> dict[str, list[float]]:
    """A candidate's curves from t = 0 up; those that it does not answer are missing."""
    oracle, found = Oracle(), {}
    with suppress(Broken):
        scheduler = subject.scheduler()
        table = scheduler.alpha_bars(oracle)
        found[NAMES[0]] = _some(table.clamp(min=0).sqrt())
        if subject.has("step"):
            rows = probe(scheduler)
            z = replayed_noise(subject, oracle)
            size = 1.0 if z is None else float(z.abs().mean())
            seen = (*curves_of_mean(rows), rows.zero.abs().mean(1) / size)
            found |= {name: _some(v.flip(0)) for name, v in zip(NAMES[1:], seen, strict=True)}
    return found


def expected(subject: Subject) -> dict[str, list[float]]:
    """The oracle's curves for the same setting."""
    oracle, setting = Oracle(), subject.setting
    table = oracle.alpha_bar(setting)
    found = {NAMES[0]: _some(table.sqrt())}
    with suppress(Broken):
        if subject.has("step"):
            level = level_of(oracle, table, probe(subject.scheduler()), setting)
            right = (*right_curves(oracle, level, setting), oracle.sigma(level, setting).flatten())
            found |= {name: _some(v.flip(0)) for name, v in zip(NAMES[1:], right, strict=True)}
    return found


def _some(values: Tensor) -> list[float]:
    chosen = torch.linspace(0, len(values) - 1, min(POINTS, len(values))).round().long()
    return [float(f"{float(v):.6g}") for v in values[chosen]]
