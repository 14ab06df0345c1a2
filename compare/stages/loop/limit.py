"""What a loop makes of an x0-hat outside [-1, 1]: it keeps it, limits it, or thresholds each image.

The loop is run once more, with a model that leaves that range in every second picture. What is made
of one picture hangs on no other.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import torch
from torch import Tensor

from compare.candidate.loop.look import look_outside
from compare.measure.check import Check, found, yes_no
from compare.measure.loop_steps import Steps, clear, largest
from compare.oracle import F64, Setting
from compare.oracle.samplers import BY_NAME

ID = "sampling/loop/limit"
RIGHT = "x0-hat as it is, limited to a range, or thresholded image by image (Saharia et al. 2022)"
RANGES = (1.0, 1.05, 1.1, 1.2, 1.25, 1.3, 1.4, 1.5, 1.75)
QUANTILES = (0.995, 0.99, 0.95, 0.9, 0.999, 0.9995, 1.0)
NO_LIMIT = 1e9
SPARSE = 8  # of the calls that show a step, beside the last, where x0-hat weighs most
ONE_NUMBER = 1e-3  # of a divisor: what float32 leaves of one that is the same at every pixel


def limit(steps: Steps, chosen: Setting) -> Iterator[Check]:
    """Whether x0-hat outside [-1, 1] is dealt with in a known way; `steps` are right inside it."""
    drawn = steps.run.drawn
    if drawn is None:
        return
    far = look_outside(steps.run)
    if far is None:
        return
    drawn = replace(drawn, z=_flat(drawn.z))
    far = replace(far, x=_flat(far.x), out=_flat(far.out), drawn=drawn)
    few = clear(replace(steps, run=far)).few()
    few = replace(few, calls=torch.cat([few.calls[::SPARSE], few.calls[-4:]]).unique())
    if not len(few.calls):
        return
    z = drawn.z[few.calls]

    def fits(way: Setting) -> bool:
        return bool((few.off(way) <= few.bound(way, largest, z)).all())

    if any(map(fits, _ways(chosen))):
        yield yes_no(ID, True, "x0-hat outside [-1, 1] is kept, limited or thresholded", "")
    elif _undivided(few, chosen, z):
        words = "x0-hat is limited to the quantile s of its image, and not divided by s"
        yield replace(yes_no(ID, False, "", words), right=RIGHT)
    elif one_sided := _one_sided(few, chosen, z):
        yield replace(yes_no(ID, False, "", one_sided), right=RIGHT)
    elif _inside_is_kept(few, chosen, z):
        yield found(ID, "close", "x0-hat outside [-1, 1] is limited in a way of its own")
    else:
        yield replace(yes_no(ID, False, "", _words(few, chosen)), right=RIGHT)


def _flat(images: Tensor) -> Tensor:
    """(calls, b, c, h, w) -> (calls, b, 1, 1, pixels), as thresholds are of whole images."""
    return images.reshape(*images.shape[:2], 1, 1, -1)


def _ways(chosen: Setting) -> Iterator[Setting]:
    """The step with each known way to deal with x0-hat outside [-1, 1]."""
    plain = chosen.unlimited
    yield plain
    limits = [replace(plain, clip_sample=True, clip_sample_range=r) for r in RANGES]
    limits += [
        replace(plain, thresholding=True, dynamic_thresholding_ratio=q, sample_max_value=most)
        for q, most in product(QUANTILES, (NO_LIMIT, 1.5))
    ]
    yield from (replace(way, **more) for way, more in product(limits, _derived(chosen)))


def _derived(chosen: Setting) -> list[dict[str, Any]]:
    """How the noise may be derived of an x0-hat that is limited: as it is, or again."""
    may_derive_again = "use_clipped_model_output" in BY_NAME[chosen.sampler].own
    ways = (False, True) if may_derive_again else (chosen.use_clipped_model_output,)
    return [{"use_clipped_model_output": again} for again in ways]


def _undivided(steps: Steps, chosen: Setting, z: Tensor) -> bool:
    """True if x0-hat is clamped to the quantile by which a dynamic threshold divides it as well."""
    for more in _derived(chosen):
        i, x_0, is_, weight = _read(steps, replace(chosen, **more))
        off = steps.bound(chosen.unlimited, largest, z)[i] / weight.abs().amin()
        for q in QUANTILES:
            s = x_0.abs().flatten(1).quantile(q, dim=1).clamp(min=1).reshape(-1, 1, 1, 1)
            if bool(((x_0.clamp(-s, s) - is_).abs() <= off).all()):
                return True
    return False


def _one_sided(steps: Steps, chosen: Setting, z: Tensor) -> str:
    """That x0-hat is limited to -1 below and kept above, or to 1 above and kept below; else ""."""
    i, x_0, is_, weight = _read(steps, chosen)
    off = steps.bound(chosen.unlimited, largest, z)[i] / weight.abs().amin()
    for limits, words in (
        ({"min": -1.0}, "below, to -1, and not above"),
        ({"max": 1.0}, "above, to 1, and not below"),
    ):
        if bool(((x_0.clamp(**limits) - is_).abs() <= off).all()):
            return f"x0-hat is limited {words}: its mean is moved"
    return ""


def _read(steps: Steps, chosen: Setting) -> tuple[int, Tensor, Tensor, Tensor]:
    """The step that shows x0-hat best: its place, x0-hat, what became of that, and its weight."""
    plain, at = chosen.unlimited, steps.level.at(steps.calls)
    one = torch.ones_like(steps.run.x[steps.calls], dtype=F64)
    weight = steps.oracle.step_mean(0 * one, 0 * one, at, plain, one)
    end, right = steps.ends(plain)
    i = int(weight.abs().flatten(1).amin(dim=1).argmax())
    x_0 = _x_0(steps, chosen)[i]
    return i, x_0, x_0 + ((end - right) / weight)[i], weight[i]


def _inside_is_kept(steps: Steps, chosen: Setting, z: Tensor) -> bool:
    """True if each step is right at the pixels whose x0-hat is inside [-1, 1]."""
    end, right = steps.ends(chosen.unlimited)
    inside = _x_0(steps, chosen).abs() <= 1
    bound = steps.bound(chosen.unlimited, largest, z).reshape(-1, 1, 1, 1, 1)
    return bool((((end - right).abs() <= bound) | ~inside).all())


def _x_0(steps: Steps, chosen: Setting) -> Tensor:
    at, calls = steps.level.at(steps.calls), steps.calls
    return steps.oracle.x_0(chosen.prediction_type, steps.run.out[calls], steps.run.x[calls], at)


def _words(steps: Steps, chosen: Setting) -> str:
    """What becomes of x0-hat at the step that shows it best."""
    at = steps.level.at(steps.calls)
    i, x_0, is_, _ = _read(steps, chosen)
    inside = x_0.abs() > 0.1
    divisors = (x_0 / is_)[inside]
    by = float(divisors.median())
    if bool(((divisors / by - 1).abs() <= ONE_NUMBER).all()):
        of = float(x_0.abs().max())
        what = "the largest value of the batch" if abs(by / of - 1) < ONE_NUMBER else "one number"
        words = (
            f"x0-hat of every image is divided by {by:.3g} at t={int(at.t.flatten()[i])}, {what}"
        )
        return f"{words}: an image inside [-1, 1] becomes darker where another is outside it"
    return (
        "x0-hat of an image inside [-1, 1] is another where other pixels are outside it, and is "
        "not thresholded by a quantile of its image"
    )
