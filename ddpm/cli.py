"""The command line: `ddpm train | sample | compare | explain | plot | tour`, and other verbs.

A verb is a module with `add_arguments` and `main`. Nothing heavy is imported until it runs, so
that `--help` answers at once.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ddpm import bench, figures, sample, train
from ddpm.completion import SHELLS, PrintCompletion
from ddpm.room import no_room
from ddpm_side_by_side import show_version
from workbench.backends import import_ours
from workbench.parser import Parser
from workbench.pipes import flush, until_closed

EXAMPLES = {
    "ddpm": """examples:
  ddpm tour                                      train, sample and compare both backends; a page
  ddpm train                                     digits, by the model written here
  ddpm train --backend diffusers                 the same by Diffusers: one flag
  ddpm sample runs/digits-scratch                draw a grid of new digits
  ddpm compare --candidate mine.py:MyScheduler   which formula of mine is wrong?
  eval "$(ddpm --print-completion bash)"         complete its words by the tab key
""",
    "train": """examples:
  ddpm train
  ddpm train --backend diffusers --steps 1000 --output runs/mine
  ddpm train --preset tutorial --data FILE.npy --labels LABELS.npy
  ddpm train --data pictures/ --size 16 --preset sprites --sample-steps 50
  ddpm train --steps 1000 --show > mine.json     the whole config, to be looked at or changed
  ddpm train --config mine.json --no-sample-grid
  ddpm train --resume runs/digits-scratch
  ddpm train --scheduler mine.py:MyScheduler --unet mine.py:MyUNet --output runs/own
""",
    "sample": """examples:
  ddpm sample runs/digits-scratch
  ddpm sample runs/digits-scratch --backend diffusers --seed 3
  ddpm sample runs/digits-scratch --sampler ddim --steps 50 --output few.png
  ddpm sample runs/digits-scratch --gif denoising.gif
  ddpm sample runs/own --scheduler mine.py:MyScheduler --unet mine.py:MyUNet
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
    "adapt": """examples:
  ddpm adapt mine.py:GaussianDiffusion > adapt_mine.py    a class
  ddpm adapt mine.py > adapt_mine.py                      all functions of a file
  ddpm compare --candidate adapt_mine.py:adapted          the verdict, once each ... is filled in
""",
    "explain": """examples:
  ddpm explain                      the list of all mistakes that `ddpm compare` knows by name
  ddpm explain 43                   words, both formulas, the fix, what one sees of it
  ddpm explain noise-over-variance  the same by its name
""",
    "exercise": """examples:
  ddpm exercise                the list of all
  ddpm exercise 6a             write ex_6a.py, an empty function, to be filled in; then judge it
  ddpm exercise 6a --solution  show ours
""",
    "bench": """examples:
  ddpm bench                                     what pays on this machine, in a few minutes
  ddpm bench --json bench.json --plot bench.png
  ddpm bench --compile --seconds 60              also what is compiled
  ddpm bench --channels 128,64 --batch-size 100  the tutorial's network
""",
    "tour": """examples:
  ddpm tour
  ddpm tour --output /tmp/tour
""",
}


def compare(args: argparse.Namespace) -> int:
    """`ddpm compare`: the verdict."""
    from compare.cli import main as compare_main

    return compare_main(args)


def adapt(args: argparse.Namespace) -> int:
    """`ddpm adapt`: the adapter for somebody's code."""
    from ddpm.adapt import main as adapt_main

    return adapt_main(args)


def explain(args: argparse.Namespace) -> int:
    """`ddpm explain`: a mistake of the catalogue beside what is right."""
    from ddpm.explain import main as explain_main

    return explain_main(args)


def exercise(args: argparse.Namespace) -> int:
    """`ddpm exercise`: the reader's formula beside ours."""
    from ddpm.exercises.command import main as exercise_main

    return exercise_main(args)


def tour(args: argparse.Namespace) -> int:
    """`ddpm tour`: train, sample and compare both backends, and write the page."""
    from ddpm import tour

    tour.say(str(tour.run(Path(args.output))))
    return 0


class Version(argparse.Action):
    """`ddpm --version`."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Says it, and ends."""
        parser.exit(show_version())


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
    parser.add_argument(
        "--print-completion",
        action=PrintCompletion,
        choices=SHELLS,
        default=argparse.SUPPRESS,
        help="print what that shell needs to complete verbs and options, and end",
    )
    said = "say the version, and whether another package has taken a place of ours"
    parser.add_argument("--version", action=Version, nargs=0, default=argparse.SUPPRESS, help=said)
    verbs = parser.add_subparsers(title="verbs", dest="verb", required=True, metavar="VERB")

    def verb(name: str, run: Any, text: str) -> Parser:
        added = verbs.add_parser(name, help=text, description=text, epilog=EXAMPLES.get(name))
        added.set_defaults(run_verb=run)
        return added

    train.add_arguments(verb("train", train.main, "train a model into a run folder"))
    sample.add_arguments(verb("sample", sample.main, "draw pictures from a run, by either backend"))
    from compare.cli import add_arguments

    add_arguments(verb("compare", compare, "check a DDPM and name the formula that is wrong"))
    from ddpm.adapt import add_arguments as add_adapt

    add_adapt(verb("adapt", adapt, "write the adapter by which `compare` judges somebody's code"))
    from ddpm.explain import add_arguments as add_explain

    add_explain(verb("explain", explain, "say what a mistake is that `compare` named"))
    from ddpm.exercises.command import add_arguments as add_exercise

    add_exercise(verb("exercise", exercise, "check an exercise of the book, with hints"))
    figures.add_arguments(verb("plot", figures.main, "draw one figure into a file"))
    bench.add_arguments(verb("bench", bench.main, "time both backends beside others' code"))
    added = verb("tour", tour, "train, sample and compare both backends on digits; write a page")
    added.add_argument("--output", default="runs/tour", help="folder (default: %(default)s)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the words after `ddpm`; None for those of this process.

    Returns:
        The exit status: 0 done (for `compare`: right), 1 `compare` found a difference or there is
        no room on the disk or in memory, 2 bad input, 130 stopped by Ctrl-C, 141 nobody reads on.
    """
    return until_closed(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    try:
        parser = build_parser()
    except ValueError as error:
        print(f"ddpm: {error}", file=sys.stderr)
        return 2
    args = parser.parse_args(argv)
    # Threads that spin long while they wait cost several times as much on cores that others use,
    # and threads that never do a quarter more on idle ones, as each operation wakes them.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        status: int = args.run_verb(args)
        flush()
        return status
    except BrokenPipeError:
        raise
    except Exception as error:
        why = no_room(error)
        if why is None and not isinstance(error, ValueError | OSError):
            raise
        print(f"ddpm {args.verb}: {why or ' '.join(str(error).split())}", file=sys.stderr)
        return 1 if why else 2
    except KeyboardInterrupt:
        print(f"ddpm {args.verb}: stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
