"""By what a loss weighs the images, where that goes by their t."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from compare.candidate.loss.look import Seen
from compare.candidate.loss.slopes import Slopes
from compare.formulas.parts.losses import Weights
from compare.measure import law as laws
from compare.measure.check import Check, note, yes_no
from compare.measure.tolerances import RATE
from compare.oracle import F64
from compare.oracle.algorithms import TARGETS, Weight
from compare.stages.loss.snr import BySnr, form_of, some_snr

ALIKE = 1e-3  # of a coefficient of a target: far above what float32 tables make of it


def weighed(
    found: Weights | None, seen: Seen, known: BySnr | None, wanted: Weight | None, kind: str
) -> Iterator[Check]:
    """A note of the curve, as a perfect model has the least loss with any; a weight of 0 is wrong.

    So is one of a paper's that is another's, or upside down: `known`. Where t are not drawn alike,
    and weights may make up for it, nothing is said. `wanted` is the weight that is looked for.
    """
    if found is None or not _drawn_alike(found, seen):
        return
    id = "loss/weight"
    if known is not None:
        letters, form = f"weight(t) = {known.letters}", known.right
        if wanted is not None:
            form = form_of(wanted, kind) or ""
        words = f"your loss weighs t by {known.letters}, {known.words}"
        wrong = f"{words}, should by {known.should}"
        check = yes_no(id, known.form == form, words, wrong, formula=letters)
        yield replace(check, status="note" if check.passed else check.status, right=known.should)
        return
    if found.trains:
        words = f"{found.words}, unless that is meant: a convention"
        yield note(id, words, formula=found.letters)
        return
    none = found.t[found.values <= 0].tolist()
    places = f"t={none[0]}" + (f" and {len(none) - 1} more" if len(none) > 1 else "")
    words = f"{found.words}; {places}: no model is trained by a weight of 0 or less"
    as_looked_for = wanted is not None and bool((wanted(some_snr(), kind) <= 0).any())
    more = {"formula": found.letters, "right": "weights above 0: 1 at every t (Ho et al. eq. 14)"}
    yield yes_no(id, as_looked_for, "some t have no weight", words, **more)


def kind_of(seen: Slopes | None, table: Tensor, said: str) -> str | None:
    """What a model predicts for which a loss is by what it compares with; what is said, where that
    is not read; None where no model predicts it, and for which its weight is meant is not known."""
    if seen is None or seen.target is None:
        return said
    parts = (seen.target.noise.value, seen.target.x_0.value)
    for kind in sorted(TARGETS, key=lambda kind: kind != said):
        right = (curve[seen.t] for curve in TARGETS[kind](table))
        off = [float((a - b).abs().max()) for a, b in zip(parts, right, strict=True)]
        if max(off) <= ALIKE:
            return kind
    return None


def own_weights(found: Slopes | None) -> Iterator[Check]:
    """Whether an image is weighed by its own t, if that is by some t of its batch."""
    if found is not None and "weight" in found.of_others:
        words = "the weight of an image is that of the t of another image of the batch"
        yield yes_no("loss/own-weight", False, "", words, right="weights of an image's own t")


def _drawn_alike(found: Weights, seen: Seen) -> bool:
    """True if the mean weight of what is drawn is that over t, within the law of such a mean.

    Twice its standard error, for t that are drawn in pairs.
    """
    curve = torch.full((int(max(found.t.max(), seen.t.max())) + 1,), torch.nan, dtype=F64)
    curve[found.t] = found.values
    drawn = curve[(seen.t.flatten().long() - seen.told.base).clamp(min=0)]
    drawn = drawn[drawn.isfinite()]
    if not len(drawn):
        return False
    error = float(found.values.std()) / len(drawn) ** 0.5
    return abs(float(drawn.mean() - found.values.mean())) <= 2 * laws.normal_bound(RATE) * error
