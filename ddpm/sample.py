"""`ddpm sample`: a grid of pictures from a run, by either backend."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ddpm import bring
from ddpm.options import from_zero, number, numbers_from_zero, whole
from workbench.backends import PACKAGES
from workbench.config import Spacing
from workbench.files import new_file

if TYPE_CHECKING:
    from workbench.sampling import Samples

SAMPLERS = {"ddpm": "DDPMScheduler", "ddim": "DDIMScheduler"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `ddpm sample`."""
    parser.add_argument("run", metavar="RUN", help="a run folder, or any DDPMPipeline folder")
    parser.add_argument("--backend", choices=PACKAGES, default="scratch", help="default: scratch")
    parser.add_argument("--sampler", choices=SAMPLERS, help="default: ddpm")
    parser.add_argument("--steps", type=whole, help="timesteps to visit (default: all)")
    parser.add_argument("--spacing", choices=get_args(Spacing), help="default: the run's")
    parser.add_argument("--eta", type=number, help="DDIM's noise, from 0 to 1 (default: 0.0)")
    parser.add_argument("--count", type=whole, default=16, help="pictures (default: %(default)s)")
    parser.add_argument("--batch-size", type=whole, default=64, help="default: %(default)s")
    parser.add_argument("--seed", type=from_zero, default=0, help="default: %(default)s")
    parser.add_argument("--class-labels", type=numbers_from_zero, help="one, or one a picture: 3,5")
    parser.add_argument("--guidance", type=number, default=1.0, help="default: %(default)s, none")
    parser.add_argument("--output", help="a .png (default: in the run's samples/)")
    parser.add_argument("--gif", help="also write the denoising as a .gif")
    parser.add_argument("--device", help="cuda, mps or cpu (default: the best one here)")
    parser.add_argument("--force", action="store_true", help="replace what exists")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    bring.add_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Draw the grid, and the moving picture if it is asked for; 0."""
    from workbench import plotting, runs

    folder = Path(args.run)
    runs.check_folder(folder)
    spec = bring.spec_of(args, "scheduler")
    who = spec.rpartition(":")[2] if spec else args.sampler or "ddpm"
    name = f"{who}_{args.backend}_seed{args.seed}.png"
    output = args.output or folder / "samples" / name
    output = new_file(output, args.force, plotting.SUFFIXES)
    gif = new_file(args.gif, args.force, (".gif",)) if args.gif else None
    _refuse_unfit(args, spec)
    drawn = _drawn(args, folder, spec)
    plotting.save(plotting.image_grid(drawn.images), output)
    print(output)
    if gif:
        plotting.save_gif([frame.x_prev for frame in drawn.frames], gif)
        print(gif)
    return 0


def _refuse_unfit(args: argparse.Namespace, spec: str | None) -> None:
    """Refuses options of our samplers where another one draws."""
    if args.eta is not None and args.sampler != "ddim":
        raise ValueError("--eta is DDIM's; add --sampler ddim, or leave it out")
    for name in ("sampler", "spacing"):
        if spec is not None and getattr(args, name) is not None:
            raise ValueError(f"--{name} is of our own samplers; leave it out with --scheduler")


def _drawn(args: argparse.Namespace, folder: Path, spec: str | None) -> "Samples":
    """The pictures, by the parts that the command and the folder name."""
    from workbench import backends, runs, sampling

    device = backends.choose_device(args.device)
    config = runs.load_config(folder) if (folder / runs.CONFIG).exists() else None
    ours = "; or --sampler ddpm, ours with its table"
    bring.check(args, config, ("unet",) if args.sampler else bring.PARTS, ours)
    changes = {} if args.spacing is None else {"timestep_spacing": args.spacing}
    of_folder = (folder, args.backend, SAMPLERS[args.sampler or "ddpm"], changes)
    scheduler: Any
    if (own := bring.spec_of(args, "unet")) is not None:
        scheduler = runs.load_scheduler(*of_folder)
        unet = bring.load_unet(own, folder, config, scheduler.config.num_train_timesteps)
    else:
        unet, scheduler = runs.load_parts(*of_folder)
    steps = args.steps or scheduler.config.num_train_timesteps
    if spec is not None:
        scheduler = bring.draws_with(spec, args, config, scheduler)
    else:
        sampling.refuse_wrong_steps(args.backend, scheduler, steps)
    if hasattr(scheduler, "draw"):
        return bring.drawn_by_loop(args, scheduler, unet.to(device))
    return sampling.sample(
        args.backend,
        unet.to(device),
        scheduler,
        args.count,
        seed=args.seed,
        steps=steps,
        batch_size=args.batch_size,
        labels=args.class_labels,
        guidance=args.guidance,
        eta=(args.eta or 0.0) if args.sampler == "ddim" else None,
        record_every=max(steps // 50, 1) if args.gif else 0,
        progress=not args.quiet,
    )
