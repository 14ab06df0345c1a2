"""Stage variance: the noise of a step, its size at every t, its law, and where it comes from.

`step(0, 0)` leaves s_t z. With every source of randomness set to the same seed z is the same at
every t, so s_t is read exactly; a large draw in mid-chain says whether z is N(0, 1).
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from compare.candidate.scheduler import Scheduler
from compare.candidate.subject import Subject
from compare.measure.check import Check, found, guarded, owing, within
from compare.measure.draw import law_of_step
from compare.measure.probe import Probe, probe, some_steps
from compare.measure.step import chain, level_of, loud, noise_row, strided, where_t
from compare.measure.tolerances import propagated
from compare.measure.values import Expected, values
from compare.oracle import LEARNED, STEP, Level, Oracle, Setting
from compare.oracle.samplers import BY_NAME
from compare.oracle.samplers.ddpm import FIXED
from compare.oracle.samplers.sampler import Changes
from compare.stages import learned
from compare.stages.prediction import Steps
from compare.stages.stage import Stage

SOURCES = {  # of checks of where the noise comes from: what is right where they fail
    "replay": "the same noise for the same seed: all of it from one generator",
    "generators": "noise of image i from generator i alone, whatever the batch",
    "generator": "torch.randn(x_t.shape, generator=generator): noise from the given generator "
    "alone; without such a parameter the global state is fine",
}

ETA = 2e-3  # how far eta is read off the noise itself
OWN_RULE = (
    "what step makes of its model's second half is none of: v = (out + 1) / 2, v = out, the "
    "logarithm of the variance. Another rule is not judged"
)


def checks(subject: Subject, oracle: Oracle) -> Iterator[Check]:
    """Its size along the chain, the law of z, by which most wrong noise is seen, other sizes."""
    yield from owing(_checks(subject, oracle), SOURCES)


def _checks(subject: Subject, oracle: Oracle) -> Iterator[Check]:
    if subject.own_variance:
        yield found("variance/learned", "error", OWN_RULE)
        return
    (name, scheduler, steps), *others = _full(subject)
    id = f"variance/{name}"
    yield from guarded(id, _of_full(id, scheduler, oracle, steps))
    if "eta" not in subject.step_named:
        yield from eta_as_declared("variance/eta", subject, "step", subject.setting, ETA)
    drawing = loud(subject)
    if drawing is not None:
        yield from guarded("variance/law", law_of_step(drawing, oracle))
    for name, scheduler, steps in others:
        id = f"variance/{name}"
        yield from guarded(id, _of_full(id, scheduler, oracle, steps))
    for spacing, n in strided(subject):
        for kind, changes in _kinds(subject).items():
            often = kind == subject.setting.variance_type or kind in FIXED
            if not often and n != 10 and subject.level == "quick":
                continue
            id = f"variance/{kind}/{spacing}-{n}"
            short = subject.offers(**changes, timestep_spacing=spacing)
            if short is not None:
                yield from guarded(id, _of_short(id, short, oracle, spacing, n))


def eta_as_declared(
    id: str, subject: Subject, role: str, chosen: Setting, allowed: float
) -> Iterator[Check]:
    """Whether DDIM's steps, as they were read, are those of the eta that a candidate has, if it has
    one.

    With eta = 1 they are DDPM's: it may have both ways, and the eta of the other one.
    """
    declared = subject.declared_eta(role)
    if declared is None or "eta" not in BY_NAME[chosen.sampler].own:
        return
    off = abs(chosen.eta - declared)
    root = abs(abs(declared) ** 0.5 - chosen.eta) <= allowed < off
    slip = ": sigma^2 has eta, not its square" if root else ""
    yield within(
        id,
        off,
        allowed,
        f"its steps are those of eta = {chosen.eta:.3g}, and its eta is {declared:g}{slip}",
        reason="read off the noise of its steps, of which the size is sigma = eta sqrt(beta-tilde)",
    )


def _kinds(subject: Subject) -> dict[str, Changes]:
    """The kinds of noise that are offered, by name, the base one first."""
    sizes = BY_NAME[subject.setting.sampler].sizes(subject.setting)
    return {kind: sizes[kind] for kind in subject.all_offered(sizes)}


def _full(subject: Subject) -> list[tuple[str, Scheduler, Steps]]:
    T, quick = subject.setting.num_train_timesteps, subject.level == "quick"
    kinds = [
        (kind, scheduler, some_steps(T) if kind.endswith("_log") and quick else None)
        for kind, scheduler in subject.all_offered(_kinds(subject)).items()
    ]
    wanted: dict[str, dict] = {
        "cosine": {"beta_schedule": "squaredcos_cap_v2"},
        "v_prediction": {"prediction_type": "v_prediction"},
        "clipped": {"clip_sample": True},
    }
    return kinds + [
        (name, scheduler, some_steps(T, 16))
        for name, scheduler in subject.all_offered(wanted).items()
        if scheduler.setting != subject.setting and scheduler.usable()
    ]


def _of_full(id: str, scheduler: Scheduler, oracle: Oracle, steps: Steps) -> Iterator[Check]:
    if scheduler.setting.variance_type in LEARNED:
        yield from learned.of_noise(id, scheduler, oracle)
        return
    noise_only = scheduler.setting != scheduler.subject.setting
    yield _size(id, scheduler, oracle, probe(scheduler, None, steps, noise_only))


def _of_short(
    id: str, scheduler: Scheduler, oracle: Oracle, spacing: str, n: int
) -> Iterator[Check]:
    seen = chain(scheduler.subject, oracle, spacing, n)
    if scheduler.setting.variance_type in LEARNED:
        yield from learned.of_noise(id, scheduler, oracle, n, seen.prev)
        return
    same = scheduler.setting == seen.scheduler.setting
    rows = seen.rows if same else probe(scheduler, n, None, True)
    yield _size(id, scheduler, oracle, rows, seen.prev)


def _size(
    id: str, scheduler: Scheduler, oracle: Oracle, rows: Probe, prev: Tensor | None = None
) -> Check:
    own, pure = scheduler.alpha_bars(oracle), oracle.alpha_bar(scheduler.setting)
    return values(
        id,
        "the noise of a step, s_t z,",
        rows.zero,
        _expected(scheduler, oracle, rows, own, prev),
        _expected(scheduler, oracle, rows, pure),
        where=where_t(rows),
        input=f"step(0, t, 0) at {len(rows.t)} steps of a chain of {rows.n}, one random state",
    )


def _expected(
    scheduler: Scheduler, oracle: Oracle, rows: Probe, table: Tensor, prev: Tensor | None = None
) -> Expected:
    setting = scheduler.setting

    def expected() -> tuple[Tensor, Tensor]:
        level = level_of(oracle, table, rows, setting, prev)
        z, off = noise_row(scheduler.subject, oracle)

        def formula(at: Level) -> Tensor:
            noise = oracle.sigma(at, setting) * oracle.noise_of(z, torch.zeros_like(z))
            return oracle.finish(noise, setting)

        right = formula(level)
        # Under the square root, a variance that should be 0 may be clamped to 1e-20.
        slack = 1e-9 * z.abs() + off * right.abs()
        return right, propagated(formula, level, right.abs()) + slack

    return expected


VARIANCE = Stage(
    name="variance",
    looks_at="size of the noise for every t, its law, its source",
    right="sigma z with sigma^2 = beta or (1-ab_prev)/(1-ab) beta, z ~ N(0, 1) fresh, none "
    "at the last step (Ho et al. eq. 7, algorithm 2)",
    page="variance",
    checks=checks,
    needs=("step",),
    sees=STEP,
)
