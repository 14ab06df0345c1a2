"""The figures of `ddpm plot`: each reads its arguments, gathers its data and returns a figure."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ddpm.names import joined, word
from ddpm.options import add_options, from_zero, whole
from workbench.backends import PACKAGES
from workbench.config import RunConfig
from workbench.files import new_file

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

    from workbench.data import Dataset

ABOUT_FILES = {"verb", "run_verb", "figure", "output", "force", "default_of"}
ENOUGH = 10_000  # pictures whose pixels a histogram counts, of a larger data set
FEW_DATA, FEW_NOISED = 48, 4  # pictures that are shown unless told otherwise, if there are so many


def data(args: argparse.Namespace) -> "Figure":
    """The first images of a data set, with their labels."""
    from workbench import plotting

    dataset = _load(args, args.count)
    images, titles = _first(dataset, args.count or FEW_DATA), None
    if dataset.labels is not None:
        titles = [dataset.class_names[label] for label in dataset.labels[: len(images)].tolist()]
    return plotting.image_grid(images, titles=titles)


def losses(args: argparse.Namespace) -> "Figure":
    """The loss curves of one run or more."""
    from workbench import curves, runs

    folders = [Path(name) for name in args.runs]
    names = [folder.name for folder in folders]
    if len(set(names)) < len(names):
        names = args.runs  # runs/a/model and runs/b/model
    metrics = [runs.load_metrics(folder) for folder in folders]
    losses = [[row["loss"] for row in rows if "step" in row] for rows in metrics]
    return curves.loss_curves(dict(zip(names, losses, strict=True)))


def schedules(args: argparse.Namespace) -> "Figure":
    """beta, alpha-bar and SNR of every family of schedules."""
    from typing import get_args

    from workbench import backends, curves
    from workbench.config import BetaSchedule

    make = backends.load(args.backend).DDPMScheduler
    T = args.num_train_timesteps
    return curves.schedule_curves(
        {name: make(num_train_timesteps=T, beta_schedule=name) for name in get_args(BetaSchedule)}
    )


def noising(args: argparse.Namespace) -> "Figure":
    """A few images at growing t."""
    import torch

    from workbench import backends, plotting

    images = _first(_load(args, args.count), args.count or FEW_NOISED)
    T = args.num_train_timesteps
    scheduler = backends.load(args.backend).DDPMScheduler(num_train_timesteps=T)
    generator = torch.Generator().manual_seed(args.seed)
    return plotting.noising_strip(images, scheduler, generator=generator)


def trajectory(args: argparse.Namespace) -> "Figure":
    """A few pictures on their way from noise, and what the model believes them to be."""
    from workbench import plotting

    drawn = _draw(args, args.backend, record=10)
    return plotting.trajectory_strip(
        [frame.x_prev for frame in drawn.frames],
        [frame.x_0 for frame in drawn.frames],
        [frame.timestep for frame in drawn.frames],
    )


def difference(args: argparse.Namespace) -> "Figure":
    """The pictures of one run by both backends, and how they differ."""
    from workbench import plotting

    ours, theirs = _draw(args, "scratch").images, _draw(args, "diffusers").images
    return plotting.side_by_side(ours, theirs, ("scratch", "Diffusers"))


def histograms(args: argparse.Namespace) -> "Figure":
    """The pixels of a run's data and of pictures drawn from it."""
    import torch

    from workbench import curves, runs

    config = runs.load_config(Path(args.run))
    dataset = _load(config)
    apart = math.ceil(len(dataset) / ENOUGH)  # as evenly as they lie, as classes lie together
    real = dataset.batch(torch.arange(0, len(dataset), apart))
    drawn = _draw(args, args.backend).images
    return curves.histograms({config.data: real, "drawn": drawn})


def _load(said: Any, count: int | None = None) -> "Dataset":
    """The data that arguments or a run's config name."""
    from workbench import data

    return data.load(
        said.data,
        said.labels,
        count=count,
        size=said.size,
        skip_broken=said.skip_broken,
        progress=True,
    )


def _first(dataset: "Dataset", count: int) -> "torch.Tensor":
    """The first images, of a data set that may have fewer."""
    return dataset.batch(list(range(min(count, len(dataset)))))


def _draw(args: argparse.Namespace, backend: str, record: int = 0) -> Any:
    """Pictures of the run `args.run`; with `record`, about so many frames on the way."""
    from workbench import runs, sampling

    unet, scheduler = runs.load_parts(Path(args.run), backend)
    steps = args.steps or scheduler.config.num_train_timesteps
    sampling.refuse_wrong_steps(backend, scheduler, steps)
    return sampling.sample(
        backend,
        unet,
        scheduler,
        args.count,
        seed=args.seed,
        steps=steps,
        record_every=max(steps // record, 1) if record else 0,
    )


class Plot(NamedTuple):
    """A figure of `ddpm plot`: what draws it, and what adds its own arguments."""

    draw: Callable[[argparse.Namespace], "Figure"]
    add_arguments: Callable[[argparse.ArgumentParser], None]


def _of_data(parser: argparse.ArgumentParser) -> None:
    _add_data(parser, f"pictures (default: {FEW_DATA})")


def _of_losses(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders")


def _of_schedules(parser: argparse.ArgumentParser) -> None:
    _add_timesteps(parser)
    _add_backend(parser)


def _of_noising(parser: argparse.ArgumentParser) -> None:
    _add_data(parser, f"pictures (default: {FEW_NOISED})")
    _add_timesteps(parser)
    _add_backend(parser)
    _add_seed(parser)


def _of_trajectory(parser: argparse.ArgumentParser) -> None:
    _add_run(parser, count=4)
    _add_backend(parser)


def _of_difference(parser: argparse.ArgumentParser) -> None:
    _add_run(parser, count=4)


def _of_histograms(parser: argparse.ArgumentParser) -> None:
    _add_run(parser, count=64)
    _add_backend(parser)


def _add_data(parser: argparse.ArgumentParser, count: str) -> None:
    parser.add_argument("--data", default="sprites", help="default: %(default)s")
    add_options(parser, RunConfig, ("labels", "size", "skip_broken"))
    parser.set_defaults(labels=None, size=None, skip_broken=False)
    parser.add_argument("--count", type=whole, help=count)


def _add_run(parser: argparse.ArgumentParser, count: int) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder")
    parser.add_argument("--steps", type=whole, help="timesteps to visit (default: all)")
    parser.add_argument(
        "--count", type=whole, default=count, help="pictures (default: %(default)s)"
    )
    _add_seed(parser)


def _add_timesteps(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--num-train-timesteps", type=whole, default=500, help="T (default: 500)")


def _add_backend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backend", choices=PACKAGES, default="scratch", help="default: scratch")


def _add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=from_zero, default=0, help="default: %(default)s")


FIGURES = {
    "data": Plot(data, _of_data),
    "losses": Plot(losses, _of_losses),
    "schedules": Plot(schedules, _of_schedules),
    "noising": Plot(noising, _of_noising),
    "trajectory": Plot(trajectory, _of_trajectory),
    "difference": Plot(difference, _of_difference),
    "histograms": Plot(histograms, _of_histograms),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-command for each figure."""
    figures = parser.add_subparsers(title="figures", dest="figure", required=True, metavar="FIGURE")
    for name, plot in FIGURES.items():
        text = (plot.draw.__doc__ or "").rstrip(".")
        one = figures.add_parser(name, help=text, description=text)
        plot.add_arguments(one)
        one.add_argument(
            "--output",
            help=f"a .png, .svg or .pdf (default: {name}.png, with what is not a default)",
        )
        one.add_argument("--force", action="store_true", help="replace what exists")
        one.set_defaults(default_of=one.get_default)


def default_name(args: argparse.Namespace) -> str:
    """What the figure is called: its kind, its runs, and each option that is not a default."""
    words = [args.figure]
    for name, value in vars(args).items():
        if name in ("run", "runs"):
            words += [Path(run).resolve().name for run in ([value] if name == "run" else value)]
        elif name not in ABOUT_FILES and value != args.default_of(name):
            words.append(word(name, value))
    return joined(words) + ".png"


def main(args: argparse.Namespace) -> int:
    """`ddpm plot`: one figure into a file; 0."""
    from workbench import plotting

    output = new_file(args.output or default_name(args), args.force, plotting.SUFFIXES)
    plotting.save(FIGURES[args.figure].draw(args), output)
    print(output)
    return 0
