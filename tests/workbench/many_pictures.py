"""As many small pictures as are asked for: how long it takes to look through them, and in which
memory they train. `python -m tests.workbench.many_pictures 1000000`"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from workbench import data
from workbench.config import TrainConfig
from workbench.sprites import KINDS, draw_sprites
from workbench.trainer import new_state, training_steps

DRAWN = 10_000  # sprites, of which the others are variants
STEPS = 100


def write(folder: Path, n: int) -> None:
    """n pictures of 16x16, each another, in a sub-folder for each kind."""
    pixels, labels = draw_sprites(min(n, DRAWN))
    for kind in KINDS:
        (folder / kind).mkdir()
    for i in range(n):
        number = np.array([i >> bit & 1 for bit in range(16)], np.uint8)
        picture = pixels[i % DRAWN].copy()
        picture[0, :, 0] ^= number  # not to be seen
        picture[1, :, 0] ^= np.uint8(i >> 16)
        path = folder / KINDS[labels[i % DRAWN]] / f"{i:07}.png"
        Image.fromarray(picture).save(path, compress_level=1)


def measured(folder: Path) -> tuple[str, ...]:
    """What loading and training cost, in lines."""
    import scratch

    began, before = time.monotonic(), peak(resource.RUSAGE_SELF)
    dataset = data.load(folder, progress=True)
    dataset.fingerprint()
    loaded = time.monotonic() - began
    unet = scratch.UNet2DModel(
        sample_size=16,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
    )
    config = TrainConfig(steps=STEPS, batch_size=64)
    state, scheduler = new_state(unet, config), scratch.DDPMScheduler()
    began = time.monotonic()
    losses = [step.loss for step in training_steps(state, scheduler, dataset, config, 0)]
    assert len(losses) == STEPS
    assert torch.stack(losses).isfinite().all()
    return (
        f"{len(dataset):,} pictures looked through, checksum and all, in {loaded:.0f} s",
        f"{STEPS} steps of 64 in {time.monotonic() - began:.0f} s",
        f"at most {peak(resource.RUSAGE_SELF):.0f} MiB in this process ({before:.0f} before), "
        f"{peak(resource.RUSAGE_CHILDREN):.0f} in one that reads, part of them shared",
    )


def peak(who: int) -> float:
    """The most resident memory that it had, in MiB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(who).ru_maxrss / unit


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), int(sys.argv[1]))
        print(*measured(Path(name)), sep="\n")
