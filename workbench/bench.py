"""`make bench`: how long each part takes by both backends, side by side in one run.

Times of another day or machine mean little, so the two are timed in turns and only their ratio is
judged: above 1, scratch is slower.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from workbench import backends, trainer
from workbench.config import DiffusionConfig, ModelConfig, RunConfig, TrainConfig
from workbench.data import Dataset
from workbench.draws import batch_draws

BATCH = 32
SHAPE = (3, 16, 16)
MODEL = ModelConfig(channels=(32, 64), attention=(False, True), norm_num_groups=8)
NAMES = tuple(backends.PACKAGES)

Work = Callable[[], Any]


def training_step(backend: str) -> Work:
    """One optimizer step on a batch, with EMA and clipping."""
    config = RunConfig(
        backend=backend, model=MODEL, train=TrainConfig(batch_size=BATCH, steps=10**6)
    )
    dataset = Dataset(torch.rand(1000, *SHAPE) * 2 - 1)
    unet, scheduler = trainer.new_parts(config, dataset)
    state = trainer.new_state(unet, config.train)
    steps = trainer.training_steps(state, scheduler, dataset, config.train, 0)
    return lambda: next(steps)


def sampling_step(backend: str) -> Work:
    """A fifth of a chain of five steps by the backend's pipeline."""
    config = RunConfig(backend=backend, model=MODEL)
    unet, scheduler = trainer.new_parts(config, Dataset(torch.zeros(1, *SHAPE)))
    pipeline = backends.load(backend).DDPMPipeline(unet.eval(), scheduler)
    pipeline.set_progress_bar_config(disable=True)
    return lambda: pipeline(BATCH, num_inference_steps=5, output_type="pt")


def add_noise(backend: str) -> Work:
    """x_t of a batch, in one jump."""
    scheduler = _scheduler(backend)
    drawn = batch_draws(0, 0, BATCH, BATCH, len(scheduler), SHAPE)
    return lambda: scheduler.add_noise(drawn.noise, drawn.noise, drawn.timesteps)


def reverse_step(backend: str) -> Work:
    """x_prev of a batch, from x_t and a prediction."""
    scheduler = _scheduler(backend)
    x_t, eps = torch.randn(2, BATCH, *SHAPE)
    generator = torch.Generator().manual_seed(0)
    t = scheduler.timesteps[250]
    return lambda: scheduler.step(eps, t, x_t, generator=generator)


def _scheduler(backend: str) -> Any:
    return backends.load(backend).DDPMScheduler(**DiffusionConfig().scheduler_arguments())


# What is timed, and how often it is done in a row before the other backend's turn.
PARTS: tuple[tuple[str, Callable[[str], Work], int], ...] = (
    ("training step", training_step, 1),
    ("sampling, 5 steps", sampling_step, 1),
    ("scheduler.add_noise", add_noise, 50),
    ("scheduler.step", reverse_step, 50),
)


def measure(make: Callable[[str], Work], repeat: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of one piece of work, by backend, `rounds` times in turns; the order alternates.

    Args:
        make: the work of a backend.
        repeat: pieces in a row.
        rounds: turns of each backend.
    """
    work = {name: make(name) for name in NAMES}
    for each in work.values():  # the first time is another one: allocation, caches
        each()
    times: dict[str, list[float]] = {name: [] for name in NAMES}
    for turn in range(rounds):
        for name in NAMES if turn % 2 else reversed(NAMES):
            start = time.perf_counter()
            for _ in range(repeat):
                work[name]()
            times[name].append((time.perf_counter() - start) / repeat)
    return times


def rows(rounds: int) -> Iterator[tuple[str, str, str, str, str]]:
    """The lines of the table: part, milliseconds of both (medians), and their ratio.

    The ratio is the median over the rounds, each of which compares neighbours in time, and with it
    comes the range of the middle half of the rounds.
    """
    for label, make, repeat in PARTS:
        times = measure(make, repeat, rounds)
        ours, theirs = (times[name] for name in NAMES)
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        yield (
            label,
            f"{statistics.median(ours) * 1e3:.3f}",
            f"{statistics.median(theirs) * 1e3:.3f}",
            f"{middle:.2f}",
            f"{low:.2f}..{high:.2f}",
        )


def main(rounds: int = 31) -> None:
    """Print the table, line by line as it is measured."""
    shape = "x".join(map(str, SHAPE))
    print(f"{BATCH} pictures of {shape} on {torch.get_num_threads()} CPU threads, {rounds} rounds")
    print(_line(("part", "scratch ms", "Diffusers ms", "ratio", "middle half")))
    for cells in rows(rounds):
        print(_line(cells), flush=True)


def _line(cells: tuple[str, ...]) -> str:
    return f"{cells[0]:<20}" + "".join(f"{cell:>14}" for cell in cells[1:])


if __name__ == "__main__":
    main()
