"""The tour: both backends from one start, one model drawn from by both, a verdict, a page."""

import shutil
import statistics
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from workbench import curves, data, page, plotting, progress_bar, runs, trainer
from workbench.checkpoints import RunFiles
from workbench.config import DIGITS, RunConfig
from workbench.files import write_text
from workbench.metrics import Metrics
from workbench.sampling import Samples, sample

SHARED_STEPS = 150  # trained by both backends, to lay the loss curves over each other
COUNT = 16  # pictures in a grid
SEED = 0
FRAMES = 50  # of the moving picture, about
FIRST = 20  # steps by which the time of the whole is estimated
# Measured on a CPU core, in training steps of the digits: a step of a chain that draws `COUNT`, and
# everything that is not trained or drawn, most of it the comparison.
DRAWN, BESIDES = 0.07, 50
WIDTH = 96  # columns of the verdict; what is longer goes on in the next line
PAGE, MODEL, MOVING = "index.html", "model", "denoising.gif"
FIGURES = ("losses", "whole_run", "digits", "trajectory")
PICTURES = (*(f"{name}.png" for name in FIGURES), MOVING)
CONTENTS = {PAGE, MODEL, *PICTURES}


@dataclass(frozen=True)
class Found:
    """What the page tells of a tour.

    Attributes:
        shared_steps: that both backends trained.
        total_steps: that scratch trained.
        apart: the largest difference of the two losses.
        difference: the largest one of a pixel, in [0, 1].
        frames: the t of each step that the moving picture shows.
        report: the verdict.
    """

    shared_steps: int
    total_steps: int
    apart: float
    difference: float
    frames: list[int]
    report: Any


def run(
    folder: Path,
    config: RunConfig = DIGITS,
    shared_steps: int = SHARED_STEPS,
    judge: Callable[[], Any] | None = None,
) -> Path:
    """Run the whole tour and write `index.html`.

    Args:
        folder: made anew; what an earlier tour left there is replaced.
        config: of the run that goes on to its end, by scratch.
        shared_steps: how many of its steps Diffusers trains too.
        judge: what gives the report; None for `compare.run`.

    Returns:
        The page.

    Raises:
        ValueError: `folder` holds something that no tour wrote.
    """
    prepare(folder)
    dataset = data.load(config.data)
    total_steps = config.train.total_steps(len(dataset))
    say(
        f"[1/4] {shared_steps} steps by Diffusers and {total_steps} by scratch, from one start, on "
        "the same random numbers"
    )
    costs = cost(shared_steps + total_steps, config.diffusion.num_train_timesteps)
    diffusers = replace(config, backend="diffusers")
    theirs = losses_of(diffusers, dataset, shared_steps, first=lambda each: estimate(each * costs))
    model = folder / MODEL
    ours = losses_of(config, dataset, total_steps, model)
    apart = max(abs(a - b) for a, b in zip(ours, theirs, strict=False))
    say(f"      largest difference of the two losses over {len(theirs)} steps: {apart:.1e}")

    say(f"[2/4] {COUNT} digits from the run of {total_steps} steps, drawn by both backends")
    drawn = {name: draw(model, name) for name in ("scratch", "diffusers")}
    apart_x = (drawn["scratch"].images - drawn["diffusers"].images).abs().max().item()
    difference = apart_x / 2  # of images in [0, 1]
    say(f"      largest difference of a pixel, of 1: {difference:.1e}")

    say("[3/4] ddpm compare: both backends against the papers")
    import compare

    report = compare.run() if judge is None else judge()
    say(wrapped(str(report)))

    say("[4/4] the page")
    draw_figures(folder, {"scratch": ours, "Diffusers": theirs}, drawn)
    index = folder / PAGE
    frames = [frame.timestep for frame in drawn["scratch"].frames]
    found = Found(shared_steps, total_steps, apart, difference, frames, report)
    write_text(index, write_page(found, folder))
    return index


def say(text: str) -> None:
    """A line of the tour at once, whether or not anybody reads it."""
    progress_bar.say(text, sys.stdout)


def cost(steps: int, T: int) -> float:
    """What the tour costs in training steps: those that it takes, two chains of T, the rest."""
    return steps + 2 * T * DRAWN + BESIDES


def estimate(seconds: float) -> None:
    """Say how long the whole takes."""
    words = f"{max(10, round(seconds, -1)):.0f} seconds"
    if seconds >= 90:
        words = f"{seconds / 60:.0f} minutes"
    say(f"      the whole tour takes about {words} here, by its first steps")


def wrapped(text: str) -> str:
    """Text with no line longer than `WIDTH`, but for words that are; what is broken is indented.

    >>> print(wrapped("  " + "word " * 20 + "end"))
      word word word word word word word word word word word word word word word word word word word
        word end
    """
    lines = []
    for line in text.splitlines():
        indent = line[: len(line) - len(line.lstrip())] + "  "
        lines += textwrap.wrap(
            line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        ) or [""]
    return "\n".join(lines)


def draw_figures(folder: Path, losses: dict[str, list[float]], drawn: dict[str, Samples]) -> None:
    """The pictures of the page: curves of the losses, grids, and the way from noise.

    Args:
        folder: where to write them.
        losses: of scratch, over the whole run, and of Diffusers, over the shared steps.
        drawn: by either backend.
    """
    frames = drawn["scratch"].frames
    shown = [frames[i] for i in sorted({round(i * (len(frames) - 1) / 7) for i in range(8)})]
    shared = len(losses["Diffusers"])
    figures = {
        "losses": curves.loss_curves({name: each[:shared] for name, each in losses.items()}),
        "whole_run": curves.loss_curves({"scratch": losses["scratch"]}),
        "digits": plotting.side_by_side(
            drawn["scratch"].images, drawn["diffusers"].images, ("scratch", "Diffusers")
        ),
        "trajectory": plotting.trajectory_strip(
            [frame.x_prev[:4] for frame in shown],
            [frame.x_0[:4] for frame in shown],
            [frame.timestep for frame in shown],
        ),
    }
    for name, figure in figures.items():
        plotting.save(figure, folder / f"{name}.png")
    plotting.save_gif([frame.x_prev for frame in frames], folder / MOVING)


def prepare(folder: Path) -> None:
    """Empty the folder of an earlier tour, or make it.

    Raises:
        ValueError: it is no folder, or holds something that no tour wrote; nothing is removed then.
    """
    if folder.exists():
        if not folder.is_dir():
            raise ValueError(f"{folder} is a file; give the name of a folder for the tour")
        foreign = sorted(path.name for path in folder.iterdir() if path.name not in CONTENTS)
        if foreign:
            raise ValueError(
                f"{folder} holds {foreign[0]}, which no tour wrote; choose another --output"
            )
        if any(folder.iterdir()):
            try:
                runs.load_config(folder / MODEL)
            except ValueError as error:
                raise ValueError(
                    f"{folder} exists and holds no tour; choose another --output ({error})"
                ) from None
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


def losses_of(
    config: RunConfig,
    dataset: data.Dataset,
    steps: int,
    folder: Path | None = None,
    first: Callable[[float], None] | None = None,
) -> list[float]:
    """The losses of the first `steps` steps of a run.

    Args:
        config: of the run.
        dataset: its images.
        steps: how many.
        folder: where to save the run, if at all.
        first: told the seconds of a step, the median of the `FIRST`, before the others are taken.
    """
    unet, scheduler = trainer.new_parts(config, dataset)
    state = trainer.new_state(unet, config.train)
    metrics = Metrics(config.train.batch_size, len(dataset))
    training = trainer.training_steps(state, scheduler, dataset, config.train, config.seed)
    if first is not None:
        times = [time.perf_counter()]
        for step in islice(training, min(FIRST, steps)):
            metrics.add(step)
            times.append(time.perf_counter())
        first(statistics.median(end - start for start, end in pairwise(times)))
    with progress_bar.of(steps, config.backend, initial=state.step) as bar:
        for step in islice(training, steps - state.step):
            metrics.add(step)
            bar.update()
    metrics.read()
    if folder is not None:
        files = RunFiles(folder, config, dataset.fingerprint())
        files.save(state, scheduler, metrics.rows())
    return metrics.losses


def draw(run_folder: Path, backend: str) -> Samples:
    """`COUNT` pictures of a run by one backend, with the way they took."""
    unet, scheduler = runs.load_parts(run_folder, backend)
    steps = scheduler.config.num_train_timesteps
    return sample(
        backend,
        unet,
        scheduler,
        COUNT,
        seed=SEED,
        steps=steps,
        record_every=max(steps // FRAMES, 1),
    )


def write_page(found: Found, folder: Path) -> str:
    """The page of the tour, with the pictures that lie in `folder`."""
    report = found.report
    verdict = "They are the same model." if report.passed else "They are not the same: see below."
    return page.render(
        Path(__file__).with_name("tour.html"),
        title="DDPM, side by side: the tour",
        lead=f"One diffusion model, written twice: in plain PyTorch and with Diffusers. {verdict}",
        found=found,
        count=COUNT,
        pictures={name: page.embedded(folder / name) for name in PICTURES},
        verdict=wrapped(str(report)),
        model=folder / MODEL,
    )
