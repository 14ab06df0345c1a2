"""Default names, of what differs from the defaults: two things of two kinds never have one name.

`digits-scratch_steps1000_class-conditional` is a run, `ddpm_scratch_seed0_labels3_guidance2.png` a
grid of pictures.
"""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ddpm.options import as_typed
from workbench.config import PRESETS, RunConfig
from workbench.fields import options_of

LONGEST = 80  # characters of a name made of words; file systems take 255 bytes


def word(option: str, value: Any) -> str:
    """An option and its value as a part of a name.

    >>> word("guidance", 2.0), word("class_labels", [3, 5]), word("clip_sample", False)
    ('guidance2', 'class-labels3-5', 'no-clip-sample')
    >>> word("labels", "some/where/labels.npy"), word("attention", (False, True))
    ('labels-labels.npy', 'attention-no-yes')
    """
    name = option.replace("_", "-")
    if isinstance(value, bool):
        return name if value else f"no-{name}"
    items = value if isinstance(value, list | tuple) else [value]
    said = "-".join(map(_plain, items))
    return f"{name}{'' if said[:1].isdigit() else '-'}{said}"


def joined(words: Iterable[str]) -> str:
    """Words as one name; what is too long for one ends in a digest of the whole.

    >>> joined(["ddim", "scratch", "steps50"])
    'ddim_scratch_steps50'
    """
    name = "_".join(words)
    if len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: LONGEST - len(digest) - 1]}_{digest}"


def run_folder(config: RunConfig) -> str:
    """Where a run goes that nobody named: `runs/DATA-BACKEND`, and what the nearest preset lacks.

    >>> from dataclasses import replace
    >>> run_folder(PRESETS["sprites"]), run_folder(replace(PRESETS["tutorial"], seed=3))
    ('runs/sprites-scratch', 'runs/sprites-scratch_tutorial_seed3')
    """
    path = Path(config.data).resolve()
    data = path.stem if path.suffix.lower() in (".npy", ".npz") else path.name
    presets = {name: _differences(config, preset) for name, preset in PRESETS.items()}
    nearest = min(presets, key=lambda name: len(presets[name]))  # the first one of two
    usual = config.data if config.data in PRESETS else "digits"
    words = [nearest] * (nearest != usual) + presets[nearest]
    return "runs/" + joined([f"{data}-{config.backend}", *words])


def _differences(config: RunConfig, preset: RunConfig) -> list[str]:
    """A word for each option that two configs say differently, but data and backend."""
    pairs = [(config, preset)]
    pairs += [(getattr(config, p), getattr(preset, p)) for p in ("model", "diffusion", "train")]
    words = [
        word(name, getattr(ours, name))
        for ours, theirs in pairs
        for name in options_of(type(ours))
        if name not in ("data", "backend") and getattr(ours, name) != getattr(theirs, name)
    ]
    # One of the two always is none, and the other then says how many.
    return [each for each in words if each not in ("steps-none", "epochs-none")]


def _plain(value: Any) -> str:
    """A value in characters that every file system takes; of a path its last part."""
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    text = Path(value).resolve().name if isinstance(value, str) else as_typed(value)
    return re.sub(r"[^\w.-]+", "-", text)
