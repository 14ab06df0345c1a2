"""Runs of one process and of several, as a launcher starts them: a script, so that the processes
are forks of one that has imported everything and has no threads yet.

    python -m tests.workbench.together FOLDER KIND COUNT BATCH ACCUMULATE DROPOUT

trains a hundred steps in COUNT processes, with the optimizer KIND of `torch.optim`, and writes the
weights and losses to FOLDER/KIND-COUNT-BATCH-ACCUMULATE-DROPOUT.safetensors; more than one such
five may be given.
"""

import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import accelerate  # noqa: F401 - once, for all forks
import safetensors.torch
import torch

from workbench import processes, trainer
from workbench.config import DiffusionConfig, ModelConfig, RunConfig, TrainConfig
from workbench.data import Dataset

CPU = torch.device("cpu")
RATES = {"SGD": 0.05, "Adam": 1e-3}


def in_processes(count: int, work: Callable[[], object]) -> list[int]:
    """Runs `work` in forks that know of each other what `torchrun` would tell; their statuses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free.getsockname()[1]))
    children = []
    for rank in range(count):
        child = os.fork()
        if child == 0:
            os.environ.update(WORLD_SIZE=str(count), RANK=str(rank), LOCAL_RANK=str(rank))
            try:
                work()
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def train(path: Path, kind: str, batch: int, accumulate: int, dropout: float) -> None:
    """A hundred steps on noise pictures; the first process writes what came of it."""
    images = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    dataset = Dataset(images, torch.arange(20) % 3)
    config = RunConfig(
        model=ModelConfig(
            channels=(8, 16), layers_per_block=1, norm_num_groups=4, dropout=dropout
        ),
        diffusion=DiffusionConfig(num_train_timesteps=20),
        train=TrainConfig(
            batch_size=batch, accumulate=accumulate, steps=100, class_conditional=True, flip=True,
            learning_rate=RATES[kind], lr_schedule="constant",
        ),
    )  # fmt: skip
    with processes.joined(CPU):
        unet, scheduler = trainer.new_parts(config, dataset)
        state = trainer.new_state(unet, config.train)
        state.optimizer = getattr(torch.optim, kind)(unet.parameters(), lr=RATES[kind])
        steps = trainer.training_steps(state, scheduler, dataset, config.train, 0)
        losses = torch.stack([step.loss for step in steps])
        if processes.is_first():
            assert state.ema is not None
            averages = {f"ema.{name}": value for name, value in state.ema.average.items()}
            tensors = {**unet.state_dict(), **averages, "losses": losses}
            safetensors.torch.save_file(tensors, path)


def main(folder: Path, words: list[str]) -> int:
    """The exit status: 0 if all went well."""
    torch.set_num_threads(1)
    failed = 0
    for first in range(0, len(words), 5):
        kind, *numbers, dropout = words[first : first + 5]
        count, batch, accumulate = map(int, numbers)
        path = folder / f"{'-'.join(words[first : first + 5])}.safetensors"

        def work() -> None:
            train(path, kind, batch, accumulate, float(dropout))  # noqa: B023 - it runs at once

        failed += any(in_processes(count, work))
    return failed


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
