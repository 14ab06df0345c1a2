"""Stage loss (the role `loss`): a perfect model has loss 0, a zero model 1, every t is trained.

`given.py` judges what the model is given, `told.py` by which number it is told t, `weights.py` how
much each t counts (`snr.py`: as which paper has it), `costs.py` what known models cost,
`learned.py` what is made of an output and a learned variance beside it.
"""

from collections.abc import Iterator

from compare.candidate.loop.calls import sized
from compare.candidate.loss.calls import HEIGHT, SHAPES
from compare.candidate.loss.inside import Inside, look_inside, what_makes_x_t
from compare.candidate.loss.look import look
from compare.candidate.loss.slopes import slopes
from compare.candidate.subject import Subject
from compare.formulas.parts.losses import weights_of
from compare.measure import law as laws
from compare.measure.check import Check, found, guarded, note, yes_no
from compare.measure.tolerances import FACTOR, RATE
from compare.oracle import ALPHA_BAR, Oracle
from compare.stages.loss.costs import values
from compare.stages.loss.given import Shown, given, is_told_nothing, offset, times
from compare.stages.loss.learned import target, variance
from compare.stages.loss.rounding import rounding_of
from compare.stages.loss.snr import by_snr
from compare.stages.loss.told import of_its_own, told
from compare.stages.loss.weights import kind_of, own_weights, weighed
from compare.stages.stage import Stage

SPREAD = {  # by axes: what is compared with all others, the two shapes, and what they make
    4: ("images of one channel, (b, 1, h, w),", "(b, h, w) beside (b, 1, h, w)", "(b, b, h, w)"),
    2: ("points of one number, (b, 1),", "(b,) beside (b, 1)", "(b, b)"),
}
OF_EQUAL_T, ADDS = ("loss/zero", "loss/factor"), "loss/images"  # where all t, where any weigh


def checks(subject: Subject, oracle: Oracle) -> Iterator[Check]:
    """Range of the images, law of the noise, cover of t, values for known models."""
    yield from guarded("loss/run", _checks(subject, oracle))


def _checks(subject: Subject, oracle: Oracle) -> Iterator[Check]:
    table = subject.scheduler().alpha_bars(Oracle())
    if not bool(table.isfinite().all()):
        yield found("loss/run", "error", "not judged: its alpha-bar is not finite at every t")
        return
    asked, seen = subject.asked_as, look(subject, table, RATE)
    rounding = rounding_of(seen, table)
    may = laws.normal_bound(RATE / 2), FACTOR * rounding.unit * HEIGHT

    def by(oracle: Oracle) -> Inside:
        key = "inside", *asked, *what_makes_x_t(oracle)
        taken: Inside = subject.remember(key, lambda: look_inside(seen, table, oracle, *may))
        return taken

    inside, right = by(oracle), by(Oracle())
    if seen.shape[1:] != SHAPES[0]:
        yield note("loss/shape", f"judged with {sized(seen.shape)}")
    if seen.pair:
        yield note("loss/pair", "the model is taken for one that returns a pair")
    strength = subject.remember(("offset", *asked), lambda: offset(seen, right, rounding))
    if strength is not None:
        yield note("loss/offset", f"the noise has an offset: {strength.words}")
    shown = Shown(seen, inside, rounding, strength)
    own = of_its_own(subject, table, oracle)
    yield own
    yield from times(seen, oracle, subject.setting)
    alike = own.passed and not oracle.loss.others and not is_told_nothing(seen)
    if alike:
        key = "given", *asked, *what_makes_x_t(oracle), oracle.loss.noise
        yield from subject.remember(key, lambda: list(given(shown, oracle)))
    if len(seen.t.unique()) > 1:
        yield from told(subject, seen, table, oracle)
    if seen.gradient is None:
        yield note("loss/gradient", "a loss in NumPy has no gradient: not judged")
    else:
        learns, said = not seen.gradient, seen.gradient or "its gradient reaches the model"
        right_loss = "a mean of squares of (noise - model(x_t, t)), with its gradient"
        yield yes_no("loss/gradient", learns == oracle.loss.learns, said, said, right=right_loss)
    if seen.spread:
        single, squeezed, made = SPREAD[len(seen.shape)]
        words = f"{single} are compared with all others of the batch"
        should = f"output and noise of one shape: {squeezed} makes {made}"
        yield yes_no("loss/spread", False, "", words, right=should)
    if alike:
        yield from own_weights(slopes(subject, table, RATE))
    weight, kind = weights_of(subject.scheduler()), subject.setting.prediction_type
    meant = kind_of(slopes(subject, table, RATE), table, kind)
    known = None if weight is None or meant is None else by_snr(weight, table, meant)
    yield from weighed(weight, seen, known, oracle.loss.weight, kind)
    if not alike:
        return
    if seen.trained is not None:
        yield from variance(subject, table, seen.trained)
        yield from target(slopes(subject, table, RATE), rounding, oracle, subject.setting)
        return
    # The losses below are those of right x_t of the images that were given.
    off = (inside.noise - right.noise).abs().amax(dim=1)
    kept = (oracle.loss.scale, oracle.loss.shift) == (1.0, 0.0) and inside.is_range(1.0, 0.0)
    if kept and bool((off <= rounding.noise[seen.x_t]).all()):
        silent = [] if weight is None else [*OF_EQUAL_T, *([ADDS] if weight.hides else [])]
        judged = values(shown, oracle, subject.setting, slopes(subject, table, RATE))
        yield from (check for check in judged if check.id not in silent)


LOSS = Stage(
    name="loss",
    looks_at="the role `loss`",
    right="mean of (noise - model(x_t, t))^2, t uniform in 0..T-1 per image (Ho et al. eq. 14)",
    page="loss",
    checks=checks,
    needs=("loss",),
    sees=(*ALPHA_BAR, "add_noise", "loss"),
)
