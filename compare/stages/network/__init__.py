"""Stage network: what any network of a DDPM owes, whatever it is made of.

look    the network, asked once; how far rounding goes
time    t is seen: by every picture its own, every t apart, at which levels
waves   the sinusoids that it makes of t
batch   a prediction depends on its own picture alone
paths   gradients reach every weight; attention sums its weights to 1; skips

Weights that are all alike, as those of a last layer that begins at zero, are varied for the while.
"""

from collections.abc import Iterator

from torch import Tensor

from compare.candidate.denoiser.denoiser import Denoiser, doubled
from compare.candidate.subject import Subject
from compare.measure.check import Check, guarded, note, owing, yes_no
from compare.oracle import Oracle
from compare.stages.network.batch import batch, in_eval, in_training
from compare.stages.network.look import denoiser_of, measured, spread
from compare.stages.network.paths import attention, learns, skips
from compare.stages.network.time import time
from compare.stages.network.waves import RIGHT as WAVES
from compare.stages.network.waves import waves
from compare.stages.stage import Stage

DUTIES = {  # of checks: what is right where they fail
    "shape": "an output of the shape of the picture, or of twice its channels",
    "batch": "each picture by itself: norms over its own channels and pixels, attention over its "
    "own positions",
    "own-t": "a t of its own for each picture",
    "waves": WAVES,
    "learns": "no detach, no_grad, .data or .item() between a weight and the prediction",
}
LOOKS = {
    "eval": in_eval,
    "batch": batch,
    "time": time,
    "waves": waves,
    "training": in_training,
    "learns": learns,
    "attention": attention,
    "skips": skips,
}


def checks(subject: Subject, oracle: Oracle) -> Iterator[Check]:
    """Shape and size of the output; what it depends on, and what not; gradients."""
    yield from owing(guarded("network/run", _checks(subject)), DUTIES)


def _checks(subject: Subject) -> Iterator[Check]:
    shape = denoiser_of(subject).shape
    made = measured(subject, "made", lambda one: one.ask(one.pictures(), spread(one)))
    yield _shape(made, shape, measured(subject, "out", lambda one: one.out))
    finite = measured(subject, "finite", _finite)
    yield finite
    for name, look in LOOKS.items() if finite.passed else ():
        yield from guarded(f"network/{name}", look(subject))


def _finite(one: Denoiser) -> Check:
    """For pictures of N(0, 1)."""
    t, made = spread(one), one.ask(one.pictures(), spread(one))
    wrong = [n for n, each in zip(t.tolist(), made, strict=False) if not each.isfinite().all()]
    text = f"the output is not finite at t = {', '.join(map(str, wrong))}"
    return yes_no("network/finite", not wrong, "the output is finite", text)


def _shape(made: Tensor, shape: tuple[int, ...], declared: int) -> Check:
    of = tuple(made.shape)
    if of != shape and of == (shape[0], declared, *shape[2:]) and declared != 2 * shape[1]:
        return note("network/shape", f"it declares {declared} channels, its picture has {shape[1]}")
    if of == doubled(shape):
        return note("network/shape", "twice the channels: a learned variance beside, not judged")
    return yes_no(
        "network/shape",
        of == shape,
        "the output has the shape of the picture",
        f"the output has shape {of}, of pictures of shape {shape}",
    )


NETWORK = Stage(
    name="network",
    looks_at="the role `network`: t, the batch, gradients, whatever it is made of",
    right="eps_theta(x_t, t): of the shape of x_t, of its own picture and its own t (Ho et al.)",
    page="unet",
    checks=checks,
    needs=("network",),
    by_itself=True,
)
