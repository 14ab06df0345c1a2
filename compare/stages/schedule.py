"""Stage schedule: is alpha-bar_t the product it should be, for each family that is offered?"""

from collections.abc import Iterator

import torch
from torch import Tensor

from compare.candidate.load import Broken
from compare.candidate.scheduler import Scheduler
from compare.candidate.subject import Subject
from compare.measure.check import Check, guarded, note
from compare.measure.tolerances import FACTOR, UNIT, log_snr, table_bound
from compare.measure.values import values
from compare.oracle import Oracle, Setting
from compare.stages.stage import Stage

FAMILIES = ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid")
GIVEN = (0.001, 0.004, 0.01, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.9)


def schedulers(subject: Subject) -> dict[str, Scheduler]:
    """The schedules to look at, by name: each family, other ends, another T, given betas."""
    base = subject.setting
    wanted: dict[str, dict] = {base.beta_schedule: {}}
    wanted |= {name: {"beta_schedule": name} for name in FAMILIES}
    wanted["other-ends"] = {"beta_start": 0.001, "beta_end": 0.05}
    wanted["T=50"] = {"num_train_timesteps": 50}
    wanted["cosine-T=50"] = {"num_train_timesteps": 50, "beta_schedule": "squaredcos_cap_v2"}
    wanted["given"] = {"trained_betas": GIVEN, "num_train_timesteps": len(GIVEN)}
    v = {"prediction_type": "v_prediction"} if "prediction_type" in subject.named else {}
    for name in FAMILIES:
        wanted[f"zero-snr-{name}"] = {"rescale_betas_zero_snr": True, "beta_schedule": name, **v}
    return subject.all_offered(wanted)


def checks(subject: Subject, oracle: Oracle) -> Iterator[Check]:
    """Tables of every family, in log-SNR; `betas` where they are shown."""
    for name, scheduler in schedulers(subject).items():
        yield from guarded(f"schedule/{name}", _table(name, scheduler, oracle))


def _table(name: str, scheduler: Scheduler, oracle: Oracle) -> Iterator[Check]:
    setting, id = scheduler.setting, f"schedule/{name}"
    is_base = name == scheduler.subject.setting.beta_schedule
    own, right = scheduler.table(), oracle.alpha_bar(setting)
    if own is None:
        if is_base:
            yield note(id, "alpha-bar cannot be read: no alphas_cumprod, no fit add_noise")
        return
    if len(own) != len(right):
        raise Broken(f"the alpha-bar table has {len(own)} entries, should have {len(right)}", False)
    asked = f"beta_schedule={setting.beta_schedule!r}, T={setting.num_train_timesteps}"
    yield values(
        id,
        "log-SNR of alpha-bar",
        log_snr(own),
        lambda: (log_snr(right), bound(setting, oracle)),
        where=lambda at: f"t={at[0]}",
        tolerance="table",
        input=asked,
    )
    betas = scheduler.betas()
    if betas is not None and len(betas) == len(right) and not setting.rescale_betas_zero_snr:
        expected = oracle.betas(setting)
        yield values(
            f"{id}/betas",
            "beta",
            betas,
            lambda: (expected, FACTOR * UNIT * (1 + expected)),
            where=lambda at: f"t={at[0]}",
            tolerance="table",
            input=asked,
        )
    left = float(own[-1].clamp(min=0).sqrt())
    if is_base and left > 0.05:
        message = f"sqrt(alpha-bar_T) = {left:.3f}: x_T still carries the image (T too short?)"
        yield note("schedule/terminal", message)


def bound(setting: Setting, oracle: Oracle) -> Tensor:
    """Allowed deviation of the log-SNR, (T,)."""
    plain = oracle.table(oracle.betas(setting))
    off = table_bound(plain)
    alpha_bar = oracle.alpha_bar(setting)
    if setting.rescale_betas_zero_snr:
        # Subtracting the last root leaves the absolute error of both, of a smaller number.
        root = plain.sqrt()
        off = (off * root + off[-1] * root[-1]) / (root - root[-1]).clamp(min=1e-30)
        off = off + table_bound(alpha_bar.clamp(min=1e-30))
        off = torch.where(alpha_bar > 0, off, torch.zeros_like(off))
    return off / (1 - alpha_bar).clamp(min=1e-30)


SCHEDULE = Stage(
    name="schedule",
    looks_at="alpha-bar of every beta_schedule, in log-SNR; betas",
    right="alpha_bar_t = product of 1 - beta_s for s = 0..t (Ho et al., below eq. 3)",
    page="schedule",
    checks=checks,
)
