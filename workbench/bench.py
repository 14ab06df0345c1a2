"""`make bench`: how long each part takes by both backends, side by side in one run.

Times of another day or machine mean little, so the two are timed in turns and only their ratio is
judged: above 1, scratch is slower.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, get_args

import torch

from workbench import backends, trainer
from workbench.backends import Backend
from workbench.config import DiffusionConfig, ModelConfig, RunConfig, TrainConfig
from workbench.data import Dataset
from workbench.draws import batch_draws

BATCH = 32
SLICE = 0.05  # seconds of one backend's turn, well above what a busy machine takes away at a time
SHAPE = (3, 16, 16)
MODEL = ModelConfig(channels=(32, 64), attention=(False, True), norm_num_groups=8)
NAMES: tuple[Backend, ...] = get_args(Backend)

Work = Callable[[], Any]


def training_step(backend: Backend) -> Work:
    """One optimizer step on a batch, with EMA and clipping."""
    config = RunConfig(
        backend=backend, model=MODEL, train=TrainConfig(batch_size=BATCH, steps=10**6)
    )
    dataset = Dataset(torch.rand(1000, *SHAPE) * 2 - 1)
    unet, scheduler = trainer.new_parts(config, dataset)
    state = trainer.new_state(unet, config.train)
    steps = trainer.training_steps(state, scheduler, dataset, config.train, 0)
    return lambda: next(steps)


def sampling_steps(backend: Backend) -> Work:
    """A chain of two steps by the backend's pipeline."""
    config = RunConfig(backend=backend, model=MODEL)
    unet, scheduler = trainer.new_parts(config, Dataset(torch.zeros(1, *SHAPE)))
    pipeline = backends.load(backend).DDPMPipeline(unet.eval(), scheduler)
    pipeline.set_progress_bar_config(disable=True)
    return lambda: pipeline(BATCH, num_inference_steps=2, output_type="pt")


def add_noise(backend: Backend) -> Work:
    """x_t of a batch, in one jump."""
    scheduler = _scheduler(backend)
    drawn = batch_draws(0, 0, BATCH, BATCH, len(scheduler), SHAPE)
    return lambda: scheduler.add_noise(drawn.noise, drawn.noise, drawn.timesteps)


def reverse_step(backend: Backend) -> Work:
    """x_prev of a batch, from x_t and a prediction."""
    scheduler = _scheduler(backend)
    x_t, eps = torch.randn(2, BATCH, *SHAPE)
    generator = torch.Generator().manual_seed(0)
    t = scheduler.timesteps[250]
    return lambda: scheduler.step(eps, t, x_t, generator=generator)


def _scheduler(backend: Backend) -> Any:
    return backends.load(backend).DDPMScheduler(**DiffusionConfig().scheduler_arguments())


PARTS: tuple[tuple[str, Callable[[Backend], Work]], ...] = (
    ("training step", training_step),
    ("sampling, 2 steps", sampling_steps),
    ("scheduler.add_noise", add_noise),
    ("scheduler.step", reverse_step),
)


def measure(make: Callable[[Backend], Work], seconds: float) -> dict[str, list[float]]:
    """Seconds of one piece of work, by backend, in turns of at least `SLICE`.

    Args:
        make: the work of a backend.
        seconds: how long to go on, in all; at least four turns of each.

    Returns:
        As many times for each backend; those at the same place are neighbours in time.
    """
    work = {name: make(name) for name in NAMES}
    repeat = {
        name: math.ceil(SLICE / min(_time(each, 1) for _ in range(3)))
        for name, each in work.items()
    }
    times: dict[str, list[float]] = {name: [] for name in NAMES}
    end, turn = time.perf_counter() + seconds, 0
    while turn < 4 or time.perf_counter() < end:
        for name in NAMES if turn % 2 else reversed(NAMES):
            times[name].append(_time(work[name], repeat[name]))
        turn += 1
    return times


def _time(work: Work, repeat: int) -> float:
    start = time.perf_counter()
    for _ in range(repeat):
        work()
    return (time.perf_counter() - start) / repeat


def rows(seconds: float) -> Iterator[tuple[str, ...]]:
    """The lines of the table: part, milliseconds of both (medians), their ratio, its spread, turns.

    The ratio is the median over the turns, each of which compares neighbours in time; the spread is
    the middle half of them.
    """
    for label, make in PARTS:
        times = measure(make, seconds)
        ours, theirs = (times[name] for name in NAMES)
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        yield (
            label,
            f"{statistics.median(ours) * 1e3:.3f}",
            f"{statistics.median(theirs) * 1e3:.3f}",
            f"{middle:.2f}",
            f"{low:.2f}..{high:.2f}",
            f"{len(ratios)}",
        )


def main(seconds: float = 20) -> None:
    """Print the table, line by line as it is measured; `seconds` for each part."""
    shape = "x".join(map(str, SHAPE))
    print(f"{BATCH} pictures of {shape} on {torch.get_num_threads()} CPU threads")
    print(_line(("part", "scratch ms", "Diffusers ms", "ratio", "middle half", "turns")))
    for cells in rows(seconds):
        print(_line(cells), flush=True)


def _line(cells: tuple[str, ...]) -> str:
    return f"{cells[0]:<20}" + "".join(f"{cell:>14}" for cell in cells[1:])


if __name__ == "__main__":
    main()
