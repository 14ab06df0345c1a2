"""The curves that the page draws: alpha-bar, and the coefficients of a step, over t."""

import torch
from torch import Tensor

from compare.candidate.load import Broken
from compare.candidate.subject import Subject
from compare.measure.probe import probe
from compare.measure.step import curves_of_mean, level_of, replayed_noise
from compare.oracle import F64, Oracle

POINTS = 120
NAMES = ("sqrt(alpha-bar_t)", "a_t: x_t in a step", "b_t: model output in a step", "s_t: noise")


def measured(subject: Subject) -> dict[str, list[float]]:
    """A candidate's curves from t = 0 up; those that it does not answer are missing."""
    oracle, found = Oracle(), {}
    try:
        scheduler = subject.scheduler()
        table = scheduler.alpha_bars(oracle)
        found[NAMES[0]] = _some(table.clamp(min=0).sqrt())
        if subject.has("step"):
            rows = probe(scheduler)
            a, b = curves_of_mean(rows)
            z = replayed_noise(subject, oracle)
            size = 1.0 if z is None else float(z.abs().mean())
            found[NAMES[1]] = _some(a.flip(0))
            found[NAMES[2]] = _some(b.flip(0))
            found[NAMES[3]] = _some((rows.zero.abs().mean(1) / size).flip(0))
    except Broken:
        pass
    return found


def expected(subject: Subject) -> dict[str, list[float]]:
    """The oracle's curves for the same setting."""
    oracle, setting = Oracle(), subject.setting
    table = oracle.alpha_bar(setting)
    found = {NAMES[0]: _some(table.sqrt())}
    if subject.has("step"):
        try:
            rows = probe(subject.scheduler())
        except Broken:
            return found
        level = level_of(oracle, table, rows, setting)
        one = torch.ones(len(rows.t), 1, dtype=F64)
        found[NAMES[1]] = _some(oracle.step_mean(0 * one, one, level, setting).flatten().flip(0))
        found[NAMES[2]] = _some(oracle.step_mean(one, 0 * one, level, setting).flatten().flip(0))
        found[NAMES[3]] = _some(oracle.sigma(level, setting).flatten().flip(0))
    return found


def _some(values: Tensor) -> list[float]:
    chosen = torch.linspace(0, len(values) - 1, min(POINTS, len(values))).round().long()
    return [float(f"{float(v):.6g}") for v in values[chosen]]
