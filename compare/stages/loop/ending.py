"""The end of a candidate's own loop: the pictures that it returns against its last step."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from compare.candidate.loop.look import FAR_OUTSIDE, Run, look_far_outside
from compare.measure.check import Check, note, within, yes_no
from compare.measure.loop_steps import Steps, grain, of_mix
from compare.measure.noise import moments
from compare.measure.step import mean_bound, rounding
from compare.measure.tolerances import TOLERANCES
from compare.measure.values import deviation
from compare.oracle import F64, Level, Oracle, Setting
from compare.oracle.algorithms import rounded_and_clamped
from compare.oracle.samplers import silent

Forms = dict[str, Callable[[Tensor], Tensor]]
UNIT_FORM = "in [0, 1]"  # of pictures
CUT = "clamped to [0, 1]: of pictures in [-1, 1] the darker half is lost"
FORMS: Forms = {
    "as it is": lambda x: x,
    "clamped": lambda x: x.clamp(-1, 1),
    UNIT_FORM: lambda x: ((x + 1) / 2).clamp(0, 1),
    f"{UNIT_FORM}, not clamped": lambda x: (x + 1) / 2,
}
UNMAPPED_FORMS: Forms = {"as it is": lambda x: x, "clamped to [0, 1]": lambda x: x.clamp(0, 1)}
WRONG_FORMS: Forms = {
    CUT: lambda x: x.clamp(0, 1),
    "stretched by its own min and max": lambda x: (x - x.min()) / (x.max() - x.min()),
    "stretched by its own min and max to [-1, 1]": (
        lambda x: 2 * (x - x.min()) / (x.max() - x.min()) - 1
    ),
}
LAST_ALPHA = (
    "the last step ends at the alpha-bar of t = 0, not at 1, as latent diffusion's and Diffusers' "
    "with set_alpha_to_one=False: {:.3g} of the noise that it goes along is left in the picture"
)
ONE_LEVEL = 1  # a clip of x0-hat to [-1, 1], rounded by float32, may end just below a grey level


def pictures(steps: Steps, chosen: Setting, unmapped: bool) -> Iterator[Check]:
    """The result against the last step: as it is, clamped, in [0, 1], or as bytes.

    With `unmapped` the data are in [0, 1], and never mapped to [-1, 1].
    """
    found = list(_pictures(steps, chosen, unmapped))
    first = _to_the_first(steps, chosen)
    if first is not None and not all(check.passed for check in found):
        there = list(_pictures(first, chosen, unmapped))
        if all(check.passed for check in there):
            left = float((1 - first.level.table[0]).sqrt())
            yield note("sampling/loop/last-alpha", LAST_ALPHA.format(left))
            found = there
    yield from found


def _to_the_first(steps: Steps, chosen: Setting) -> Steps | None:
    """The same, the last step ending at t = 0, of steps along the noise that end above it.

    Only by less than a step of theirs: else the step from t = 0 is missing (mistake 79); of a
    sampler with a memory also by one, as DPM-Solver ends its list at its first noise.
    """
    end, level, sampler = _end(steps), steps.level, steps.oracle.sampler(chosen)
    lengths = -level.t.flatten().diff()
    most = int(lengths.max()) if sampler.remembers else int(lengths.min()) - 1
    along = sampler.noise_in_mean(chosen) > 0 or chosen in silent(chosen)
    above = int(end.prev) < 0 < int(end.t) <= most
    is_asked = sampler.remembers or steps.oracle == Oracle().of_steps()
    if not (above and along and is_asked):
        return None
    alpha_bar_prev = torch.where(level.prev < 0, level.table[0], level.alpha_bar_prev)
    ended = replace(level, prev=level.prev.clamp(min=0), alpha_bar_prev=alpha_bar_prev)
    return replace(steps, level=ended)


def _pictures(steps: Steps, chosen: Setting, unmapped: bool) -> Iterator[Check]:
    run, oracle = steps.run, steps.oracle
    last, bound = _last(steps, chosen)
    sigma = float(oracle.sigma(_end(steps), chosen)) if oracle.loop.keeps_last else 0.0
    lost = int(run.result.isnan().sum())
    if lost:
        words = f"{lost} of {run.result.numel()} numbers of the result are NaN"
        yield yes_no("sampling/loop/pictures", False, "", words)
    elif sigma > 0:  # noise is looked for
        yield _noisy_pictures(run.result.to(F64), last, sigma)
    elif run.result.dtype == torch.uint8:
        yield from _bytes(run, last, bound, oracle)
    else:
        forms = UNMAPPED_FORMS if unmapped else FORMS
        yield _floats(run.result.to(F64), last, bound, forms)


def _end(steps: Steps) -> Level:
    """The level of the last call."""
    return steps.level.at(torch.tensor([len(steps.run.t) - 1]))


def _last(steps: Steps, chosen: Setting) -> tuple[Tensor, Tensor]:
    """(b, c, h, w) what the last step leaves before its noise, and how far rounding may move it."""
    run, oracle = steps.run, steps.oracle
    at_end = replace(steps, calls=torch.tensor([len(run.t) - 1]))
    end, kept, last = at_end.at(chosen), at_end.kept(chosen), run.x[-1]
    bound = torch.zeros_like(last)
    if oracle.loop.keeps_last:
        last = oracle.step_mean(run.out[-1:], run.x[-1:], end, chosen, memory=kept)[0]
        out, x = run.out[-1:].abs(), run.x[-1:].abs()
        sizes = at_end.kept(chosen, torch.abs)
        bound = mean_bound(oracle, -out, x, None, end, chosen, sizes)[0]
        bound = bound + of_mix(run, oracle, out, end, chosen)[0]
        finer = run.x[-1:] * (1 + grain(run.x))
        finer = oracle.step_mean(run.out[-1:], finer, end, chosen, memory=kept)[0]
        bound = bound + (finer - last).abs()
    return last, bound + rounding(1 + last.abs())  # bytes, and [0, 1], are made of 1 + x


def early_pictures(steps: Steps, chosen: Setting, unmapped: bool) -> Iterator[Check]:
    """The same of a loop that stops before t = 0 and adds no noise at its last step.

    It may add some: so this is judged only where what is returned is surely made of that step's
    mean, in a form that is known, right or wrong, or as bytes that are all within a level.
    """
    silent = replace(steps, oracle=replace(steps.oracle, noisy=_never))
    loop = replace(silent.oracle.loop, keeps_last=True)
    if _is_of_the_mean(replace(silent, oracle=replace(silent.oracle, loop=loop)), chosen):
        yield from pictures(silent, chosen, unmapped)


def _never(level: Level) -> Tensor:
    """No step adds noise."""
    return torch.zeros_like(level.prev, dtype=torch.bool)


def _is_of_the_mean(steps: Steps, chosen: Setting) -> bool:
    """True if pictures are made of the last mean, however."""
    (last, bound), got = _last(steps, chosen), steps.run.result.to(F64)
    if steps.run.result.dtype == torch.uint8:
        return bool(((rounded_and_clamped(last) - got).abs() <= ONE_LEVEL).all())
    forms = {**FORMS, **UNMAPPED_FORMS, **WRONG_FORMS}
    return any(_in_form(got, last, bound, *form).passed for form in forms.items())


def _noisy_pictures(got: Tensor, last: Tensor, sigma: float) -> Check:
    """The noise of the last step, in pictures as they are or in [0, 1]: one of the two fits."""
    seen = [moments((form - last) / sigma)["std"] for form in (got, 2 * got - 1)]
    best = next((std for std in seen if abs(std.value - 1) <= std.allowed()), seen[0])
    return within(
        "sampling/loop/pictures",
        abs(best.value - 1),
        best.allowed(),
        f"the result is {sigma * best.value:.3g} away from the last step's mean, should be "
        f"{sigma:.3g}",
        reason=best.reason(),
    )


def _bytes(run: Run, last: Tensor, bound: Tensor, oracle: Oracle) -> Iterator[Check]:
    """(x + 1) * 127.5, rounded and clamped, or made as the oracle's `codec` says.

    Where float32 may carry a value over a tie, the bytes on both sides are right.
    """
    codec = oracle.loop.codec
    wanted = codec(torch.tensor([FAR_OUTSIDE, -FAR_OUTSIDE]))
    far = look_far_outside(run)
    half = far.shape[-1] // 2
    white, black = (v.float() for v in (far[..., :half], far[..., half:]))
    off = torch.cat([white - wanted[0], black - wanted[1]], dim=-1).abs()
    yield yes_no(
        "sampling/loop/clamp",
        bool((off <= ONE_LEVEL).all()),
        "values outside [-1, 1] become white and black",
        f"brighter than white becomes {white.mean():.0f}, darker than black {black.mean():.0f}",
    )
    made = [codec(x) for x in (last - bound, last, last + bound)]
    wrong = int((torch.stack(made) != run.result.to(F64)).all(dim=0).sum())
    yield yes_no(
        "sampling/loop/pictures",
        wrong == 0,
        "the bytes are those of the last step",
        f"{wrong} of {last.numel()} bytes are not (x + 1) * 127.5, rounded and clamped",
        measured=float(wrong),
        allowed=0.0,
        reason="float32 rounding of the last step decides ties alone",
    )


def _floats(got: Tensor, last: Tensor, bound: Tensor, forms: Forms) -> Check:
    """The result in the first form that it has; a clamp leaves nothing of what is far outside.

    In none of them it is said how far it is from the nearest.
    """
    tried = [_in_form(got, last, bound, name, form) for name, form in forms.items()]
    nearest = min(tried, key=lambda check: check.measured or 0.0)
    found = next((check for check in tried if check.passed), nearest)
    for words, wrong in WRONG_FORMS.items():
        if not found.passed and _in_form(got, last, bound, words, wrong).passed:
            return replace(found, message=f"the result is the last step, {words}")
    return found


def _in_form(
    got: Tensor, last: Tensor, bound: Tensor, name: str, form: Callable[[Tensor], Tensor]
) -> Check:
    low, right, high = (form(x) for x in (last - bound, last, last + bound))
    within_bound = torch.maximum(high - right, right - low) + rounding(right)
    status, _, _, off, allowed = deviation(got, right, within_bound)
    return yes_no(
        "sampling/loop/pictures",
        status != "differs",
        f"the result is the last step, {name}",
        f"the result is {off:.3g} away from the last step's mean: noise or a step at the end, or "
        "the mean is another",
        measured=off,
        allowed=allowed,
        reason=TOLERANCES["coefficient"].reason,
        compared=lambda: (got, right, within_bound),
    )
