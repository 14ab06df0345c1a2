"""`ddpm train`: a run folder from a preset and what the command line puts over it."""

import argparse
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddpm import bring, names
from ddpm.options import add_options, given
from ddpm.room import no_room
from workbench import tracking
from workbench.config import PRESETS, DiffusionConfig, ModelConfig, RunConfig, TrainConfig
from workbench.files import check_place

if TYPE_CHECKING:
    from workbench.training_run import TrainResult

GOES_ON = {"verb", "run_verb", "resume", "device", "quiet", "show", "track", "dry_run"}
GOES_ON |= {"scheduler", "unet", "other_code", "steps", "epochs", "fast"}
"""What a run that goes on may be told; all else is as its own config says."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `ddpm train`; those that decide the run leave no trace if not given."""
    unsaid = argparse.SUPPRESS
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        default=unsaid,
        help="digits (the default) suits pictures of 8x8, sprites 16x16 to 32x32, tutorial, the "
        "largest, 16x16; in brackets behind the options, what each has",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=unsaid,
        help="instead of a preset, a run, or a file as --show prints it; other options go over it",
    )
    parser.add_argument(
        "--show", action="store_true", help="print the whole config as JSON, and train nothing"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="say what would happen and what looks wrong, and train nothing",
    )
    add_options(parser, RunConfig, presets=PRESETS)
    parser.add_argument(
        "--output",
        default=unsaid,
        help="the run's folder (default: runs/DATA-BACKEND, and what no preset has)",
    )
    parser.add_argument(
        "--resume",
        metavar="RUN",
        help="go on with a run as its config says; with more --steps or --epochs, for longer",
    )
    parser.add_argument("--device", help="cuda, mps or cpu (default: the best one here)")
    parser.add_argument(
        "--force", action="store_true", default=unsaid, help="replace the run in the folder"
    )
    parser.add_argument("--quiet", action="store_true", help="no screen before, no progress bars")
    parser.add_argument(
        "--track",
        choices=tracking.KINDS,
        help="tell losses, learning rates and grids a tracker too (its library must be installed)",
    )
    bring.add_arguments(parser)
    parts = {"model": ModelConfig, "diffusion": DiffusionConfig, "train": TrainConfig}
    for part, kind in parts.items():
        group = parser.add_argument_group("training" if part == "train" else part)
        presets = {name: getattr(preset, part) for name, preset in PRESETS.items()}
        add_options(group, kind, presets=presets)


def below(args: argparse.Namespace) -> RunConfig:
    """What the command line goes over: a preset, or the file of `--config`.

    Raises:
        ValueError: both are given, or the file holds no config.
    """
    from workbench import runs

    if "config" not in args:
        return PRESETS[getattr(args, "preset", "digits")]
    path = Path(args.config)
    if "preset" in args:
        raise ValueError(f"{path} says all that a preset says; leave out --preset or --config")
    if path.is_dir():
        return runs.load_config(path)
    if not path.exists():
        raise ValueError(f"there is no file {path}; `ddpm train --show > {path}` writes one")
    return runs.read_config(path)


def run_config(args: argparse.Namespace) -> RunConfig:
    """The preset, the file or the run, with what the command line says put over it."""
    from workbench import runs

    preset = runs.load_config(Path(args.resume)) if args.resume is not None else below(args)
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
    """Train, and say where the run lies: 0 finished, 128 + the signal if one ended it and it was
    saved (130 for Ctrl-C), 1 if the machine had no room for it, or another process ended."""
    changed = [name for name in vars(args) if name not in GOES_ON]
    if args.resume is not None and changed:
        name = changed[0].replace("_", "-")
        raise ValueError(f"--resume goes on as the run's own config says; leave out --{name}")
    config = run_config(args)
    if args.show:
        print(json.dumps(config.to_dict(), indent=2))
        return 0
    from workbench import processes
    from workbench.checkpoints import has_checkpoint
    from workbench.progress_bar import say

    folder = Path(
        args.resume or getattr(args, "output", names.run_folder(config) + bring.named(args))
    )
    try:
        result = _trained(args, config, folder)
    except Exception as error:
        lost = isinstance(error, processes.Lost)
        why = str(error) if lost else no_room(error)
        if why is None:
            raise
        go_on = f"ddpm train --resume {folder}{bring.again(args)}"
        when = "go on with" if lost else "once there is"
        more = f"; {when}: {go_on}" if has_checkpoint(folder) else ""
        say(f"ddpm train: {why}{more}", sys.stderr)
        return 1
    return 0 if result is None else _said(result, bring.again(args))


def _said(result: "TrainResult", own: str) -> int:
    """The exit status of a run, after what there is to say of it; `own` are parts to say again."""
    from workbench import processes
    from workbench.progress_bar import say

    folder, losses = result.folder, result.losses
    if not result.finished:
        if processes.is_first():
            say(f"stopped and saved; go on with: ddpm train --resume {folder}{own}", sys.stderr)
        return 128 + result.ended_by
    if processes.is_first():
        if result.began == len(losses):
            more = "nothing is left to do; --steps or --epochs, with more of them, go on"
            say(f"{folder} has all its {len(losses)} steps: {more}", sys.stdout)
        kept = [loss for loss in losses if math.isfinite(loss)]
        out = f", {len(losses) - len(kept)} of them left out, as they were not finite"
        last = f", last loss {kept[-1]:.4f}" if kept else ""
        say(f"{folder}: {len(losses)} steps{out * (len(kept) < len(losses))}{last}", sys.stdout)
        say(f"draw from it with: ddpm sample {folder}{own}", sys.stdout)
    return 0


def _trained(args: argparse.Namespace, config: RunConfig, folder: Path) -> "TrainResult | None":
    """The run that `args` asks for, trained to its end or to a Ctrl-C; None if it is dry."""
    from workbench import processes
    from workbench.backends import choose_device

    device = choose_device(args.device)
    with processes.joined(device):  # whatever is refused from here on is said once, by one of them
        return _trained_together(args, config, folder, device)


def _trained_together(
    args: argparse.Namespace, config: RunConfig, folder: Path, device: Any
) -> "TrainResult | None":
    """The same, in each of the processes that know each other."""
    from workbench import data, plotting, processes, training_run
    from workbench.progress_bar import say
    from workbench.sampling import sample

    resume, force = args.resume is not None, getattr(args, "force", False)
    check_place(folder)
    if args.track:
        tracking.check(args.track)
    if processes.is_first():
        _say_other_program(args)
    dataset = data.load(
        config.data,
        config.labels,
        size=config.size,
        skip_broken=config.skip_broken,
        progress=not args.quiet,
    )
    unused = config.labels is not None and not config.train.class_conditional
    if unused and processes.is_first():
        say("note: no label reaches the network; --class-conditional tells it them", sys.stderr)
    _, c, h, w = dataset.shape
    parts = bring.parts(args, config, (c, h, w))
    config = parts.config
    asked: dict[str, Any] = {
        "device": device,
        "resume": resume,
        "force": force,
        "scheduler": parts.scheduler,
        "make_unet": parts.make_unet,
    }
    if args.dry_run:
        lines = training_run.what_would_happen(config, folder, dataset, **asked)
        if processes.is_first():
            print("\n".join(lines))
        return None

    def draw_grid(unet: Any, scheduler: Any, path: Path) -> None:
        steps, quiet = config.grid_steps, args.quiet
        drawn = sample(config.backend, unet, scheduler, 16, seed=0, steps=steps, progress=not quiet)
        plotting.save(plotting.image_grid(drawn.images), path)

    return training_run.train(
        config,
        folder,
        dataset,
        **asked,
        progress=not args.quiet,
        draw_grid=draw_grid if config.train.sample_grid else None,
        track=args.track,
    )


def _say_other_program(args: argparse.Namespace) -> None:
    """Says if a run that is gone on with, or repeated, was made with another version."""
    from workbench import history
    from workbench.progress_bar import say

    said = args.resume or getattr(args, "config", None)
    if said and not args.quiet and (line := history.other_program(Path(said))):
        say(f"note: {line}", sys.stderr)
