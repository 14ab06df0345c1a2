"""The organ swap: network, scheduler and pipeline of either backend make the same pictures."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compare.backends.stage import BackendStage
from compare.measure.check import Check, found, note, yes_no
from compare.measure.tolerances import TOLERANCES
from compare.verdict.quiet import quiet
from compare.verdict.report import Report, versions

ORGANS = ("network", "scheduler", "pipeline")
BACKENDS = ("scratch", "diffusers")
ALL = tuple(product(BACKENDS, repeat=3))
ALLOWED = 1e-4  # in [0, 1]
COUNT = 4  # pictures of each combination
QUICK_STEPS = 50  # of a trained run; all of them at level "full"

Organs = dict[str, dict[str, Any]]  # {organ: {backend: the part, or the class of a pipeline}}
SETTINGS: dict[str, tuple[str, int, dict[str, Any]]] = {  # scheduler, steps, its options
    "plain": ("DDPMScheduler", 10, {}),
    "cosine-v": (
        "DDPMScheduler",
        20,
        {
            "beta_schedule": "squaredcos_cap_v2",
            "prediction_type": "v_prediction",
            "variance_type": "fixed_large",
        },
    ),
    "ddim": ("DDIMScheduler", 20, {"prediction_type": "v_prediction"}),
}  # the network is not trained: in a longer chain of its own, without noise, rounding grows


@dataclass(frozen=True)
class Swap:
    """One combination beside the one that is all Diffusers'.

    Attributes:
        combination: the backend of network, scheduler and pipeline.
        largest: difference of a pixel in [0, 1].
        grey_levels: and in 0..255.
    """

    combination: tuple[str, ...]
    largest: float
    grey_levels: int

    def __str__(self) -> str:
        parts = ", ".join(f"{o} {b}" for o, b in zip(ORGANS, self.combination, strict=True))
        return f"{parts}: {self.largest:.2g} of 1, {self.grey_levels} grey levels"


def checks(level: str, seed: int) -> Iterator[Check]:
    """All eight combinations draw the same pictures, with a network that has not been trained.

    Args:
        level: `"quick"` for a short chain; `"full"` also with other targets and DDIM.
        seed: of weights and pictures.
    """
    import scratch
    from compare.backends.network import TINY, random_weights

    unet = scratch.UNet2DModel(**TINY)
    unet.load_state_dict(random_weights(unet, seed))
    for name, (scheduler, steps, options) in SETTINGS.items():
        if level == "full" or name == "plain":
            organs = organs_of(unet, scheduler, options)
            yield from judge_swaps(f"{name}/", swaps(organs, steps, seed))


def organ_swap(
    source: Any, steps: int | None = None, seed: int = 0, show: Callable[[str], Any] = print
) -> list[Swap]:
    """Draws pictures with every combination of parts, and shows how far each is from the others.

    Args:
        source: a run folder, or a UNet of either backend.
        steps: of the chain; None for all that the scheduler was trained with.
        seed: of the pictures.
        show: called with a line for each combination.

    Returns:
        All eight, each measured by the one that is all Diffusers'.

    Raises:
        ValueError: the folder is no run, or cannot be read.
    """
    is_folder = isinstance(source, str | os.PathLike)
    organs = organs_of_run(Path(source)) if is_folder else organs_of(source)
    found = swaps(organs, steps or len(organs["scheduler"]["scratch"]), seed)
    for swap in found:
        show(str(swap))
    return found


def judge_run(folder: str | Path, level: str = "quick", seed: int = 0) -> Report:
    """The organ swap on a trained run.

    Args:
        folder: a run.
        level: `"quick"` for 50 steps, `"full"` for all that it was trained with.
        seed: of the pictures.

    Returns:
        The report; a folder that cannot be read is an error in it.
    """
    began = time.perf_counter()
    with quiet():
        try:
            checks = list(_of_run(Path(folder), level, seed))
        except ValueError as error:
            checks = [found("pipeline/load", "error", str(error))]
    command = f"ddpm compare --run {folder} --level {level}"
    checks = [replace(check, repro=command) for check in checks]
    seconds = time.perf_counter() - began
    return Report(str(folder), checks, level=level, seed=seed, seconds=seconds, versions=versions())


def _of_run(folder: Path, level: str, seed: int) -> Iterator[Check]:
    organs = organs_of_run(folder)
    T = len(organs["scheduler"]["scratch"])
    steps = min(QUICK_STEPS, T) if level == "quick" else T
    drawn = swaps(organs, steps, seed)
    yield from judge_swaps(f"{steps}-steps/", drawn)
    gaps = ", ".join(f"{'+'.join(swap.combination)} {swap.largest:.2g}" for swap in drawn)
    yield note("pipeline/largest", f"largest difference of {'+'.join(ORGANS)}: {gaps}")


def organs_of(
    unet: Any, scheduler: str = "DDPMScheduler", options: dict[str, Any] | None = None
) -> Organs:
    """Both backends' parts with the weights of one UNet.

    Args:
        unet: of either backend.
        scheduler: name of the class.
        options: of the scheduler.
    """
    from workbench.backends import load

    organs: Organs = {organ: {} for organ in ORGANS}
    for backend in BACKENDS:
        package = load(backend)
        network = package.UNet2DModel.from_config(unet.config)
        network.load_state_dict(unet.state_dict())
        organs["network"][backend] = network.eval()
        organs["scheduler"][backend] = getattr(package, scheduler)(**options or {})
        organs["pipeline"][backend] = package.DDPMPipeline
    return organs


def organs_of_run(folder: Path) -> Organs:
    """Both backends' parts of a run folder; a network with labels is told none.

    Raises:
        ValueError: the folder is no run, or cannot be read.
    """
    from workbench.backends import load
    from workbench.runs import load_parts
    from workbench.sampling import Guided

    organs: Organs = {organ: {} for organ in ORGANS}
    for backend in BACKENDS:
        network, organs["scheduler"][backend] = load_parts(folder, backend)
        classes = network.config.num_class_embeds
        if classes:
            network = Guided(network, torch.full((COUNT,), classes - 1))
        organs["network"][backend] = network
        organs["pipeline"][backend] = load(backend).DDPMPipeline
    return organs


def swaps(organs: Organs, steps: int, seed: int) -> list[Swap]:
    """Every combination, measured by the one that is all Diffusers' (which is drawn twice).

    Args:
        organs: the parts.
        steps: of the chain.
        seed: of the pictures.
    """
    whole = ("diffusers",) * 3
    expected = _draw(organs, whole, steps, seed)
    found = []
    for combination in ALL:
        images = _draw(organs, combination, steps, seed)
        gap = np.nan_to_num(np.abs(images - expected), nan=1.0).max()
        grey = np.nan_to_num(np.abs(_grey(images) - _grey(expected)), nan=255.0).max()
        found.append(Swap(combination, float(gap), int(grey)))
    return found


def _draw(organs: Organs, combination: tuple[str, ...], steps: int, seed: int) -> np.ndarray:
    """Pictures (b, h, w, c) float32 in [0, 1]."""
    network, scheduler, kind = (organs[o][b] for o, b in zip(ORGANS, combination, strict=True))
    pipeline = kind(unet=network, scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    with torch.no_grad():
        output = pipeline(
            batch_size=COUNT,
            generator=torch.Generator().manual_seed(seed),
            num_inference_steps=steps,
            output_type="np",
        )
    images: np.ndarray = output.images
    return images


def _grey(images: np.ndarray) -> np.ndarray:
    """Whole grey levels, as both pipelines' PIL pictures have them."""
    levels: np.ndarray = (images * 255).round()
    return levels


def judge_swaps(prefix: str, drawn: list[Swap]) -> Iterator[Check]:
    """A check for each combination; where a part alone explains those that depart, it is named.

    Args:
        prefix: of their names.
        drawn: all eight.
    """
    wrong = {swap.combination for swap in drawn if not swap.largest <= ALLOWED}
    guilty = [o for i, o in enumerate(ORGANS) if wrong == {c for c in ALL if c[i] == "scratch"}]
    for swap in drawn:
        name = "+".join(swap.combination)
        because = f": as all have with the {guilty[0]} of scratch, and no others" if guilty else ""
        yield yes_no(
            f"pipeline/{prefix}{name}",
            swap.combination not in wrong,
            f"the same pictures, {swap.grey_levels} grey levels apart at most",
            f"other pictures, {swap.grey_levels} grey levels apart{because}",
            measured=swap.largest,
            allowed=ALLOWED,
            input=f"{COUNT} pictures; {', '.join(ORGANS)}",
            reason=TOLERANCES["pictures"].reason,
        )


PIPELINE = BackendStage(
    name="pipeline",
    looks_at="network, scheduler and pipeline of either backend (no candidate)",
    page="swap",
    checks=checks,
)
