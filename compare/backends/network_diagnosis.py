"""Which mistake of the table makes a U-Net depart: by what it shows, or by planting it in ours."""

import contextlib
import warnings
from collections.abc import Mapping
from typing import Any

from torch import nn

from compare.backends.blocks import WHOLE, Departure
from compare.backends.network_alone import SYMPTOMS
from compare.candidate.denoiser.record import apart, record
from compare.mistakes import BY_ID, NETWORKS, Mistake
from compare.mistakes.network.unet import tried_on
from compare.stages.network.look import ROUNDING
from compare.verdict.report import Check, Diagnosis


def explained(
    failing: list[Check],
    network: nn.Module,
    reference: Any,
    arguments: Mapping,
    departure: Departure | None,
) -> list[Diagnosis]:
    """The mistake of the table that makes of the same weights what the network makes."""
    network.load_state_dict(reference.state_dict(), strict=False)  # as before the optimiser's step
    shown = _symptoms(failing)
    if departure is None or any(d.bug == SYMPTOMS["eval"] for d in shown):
        return shown or [unnamed(failing[0].message)]
    mistake = _tried_on(network, reference, arguments, departure)
    if mistake is not None:
        where = f" (first in `{departure.block}`)" if departure.block else ""
        return [_named(mistake, mistake.words + where)]
    return shown or [unnamed(str(departure))]


def unnamed(words: str) -> Diagnosis:
    """What no mistake of the table explains."""
    return Diagnosis(None, "unet", words, "compare it with scratch/unet.py, line by line")


def _named(mistake: Mistake, words: str) -> Diagnosis:
    return Diagnosis(mistake.id, "unet", words, mistake.fix, mistake.name)


def _symptoms(failing: list[Check]) -> list[Diagnosis]:
    """Mistakes that an invariant shows without trying them on."""
    found = []
    for check in failing:
        name = check.id.rpartition("/")[2]
        if name in SYMPTOMS:
            mistake = BY_ID[SYMPTOMS[name]]
            found.append(_named(mistake, f"{mistake.words}: {check.message}"))
    return found


def _tried_on(
    network: nn.Module, reference: Any, arguments: Mapping, departure: Departure
) -> Mistake | None:
    """The first mistake that, planted where the network departs, makes the same there."""
    twin = _twin(reference)
    if twin is None:
        return None
    known, at = record(twin, arguments), departure.block
    while at not in known:
        at = at.rpartition(".")[0]
    made = record(network, arguments, names=(at,))[at].made[0]
    parts = at.split(".")
    around = {WHOLE, *(".".join(parts[: i + 1]) for i in range(len(parts)))}
    kinds = {type(m).__name__ for n, m in twin.named_modules() if n in around}
    for mistake in (mistake for mistake in NETWORKS if kinds & mistake.seams.keys()):
        # A mistake that does not fit these shapes is another one.
        with contextlib.suppress(RuntimeError), tried_on(twin, mistake, around):
            if apart(made, record(twin, arguments, names=(at,))[at].made[0]) <= ROUNDING:
                return mistake
    return None


def _twin(reference: Any) -> nn.Module | None:
    """scratch's network with the options and weights of the reference, if it has those options."""
    from scratch import UNet2DModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            twin = UNet2DModel.from_config(reference.config)
        except ValueError:
            return None
    twin.load_state_dict(reference.state_dict())
    return twin.eval()
