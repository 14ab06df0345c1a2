"""add_noise of images in half precision, and what that leaves behind in the table."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from compare.candidate.scheduler import Scheduler
from compare.measure.check import Check, found
from compare.measure.tolerances import FACTOR, HALF_UNIT
from compare.measure.values import deviation, values
from compare.oracle import F64, Oracle
from compare.stages.forward.images import Coefficients, coefficients
from compare.stages.forward.method import as_its_coefficients


def half(
    id: str, scheduler: Scheduler, oracle: Oracle, dtype: torch.dtype, off: Coefficients | None
) -> Iterator[Check]:
    """Noise alone and image alone at t = 0..10, where 1 - alpha_bar is smallest."""
    upto = min(11, scheduler.setting.num_train_timesteps)
    one = torch.ones(upto, 1, 2, 3, dtype=dtype)
    table = scheduler.alpha_bars(oracle)

    def expected() -> tuple[Tensor, Tensor]:
        right = torch.cat(coefficients(oracle.add_noise, table, one, torch.arange(upto))).to(F64)
        return right, FACTOR * HALF_UNIT[dtype] * right.abs()

    got = torch.cat(_fresh(scheduler, dtype).coefficients(dtype, upto))
    check = values(
        id,
        "a coefficient of add_noise",
        got,
        expected,
        where=lambda at: f"t={at[0] % upto}",
        tolerance="half",
        input=f"{id.partition('/')[2]} images, t = 0..{upto - 1}",
    )
    if off is not None and check.status == "differs":
        own = torch.cat([values[:upto] for values in off])
        if deviation(got, own, FACTOR * HALF_UNIT[dtype] * own.abs())[0] != "differs":
            check = as_its_coefficients(check, "add_noise")
    yield check


def _fresh(scheduler: Scheduler, dtype: torch.dtype) -> Scheduler:
    """One made for images of this dtype alone: whatever they leave behind spoils no other."""
    subject = scheduler.subject
    made = subject.remember(("made for", dtype), lambda: subject.fresh(scheduler.setting))
    return replace(made, key=f"made for {dtype}")


def kept(scheduler: Scheduler) -> Iterator[Check]:
    """add_noise of float32 images before and after one call with images of half precision."""
    upto = min(11, scheduler.setting.num_train_timesteps)

    def ask() -> list[Tensor]:
        made, seen = scheduler.subject.fresh(scheduler.setting), []
        for dtype in (torch.float32, torch.bfloat16, torch.float32):
            one = torch.ones(upto, 1, 2, 3, dtype=dtype)
            seen.append(made.add_noise(0 * one, one, torch.arange(upto))[:, 0, 0, 0])
        return seen

    before, _, after = scheduler.subject.remember((scheduler.key, "kept"), ask)
    off = (before != after).nonzero().flatten().tolist()
    t = off[0] if off else 0
    message = (
        "one call with bfloat16 images leaves the table in bfloat16 for good: of float32 images "
        f"the noise is then multiplied by {float(after[t]):.6g} at t={t}, before by "
        f"{float(before[t]):.6g}"
    )
    yield found(
        "forward/kept",
        "differs" if off else "equal",
        message if off else "a call with bfloat16 images changes nothing for float32 images",
        right="a table that stays as it is: cast what is read from it, alpha_bar[t].to(x.dtype), "
        "not what is kept",
        input=f"add_noise of float32, bfloat16 and float32 images, t = 0..{upto - 1}",
    )
