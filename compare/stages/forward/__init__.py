"""Stage forward: add_noise and get_velocity, given the candidate's own alpha-bar table.

`method` judges both on the `images`, `steps` the law of single steps, `precision` half precision.
"""

from collections.abc import Iterator

import torch

from compare.candidate.generators import seed_everything
from compare.candidate.scheduler import Scheduler
from compare.candidate.subject import Subject
from compare.measure.check import Check, guarded, within, yes_no
from compare.measure.noise import Statistic, statistics
from compare.oracle import Oracle
from compare.stages.forward.method import as_its_coefficients, method_of_images, slipped
from compare.stages.forward.precision import half, kept
from compare.stages.forward.steps import composition
from compare.stages.stage import Stage

HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def checks(subject: Subject, oracle: Oracle) -> Iterator[Check]:
    """Coefficients at every t, images of several shapes, every shape of t, half precision."""
    scheduler = subject.scheduler()
    if subject.has("add_noise"):
        yield from method_of_images(scheduler, "add_noise", oracle, oracle.add_noise)
        yield from _of_ones(scheduler, oracle)
    if subject.has("get_velocity"):
        yield from method_of_images(scheduler, "get_velocity", oracle, oracle.velocity)
    if subject.has("add_noise") and scheduler.may_draw:
        yield from guarded("forward/noise", own_noise(scheduler), quiet=True)
    yield _inputs(subject)


def _of_ones(scheduler: Scheduler, oracle: Oracle) -> Iterator[Check]:
    """The law of single steps, half precision, and what that leaves behind.

    That add_noise raises, or has wrong coefficients, is said before.
    """
    off = slipped(scheduler, "add_noise", oracle, oracle.add_noise)
    for check in guarded("forward/composition", composition(scheduler, oracle), quiet=True):
        follows = off is not None and check.status == "differs"
        yield as_its_coefficients(check, "add_noise") if follows else check
    for name, dtype in HALVES.items():
        id = f"forward/{name}"
        yield from guarded(id, half(id, scheduler, oracle, dtype, off), quiet=True)
    yield from guarded("forward/kept", kept(scheduler), quiet=True)


def own_noise(scheduler: Scheduler) -> Iterator[Check]:
    """The law of the noise that an `add_noise` draws which is handed none."""

    def ask() -> dict[str, Statistic]:
        last = scheduler.setting.num_train_timesteps - 1
        x_0, t = torch.zeros(64, 4, 32, 32), torch.full((64,), last)
        seed_everything(scheduler.subject.seed)
        return statistics(*(scheduler.noise_of_its_own(x_0, t) for _ in range(2)))

    for name, seen in scheduler.subject.remember((scheduler.key, "own noise"), ask).items():
        yield within(
            f"forward/noise/{name.replace(' ', '-')}",
            abs(seen.value - seen.right),
            seen.allowed(),
            f"{name} of the noise that add_noise draws is {seen.value:.4f}, should be {seen.right}",
            reason=seen.reason(),
        )


def _inputs(subject: Subject) -> Check:
    changed = sorted(w for w in subject.overwritten if not w.startswith("step"))
    return yes_no(
        "forward/inputs",
        not changed,
        "images and noise are left as they were",
        f"{' and '.join(changed)} in place: a loss that compares with them goes wrong",
    )


FORWARD = Stage(
    name="forward",
    looks_at="add_noise and get_velocity: every t, per image, any shape of t, half precision",
    right="x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) noise (Ho et al. eq. 4)",
    page="forward",
    checks=checks,
    needs=("add_noise", "get_velocity"),
    sees=("add_noise", "velocity"),
)
