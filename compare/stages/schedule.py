"""Stage schedule: is alpha-bar_t the product it should be, for each family that is offered?"""

import torch
from torch import Tensor

from compare.candidate.scheduler import Broken
from compare.candidate.subject import Subject
from compare.measure.ledger import Ledger
from compare.measure.tolerances import FACTOR, UNIT, table_bound
from compare.oracle import Oracle, Setting
from compare.verdict.report import Check

FAMILIES = ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid")
GIVEN = (0.001, 0.004, 0.01, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.9)


def settings(subject: Subject) -> dict[str, Setting]:
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
    found = {name: subject.offers(**changes) for name, changes in wanted.items()}
    return {name: setting for name, setting in found.items() if setting is not None}


def log_snr(alpha_bar: Tensor) -> Tensor:
    """log(alpha_bar / (1 - alpha_bar)), so that both ends of the chain count."""
    return alpha_bar.log() - (-alpha_bar).log1p()


def checks(subject: Subject, oracle: Oracle) -> list[Check]:
    """Tables of every family, in log-SNR; `betas` where they are shown."""
    ledger = Ledger("schedule", subject.strict)
    for name, setting in settings(subject).items():
        with ledger.guard(name):
            _table(ledger, name, subject, setting, oracle)
    return ledger.checks


def _table(ledger: Ledger, name: str, subject: Subject, setting: Setting, oracle: Oracle) -> None:
    built = subject.build(setting)
    assert built is not None
    own, right = built.table(), oracle.alpha_bar(setting)
    if own is None:
        if name == subject.setting.beta_schedule:
            ledger.add(
                name, "note", "alpha-bar cannot be read: no alphas_cumprod, no fit add_noise"
            )
        return
    asked = f"beta_schedule={setting.beta_schedule!r}, T={setting.num_train_timesteps}"
    if len(own) != len(right):
        raise Broken(f"the alpha-bar table has {len(own)} entries, should have {len(right)}", False)
    ledger.values(
        name,
        "log-SNR of alpha-bar",
        log_snr(own),
        lambda: (log_snr(right), bound(setting, oracle)),
        where=lambda at: f"t={at[0]}",
        tolerance="table",
        input=asked,
        catches="mistakes 1, 4, 7, 8, 10, 11, 13",
    )
    betas = built.betas()
    if betas is not None and len(betas) == len(right) and not setting.rescale_betas_zero_snr:
        expected = oracle.betas(setting)
        ledger.values(
            f"{name}/betas",
            "beta",
            betas,
            lambda: (expected, FACTOR * UNIT * (1 + expected)),
            where=lambda at: f"t={at[0]}",
            tolerance="table",
            input=asked,
            catches="mistakes 7, 8, 10, 11",
        )
    left = float(own[-1].clamp(min=0).sqrt())
    if name == subject.setting.beta_schedule and left > 0.05:
        message = f"sqrt(alpha-bar_T) = {left:.3f}: x_T still carries the image (T too short?)"
        ledger.add("terminal", "note", message, catches="mistake 9")


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
