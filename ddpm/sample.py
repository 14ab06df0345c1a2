"""`ddpm sample`: a grid of pictures from a run, by either backend."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ddpm import bring
from ddpm.names import joined, word
from ddpm.options import from_zero, number, numbers_from_zero, threads, whole
from workbench.backends import PACKAGES
from workbench.config import Spacing
from workbench.files import new_file
from workbench.progress_bar import say

if TYPE_CHECKING:
    from workbench.config import RunConfig
    from workbench.sampling import Samples

SAMPLERS = {"ddpm": "DDPMScheduler", "ddim": "DDIMScheduler"}
COUNT = 16  # pictures in a grid, unless told otherwise
PRECISIONS = ("float32", "bf16", "fp16")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `ddpm sample`."""
    parser.add_argument("run", metavar="RUN", help="the folder of a run, or of any DDPMPipeline")
    parser.add_argument("--backend", choices=PACKAGES, default="scratch", help="default: scratch")
    parser.add_argument("--sampler", choices=SAMPLERS, help="default: ddpm")
    parser.add_argument("--steps", type=whole, help="timesteps to visit (default: all)")
    parser.add_argument("--spacing", choices=get_args(Spacing), help="default: the run's")
    parser.add_argument("--eta", type=number, help="DDIM's noise, from 0 to 1 (default: 0.0)")
    parser.add_argument(
        "--count", type=whole, default=COUNT, help="pictures (default: %(default)s)"
    )
    parser.add_argument("--batch-size", type=whole, default=64, help="default: %(default)s")
    parser.add_argument("--seed", type=from_zero, default=0, help="default: %(default)s")
    parser.add_argument("--class-labels", type=numbers_from_zero, help="one, or one a picture: 3,5")
    parser.add_argument("--guidance", type=number, default=1.0, help="default: %(default)s, none")
    parser.add_argument(
        "--output",
        help="a .png, .svg or .pdf (default: in samples/ of the run, named by what is no default)",
    )
    parser.add_argument("--gif", help="also write the denoising as a .gif")
    parser.add_argument("--device", help="cuda, mps or cpu (default: the best one here)")
    parser.add_argument("--threads", type=threads, help="of the CPU (default: one a core)")
    parser.add_argument(
        "--fast",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="compile the network, and on CUDA take a step as one graph: the same pictures up to "
        "rounding; compiling takes a minute or more, so it is for many pictures (default: no)",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="in which the network computes; fp16 on a GPU alone (default: %(default)s)",
    )
    parser.add_argument("--force", action="store_true", help="replace what exists")
    parser.add_argument("--quiet", action="store_true", help="no screen before, no progress bars")
    bring.add_arguments(parser)


def default_name(args: argparse.Namespace, T: int) -> str:
    """What the grid is called: sampler, backend and seed, and what else is not a default."""
    spec = bring.spec_of(args, "scheduler")
    who = spec.rpartition(":")[2] if spec else args.sampler or "ddpm"
    words = [who, args.backend, f"seed{args.seed}"]
    usual = {"steps": T, "eta": 0.0, "count": COUNT, "guidance": 1.0, "precision": "float32"}
    for name in ("steps", "spacing", "eta", "count", "class_labels", "guidance", "precision"):
        if (value := vars(args)[name]) not in (None, usual.get(name)):
            words.append(word(name, value))
    return joined(words) + ".png"


def main(args: argparse.Namespace) -> int:
    """Draw the grid, and the moving picture if it is asked for; 0."""
    from workbench import plotting, runs

    folder = Path(args.run)
    runs.check_folder(folder)
    spec = bring.spec_of(args, "scheduler")
    if args.output:
        new_file(args.output, args.force, plotting.SUFFIXES)
    gif = new_file(args.gif, args.force, (".gif",)) if args.gif else None
    _refuse_unfit(args, spec)
    unet, scheduler = _of_folder(args, folder)
    name = default_name(args, scheduler.config.num_train_timesteps)
    output = new_file(args.output or folder / "samples" / name, args.force, plotting.SUFFIXES)
    drawn = _drawn(args, folder, unet, scheduler)
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


def _config(folder: Path) -> "RunConfig | None":
    """Of a run of ours; None for another pipeline's folder."""
    from workbench import runs

    return runs.load_config(folder) if (folder / runs.CONFIG).exists() else None


def _of_folder(args: argparse.Namespace, folder: Path) -> tuple[Any, Any]:
    """The network, and the scheduler that the folder holds."""
    from workbench import runs

    config = _config(folder)
    ours = "; or --sampler ddpm, ours with its table"
    bring.check(args, config, ("unet",) if args.sampler else bring.PARTS, ours)
    changes = {} if args.spacing is None else {"timestep_spacing": args.spacing}
    said = (folder, args.backend, SAMPLERS[args.sampler or "ddpm"], changes)
    own = bring.spec_of(args, "unet")
    if own is None:
        return runs.load_parts(*said)
    scheduler = runs.load_scheduler(*said)
    return bring.load_unet(own, folder, config, scheduler.config.num_train_timesteps), scheduler


def _drawn(args: argparse.Namespace, folder: Path, unet: Any, scheduler: Any) -> "Samples":
    """The pictures, by the folder's scheduler or by the one that the command names."""
    import torch

    from workbench import backends, precision, sampling

    if args.threads:
        torch.set_num_threads(args.threads)
    device = backends.choose_device(args.device)
    precision.check(args.precision, device)
    if args.precision == "bf16" and device.type == "cpu" and precision.computes_bf16() is False:
        say("this processor does not compute in bf16 itself: float32 is faster here", sys.stderr)
    steps = args.steps or scheduler.config.num_train_timesteps
    spec = bring.spec_of(args, "scheduler")
    if spec is None:
        sampling.refuse_wrong_steps(args.backend, scheduler, steps)
    else:
        scheduler = bring.draws_with(spec, args, _config(folder), scheduler)
    if not args.quiet:
        from workbench.outlook import of_sampling

        for line in of_sampling(folder, args.backend, scheduler, args.count, steps, device):
            say(line, sys.stderr)
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
        fast=args.fast,
        precision=args.precision,
        progress=not args.quiet,
    )
