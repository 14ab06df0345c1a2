"""The command line: `ddpm train | sample | compare | explain | exercise | plot | tour`.

Nothing heavy is imported until a verb runs, so that `--help` answers at once.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ddpm.options import (
    DIFFUSION,
    MODEL,
    TRAIN,
    Parser,
    add_options,
    from_zero,
    given,
    number,
    numbers_from_zero,
    whole,
)
from workbench.backends import PACKAGES, import_ours
from workbench.config import PRESETS, DiffusionConfig, ModelConfig, RunConfig, TrainConfig

EXAMPLES = {
    "ddpm": """examples:
  ddpm tour                                      train, sample and compare both backends; a page
  ddpm train                                     digits, by the model written here
  ddpm train --backend diffusers                 the same by Diffusers: one flag
  ddpm sample runs/digits-scratch                draw a grid of new digits
  ddpm compare --candidate mine.py:MyScheduler   which formula of mine is wrong?
""",
    "train": """examples:
  ddpm train
  ddpm train --backend diffusers --steps 1000 --output runs/mine
  ddpm train --preset tutorial --data FILE.npy --labels LABELS.npy
  ddpm train --data pictures/ --channels 64,128 --attention no,yes --epochs 20
  ddpm train --resume runs/digits-scratch
""",
    "sample": """examples:
  ddpm sample runs/digits-scratch
  ddpm sample runs/digits-scratch --backend diffusers --seed 3
  ddpm sample runs/digits-scratch --sampler ddim --steps 50 --output few.png
  ddpm sample runs/digits-scratch --gif denoising.gif
""",
    "plot": """examples:
  ddpm plot data --data sprites --output sprites.png
  ddpm plot losses runs/digits-scratch runs/digits-diffusers
  ddpm plot schedules --num-train-timesteps 500
  ddpm plot noising --data sprites
  ddpm plot trajectory runs/digits-scratch
  ddpm plot difference runs/digits-scratch
  ddpm plot histograms runs/digits-scratch
""",
    "explain": """examples:
  ddpm explain                      the list of all mistakes that `ddpm compare` knows by name
  ddpm explain 43                   words, both formulas, the fix, what one sees of it
  ddpm explain noise-over-variance  the same by its name
""",
    "exercise": """examples:
  ddpm exercise                the list of all
  ddpm exercise 6a             judge docs/exercises/ex_6a.py
  ddpm exercise 6a --solution  show ours
""",
    "tour": """examples:
  ddpm tour
  ddpm tour --output /tmp/tour
""",
}


# Decided by a run that goes on, as its options are.
FIXED = ("preset", "backend", "data", "labels", "size", "seed", "output", "force")


def run_config(args: argparse.Namespace) -> RunConfig:
    """The preset, with what the command line says put over it."""
    preset = PRESETS[args.preset or "digits"]
    train = given(args, TRAIN)
    if "steps" in train or "epochs" in train:
        train = {"steps": None, "epochs": None, **train}
    return replace(
        preset,
        backend=args.backend or preset.backend,
        data=args.data or preset.data,
        labels=args.labels,
        size=args.size,
        seed=preset.seed if args.seed is None else args.seed,
        model=replace(preset.model, **given(args, MODEL)),
        diffusion=replace(preset.diffusion, **given(args, DIFFUSION)),
        train=replace(preset.train, **train),
    )


def train(args: argparse.Namespace) -> int:
    """`ddpm train`: a run folder from a config."""
    from workbench import data, plotting, processes, runs, trainer
    from workbench.backends import choose_device
    from workbench.sampling import sample

    device = choose_device(args.device)
    changed = [
        *given(args, MODEL + DIFFUSION + TRAIN),
        *(n for n in FIXED if vars(args)[n] is not None and vars(args)[n] is not False),
    ]
    if args.resume and changed:
        name = changed[0].replace("_", "-")
        raise ValueError(f"--resume goes on as the run's own config says; leave out --{name}")
    config = runs.load_config(Path(args.resume)) if args.resume else run_config(args)
    name = f"runs/{Path(config.data).resolve().stem}-{config.backend}"
    folder = Path(args.resume or args.output or name)
    check_place(folder)
    dataset = data.load(config.data, config.labels, size=config.size)

    def draw_grid(unet: Any, scheduler: Any, path: Path) -> None:
        steps, quiet = config.diffusion.num_train_timesteps, args.quiet
        drawn = sample(config.backend, unet, scheduler, 16, seed=0, steps=steps, progress=not quiet)
        plotting.save(plotting.image_grid(drawn.images), path)

    result = trainer.train(
        config,
        folder,
        dataset,
        device=device,
        resume=bool(args.resume),
        force=args.force,
        progress=not args.quiet,
        draw_grid=draw_grid,
    )
    if not result.finished:
        print(f"stopped and saved; go on with: ddpm train --resume {folder}", file=sys.stderr)
        return 130
    if not processes.is_first():
        return 0
    print(f"{folder}: {len(result.losses)} steps, last loss {result.losses[-1]:.4f}")
    print(f"draw from it with: ddpm sample {folder}")
    return 0


def sample(args: argparse.Namespace) -> int:
    """`ddpm sample`: a grid of pictures from a run, by either backend."""
    from workbench import backends, plotting, runs, sampling

    folder = Path(args.run)
    runs.check_folder(folder)
    name = f"{args.sampler}_{args.backend}_seed{args.seed}.png"
    output = args.output or folder / "samples" / name
    output = new_file(output, args.force, plotting.SUFFIXES)
    gif = new_file(args.gif, args.force, (".gif",)) if args.gif else None
    if args.eta is not None and args.sampler == "ddpm":
        raise ValueError("--eta is DDIM's; add --sampler ddim, or leave it out")
    device = backends.choose_device(args.device)
    class_name = {"ddpm": "DDPMScheduler", "ddim": "DDIMScheduler"}[args.sampler]
    changes = {} if args.spacing is None else {"timestep_spacing": args.spacing}
    unet, scheduler = runs.load_parts(folder, args.backend, class_name, changes)
    steps = args.steps or scheduler.config.num_train_timesteps
    sampling.refuse_wrong_steps(args.backend, scheduler, steps)
    drawn = sampling.sample(
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
        record_every=max(steps // 50, 1) if gif else 0,
        progress=not args.quiet,
    )
    plotting.save(plotting.image_grid(drawn.images), output)
    print(output)
    if gif:
        plotting.save_gif([frame.x_prev for frame in drawn.frames], gif)
        print(gif)
    return 0


def compare(args: argparse.Namespace) -> int:
    """`ddpm compare`: the verdict."""
    from compare.cli import main as compare_main

    return compare_main(args)


def explain(args: argparse.Namespace) -> int:
    """`ddpm explain`: a mistake of the catalogue beside what is right."""
    from ddpm.explain import main as explain_main

    return explain_main(args)


def exercise(args: argparse.Namespace) -> int:
    """`ddpm exercise`: the reader's formula in the place of ours."""
    from ddpm.exercise import main as exercise_main

    return exercise_main(args)


def tour(args: argparse.Namespace) -> int:
    """`ddpm tour`: train, sample and compare both backends, and write the page."""
    from ddpm import tour

    print(tour.run(Path(args.output)))
    return 0


def plot(args: argparse.Namespace) -> int:
    """`ddpm plot`: one figure into a file."""
    from ddpm import figures
    from workbench import plotting

    output = new_file(args.output or f"{args.figure}.png", args.force, plotting.SUFFIXES)
    plotting.save(getattr(figures, args.figure)(args), output)
    print(output)
    return 0


def new_file(name: str | Path, force: bool, suffixes: tuple[str, ...]) -> Path:
    """The path of a file to be written, checked before the work that fills it.

    Raises:
        ValueError: it has another suffix, it exists already and `force` is off, it is a folder, or
            no file can be made there.
    """
    path = Path(name)
    if path.suffix.lower() not in suffixes:
        ending = path.suffix or "nothing"
        raise ValueError(f"{path} ends in {ending}; expected {', '.join(suffixes)}")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give the name of a file")
    if path.exists() and not force:
        raise ValueError(f"{path} exists; it is kept unless you add --force")
    check_place(path)
    return path


def check_place(path: Path) -> None:
    """Refuse a path below which nothing could be written when the work is done.

    Raises:
        ValueError: the nearest of its parents that exists is a file, or no file can be made in it.
    """
    parent = next(p for p in path.absolute().parents if p.exists())
    if not parent.is_dir():
        raise ValueError(f"{path} cannot be made, as {parent} is a file; choose another name")
    try:
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        reason = error.strerror
        raise ValueError(f"{path} cannot be made, as {parent} takes no file: {reason}") from None


def build_parser() -> Parser:
    """The whole command line.

    Raises:
        ValueError: a module of yours hides one of ours.
    """
    import_ours("compare")
    parser = Parser(
        prog="ddpm",
        description="One diffusion model, twice; a comparison that names the wrong formula.",
        epilog=EXAMPLES["ddpm"],
    )
    verbs = parser.add_subparsers(title="verbs", dest="verb", required=True, metavar="VERB")

    def verb(name: str, run: Any, text: str) -> Parser:
        added = verbs.add_parser(name, help=text, description=text, epilog=EXAMPLES.get(name))
        added.set_defaults(run_verb=run)
        return added

    _add_train(verb("train", train, "train a model into a run folder"))
    _add_sample(verb("sample", sample, "draw pictures from a run, by either backend"))
    from compare.cli import add_arguments

    add_arguments(verb("compare", compare, "check a DDPM and name the formula that is wrong"))
    from ddpm.explain import add_arguments as add_explain

    add_explain(verb("explain", explain, "say what a mistake is that `compare` named"))
    from ddpm.exercise import add_arguments as add_exercise

    add_exercise(verb("exercise", exercise, "check an exercise of the book, with hints"))
    _add_plot(verb("plot", plot, "draw one figure into a file"))
    added = verb("tour", tour, "train, sample and compare both backends on digits; write a page")
    added.add_argument("--output", default="runs/tour", help="folder (default: %(default)s)")
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", help="cuda, mps or cpu (default: the best one here)")
    parser.add_argument("--force", action="store_true", help="replace what exists")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preset", choices=PRESETS, help="default: digits")
    parser.add_argument("--backend", choices=PACKAGES, help="default: scratch")
    parser.add_argument("--data", help="sprites, digits, a .npy or .npz file, or a folder")
    parser.add_argument("--labels", help="a .npy file of labels for --data")
    parser.add_argument("--size", type=whole, help="side to bring a folder's pictures to")
    parser.add_argument("--seed", type=from_zero, help="default: 0")
    parser.add_argument("--output", help="the run's folder (default: runs/DATA-BACKEND)")
    parser.add_argument("--resume", metavar="RUN", help="go on with a run as its config says")
    _add_common(parser)
    add_options(parser, "model", ModelConfig, MODEL)
    add_options(parser, "diffusion", DiffusionConfig, DIFFUSION)
    add_options(parser, "training", TrainConfig, TRAIN)


def _add_sample(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder, or any DDPMPipeline folder")
    parser.add_argument("--backend", choices=PACKAGES, default="scratch", help="default: scratch")
    parser.add_argument("--sampler", choices=("ddpm", "ddim"), default="ddpm", help="default: ddpm")
    parser.add_argument("--steps", type=whole, help="timesteps to visit (default: all)")
    parser.add_argument(
        "--spacing", choices=("leading", "trailing", "linspace"), help="default: the run's"
    )
    parser.add_argument("--eta", type=number, help="DDIM's noise, from 0 to 1 (default: 0.0)")
    parser.add_argument("--count", type=whole, default=16, help="pictures (default: %(default)s)")
    parser.add_argument("--batch-size", type=whole, default=64, help="default: %(default)s")
    parser.add_argument("--seed", type=from_zero, default=0, help="default: %(default)s")
    parser.add_argument("--class-labels", type=numbers_from_zero, help="one, or one a picture: 3,5")
    parser.add_argument("--guidance", type=number, default=1.0, help="default: %(default)s, none")
    parser.add_argument("--output", help="a .png (default: in the run's samples/)")
    parser.add_argument("--gif", help="also write the denoising as a .gif")
    _add_common(parser)


def _add_plot(parser: argparse.ArgumentParser) -> None:
    from ddpm.figures import add_arguments

    add_arguments(parser)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the words after `ddpm`; None for those of this process.

    Returns:
        The exit status: 0 done (for `compare`: right), 1 `compare` found a difference, 2 bad input,
        130 stopped by Ctrl-C.
    """
    try:
        parser = build_parser()
    except ValueError as error:
        print(f"ddpm: {error}", file=sys.stderr)
        return 2
    args = parser.parse_args(argv)
    # Threads that spin while they wait cost an order of magnitude on cores that others use too.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        return args.run_verb(args)
    except (ValueError, OSError) as error:
        print(f"ddpm {args.verb}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"ddpm {args.verb}: stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
