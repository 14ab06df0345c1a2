"""By which waves a network is told t, where it makes sinusoids itself.

Their angles are read where sine and cosine are taken of them. Angles that are not t times some
frequencies, or frequencies that are no usual ones (drawn, of a curve of the noise) are another kind
of embedding, of which nothing is said.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from compare.candidate.denoiser.denoiser import Denoiser
from compare.candidate.subject import Subject
from compare.measure.check import Check, yes_no
from compare.stages.network.look import measured
from compare.stages.network.time import entries

ROWS = 16  # timesteps that are looked at
FEWEST = 3  # waves of which it can be said how they fall
NEAR = 1e-3  # of a frequency, or of the ratio of two, that are read off float32
RIGHT = "sin and cos of t 10000^(-i / half), i = 0..half-1 (Vaswani et al., section 3.5)"


class Wrong(NamedTuple):
    """What is wrong, and the mistake of the catalogue that it is; both "" of what is right."""

    words: str = ""
    bug: str = ""


def waves(subject: Subject) -> Iterator[Check]:
    """The frequencies of its sines and cosines; no check where it has none, or of another kind."""
    wrong = measured(subject, "waves", told)
    if wrong is not None:
        right = "t is told by sines and cosines of frequencies that are powers of one number"
        yield yes_no("network/waves", not wrong.words, right, wrong.words, bug=wrong.bug)


def told(one: Denoiser) -> Wrong | None:
    """What is wrong with the waves of t; None where nothing can be said of them."""
    sines, cosines = _angles(one)
    if not sines or not cosines:
        alone, kind = (sines, "sines") if sines else (cosines, "cosines")
        twice = len(alone) == 2 and torch.equal(*alone) and _frequencies(alone[0]) is not None
        words = f"both halves of its waves are {kind}, should be sines and cosines"
        return Wrong(words, f"88-{kind}") if twice else None
    f, of_cosines = _frequencies(sines[0]), _frequencies(cosines[0])
    if f is None or of_cosines is None or f.shape != of_cosines.shape:
        return None
    wrong = _of_frequencies(f, one.T)
    if wrong is None or wrong.words or _alike(of_cosines, f):
        return wrong
    odd, running = f[:-1] * f[1:], f[-1] * f[1] / f[0]
    bug = "88-odd" if _alike(of_cosines[:-1].square(), odd) else ""
    bug = "88-running" if _alike(of_cosines[:1], running) else bug
    return Wrong(f"its sines have the frequencies {_few(f)}, its cosines {_few(of_cosines)}", bug)


def _angles(one: Denoiser) -> tuple[list[Tensor], list[Tensor]]:
    """Of what sines and cosines are taken before t enters: (ROWS, half) each, of t = 0, 1, ..."""
    taken: dict[str, list[Tensor]] = {"sin": [], "cos": []}
    for name, angle in entries(one, torch.arange(ROWS), enough=1).waves:
        rows = angle.double().reshape(len(angle), -1) if angle.dim() else angle
        if rows.dim() == 2 and len(rows) == ROWS and rows.shape[1] >= FEWEST:
            taken[name].append(rows)
    return taken["sin"], taken["cos"]


def _frequencies(angle: Tensor) -> Tensor | None:
    """(half,) those by which t, or t and a whole number more, is multiplied; None if none is."""
    f = angle.diff(dim=0).mean(0)
    ahead = (angle[0, 0] / f[0]).round() if f[0] else 0
    t = torch.arange(ROWS)[:, None] + ahead
    of_t = bool(f.any()) and bool(((angle - t * f).abs() <= NEAR * f.abs()).all())
    return f if of_t else None


def _of_frequencies(f: Tensor, T: int) -> Wrong | None:
    """As of `told`, of the frequencies alone."""
    usual = 10000 ** (-torch.arange(len(f), dtype=f.dtype) / len(f))
    words = f"its frequencies are {_few(f)}, should be {_few(usual)}: 10000^(-i / half)"
    steps, from_1 = f.diff(), abs(float(f[0]) - 1) <= NEAR
    if bool((f > 0).all()) and _alike(f[1:] / f[:-1], f[1] / f[0]):
        turns = float(f.max()) * (T - 1) / (2 * math.pi)
        if turns <= 1:
            return Wrong(
                f"its fastest wave makes {turns:.2g} turns in {T} steps: {words}", "88-divided"
            )
        return Wrong(words, "88-rising") if from_1 and float(f[-1]) > math.pi else Wrong()
    on_a_line = _alike(steps, steps[0])
    if on_a_line and (from_1 or (f[0] == 0 and bool((steps < 0).all()))):
        return Wrong(words, "88-linear" if from_1 else "88-exp")
    return Wrong(words) if from_1 and bool((f >= 0).all() and (steps <= 0).all()) else None


def _alike(some: Tensor, others: Tensor) -> bool:
    return bool(((some - others).abs() <= NEAR * others.abs()).all())


def _few(f: Tensor) -> str:
    """The first three, and the last."""
    return ", ".join(f"{float(v):.4g}" for v in f[:3]) + f", ..., {float(f[-1]):.4g}"
