"""What a loss makes of an output and a learned variance beside it.

What known models cost does not say it: the bound on the likelihood, of which the variance is
learned, adds its own cost to that of the output (Nichol & Dhariwal eq. 16). The slope at the output
has none of it, as the bound takes the output for a constant, and the slope at v nothing else.
"""

from collections.abc import Iterator
from contextlib import suppress

from torch import Tensor

from compare.candidate.load import Broken
from compare.candidate.loop.look import look
from compare.candidate.loss.slopes import Slopes
from compare.candidate.loss.variance import Trained
from compare.candidate.subject import Subject
from compare.formulas.parts.losses import slack
from compare.measure.check import Check, found, note, yes_no
from compare.oracle import LEARNED, Oracle, Setting
from compare.oracle.algorithms import TARGETS
from compare.stages.loss.rounding import Rounding

UNKNOWN = "not judged: the loss trains a learned variance by a rule that is not known"
NOT_AT_ALL = "a learned variance stands beside the output, and nothing in this loss trains it"
RIGHT = "loss and loop take the second half of the output for one v (Nichol & Dhariwal eq. 15)"
NOT_READ = "what the output is compared with cannot be read beside a learned variance"


def variance(subject: Subject, table: Tensor, trained: Trained) -> Iterator[Check]:
    """Whether the variance is trained to that of q(x_prev given x_t, x_0), by the v of the loop."""
    id = "loss/variance"
    if trained.kind is None:
        yield found(id, "error", UNKNOWN) if trained.at_all else note(id, NOT_AT_ALL)
        return
    lower, sampled = LEARNED[trained.kind], None
    with suppress(Broken):  # what a loop raises is told of it
        seen = look(subject, table).learned if subject.has("sample") else None
        sampled = seen.lower if seen is not None and seen.used and seen.known else None
    words = f"the variance is trained to that of the posterior, by a v of {lower:g} to 1"
    wrong = f"{words}, and the loop takes it for one of {sampled or 0:g} to 1"
    yield yes_no(id, sampled in (None, lower), words, wrong, right=RIGHT)


def target(
    seen: Slopes | None, rounding: Rounding, oracle: Oracle, setting: Setting
) -> Iterator[Check]:
    """The coefficients of x_0 and of the noise in what the first half is compared with."""
    if seen is None or seen.target is None:
        yield found("loss/target", "error", f"not judged: {NOT_READ}")
        return
    kind, table = setting.prediction_type, oracle.alpha_bar(setting)
    of = oracle.loss.target or TARGETS[kind]
    right, moved = of(table), of((table * (1 + rounding.table)).clamp(max=1))
    for name, known, curve, other in zip(
        ("noise", "x_0"), (seen.target.noise, seen.target.x_0), right, moved, strict=True
    ):
        allowed = slack(known) + (other - curve).abs()[seen.t]
        off = (known.value - curve[seen.t]).abs()
        worst = int((off - allowed).argmax())
        yield yes_no(
            f"loss/target/{name}",
            bool((off <= allowed).all()),
            f"the output is compared with {kind} as to {name}",
            f"the output is compared with {float(known.value[worst]):.4g} {name} at "
            f"t={int(seen.t[worst])}, should with {float(curve[seen.t[worst]]):.4g} {name}",
            measured=float(off[worst]),
            allowed=float(allowed[worst]),
            reason="rounding of the slope, and of a float32 alpha-bar",
        )
