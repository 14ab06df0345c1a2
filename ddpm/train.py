"""`ddpm train`: a run folder from a preset and what the command line puts over it."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddpm import bring
from ddpm.options import add_options, given
from workbench.config import PRESETS, DiffusionConfig, ModelConfig, RunConfig, TrainConfig
from workbench.files import check_place

if TYPE_CHECKING:
    from workbench.training_run import TrainResult

GOES_ON = {"verb", "run_verb", "resume", "device", "quiet", "scheduler", "unet", "other_code"}
"""What a run that goes on may be told; all else is as its own config says."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `ddpm train`; those that decide the run leave no trace if not given."""
    unsaid = argparse.SUPPRESS
    parser.add_argument("--preset", choices=PRESETS, default=unsaid, help="default: digits")
    add_options(parser, RunConfig)
    parser.add_argument(
        "--output", default=unsaid, help="the run's folder (default: runs/DATA-BACKEND)"
    )
    parser.add_argument("--resume", metavar="RUN", help="go on with a run as its config says")
    parser.add_argument("--device", help="cuda, mps or cpu (default: the best one here)")
    parser.add_argument(
        "--force", action="store_true", default=unsaid, help="replace the run in the folder"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    bring.add_arguments(parser)
    add_options(parser.add_argument_group("model"), ModelConfig)
    add_options(parser.add_argument_group("diffusion"), DiffusionConfig)
    add_options(parser.add_argument_group("training"), TrainConfig)


def run_config(args: argparse.Namespace) -> RunConfig:
    """The preset, with what the command line says put over it."""
    preset = PRESETS[getattr(args, "preset", "digits")]
    train = given(args, TrainConfig)
    if "steps" in train or "epochs" in train:
        train = {"steps": None, "epochs": None, **train}
    return replace(
        preset,
        **given(args, RunConfig),
        model=replace(preset.model, **given(args, ModelConfig)),
        diffusion=replace(preset.diffusion, **given(args, DiffusionConfig)),
        train=replace(preset.train, **train),
    )


def main(args: argparse.Namespace) -> int:
    """Train, and say where the run lies: 0 finished, 130 stopped by Ctrl-C and saved."""
    from workbench import processes
    from workbench.backends import choose_device

    device = choose_device(args.device)
    changed = [name for name in vars(args) if name not in GOES_ON]
    if args.resume and changed:
        name = changed[0].replace("_", "-")
        raise ValueError(f"--resume goes on as the run's own config says; leave out --{name}")
    result = _trained(args, device)
    own = bring.again(args)
    if not result.finished:
        go_on = f"ddpm train --resume {result.folder}{own}"
        print(f"stopped and saved; go on with: {go_on}", file=sys.stderr)
        return 130
    if processes.is_first():
        print(f"{result.folder}: {len(result.losses)} steps, last loss {result.losses[-1]:.4f}")
        print(f"draw from it with: ddpm sample {result.folder}{own}")
    return 0


def _trained(args: argparse.Namespace, device: Any) -> "TrainResult":
    """The run that `args` asks for, trained to its end or to a Ctrl-C."""
    from workbench import data, plotting, runs, training_run
    from workbench.sampling import sample

    config = runs.load_config(Path(args.resume)) if args.resume else run_config(args)
    name = f"runs/{Path(config.data).resolve().stem}-{config.backend}"
    folder = Path(args.resume or getattr(args, "output", name))
    check_place(folder)
    dataset = data.load(config.data, config.labels, size=config.size)
    _, c, h, w = dataset.images.shape
    parts = bring.parts(args, config, (c, h, w))
    config = parts.config

    def draw_grid(unet: Any, scheduler: Any, path: Path) -> None:
        steps, quiet = config.diffusion.num_train_timesteps, args.quiet
        drawn = sample(config.backend, unet, scheduler, 16, seed=0, steps=steps, progress=not quiet)
        plotting.save(plotting.image_grid(drawn.images), path)

    return training_run.train(
        config,
        folder,
        dataset,
        device=device,
        resume=bool(args.resume),
        force=getattr(args, "force", False),
        progress=not args.quiet,
        draw_grid=draw_grid,
        scheduler=parts.scheduler,
        make_unet=parts.make_unet,
    )
