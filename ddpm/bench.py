"""`ddpm bench`: how fast both backends are on this machine, beside others' code and its limit."""

import argparse
import json
from dataclasses import replace

from ddpm.options import number, threads, whole, widths
from workbench.files import new_file, write_text

SECONDS = 8  # for each contest: the short form


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `ddpm bench`."""
    parser.add_argument("--device", help="cuda or cpu (default: the best one here)")
    parser.add_argument("--threads", type=threads, help="of the CPU (default: one a core)")
    parser.add_argument("--channels", type=widths, help="width of each level (default: 32,64)")
    parser.add_argument("--size", type=whole, help="side of the pictures (default: 16)")
    parser.add_argument("--batch-size", type=whole, help="pictures at a time (default: 32)")
    parser.add_argument("--sample-steps", type=whole, help="of a chain (default: 4)")
    parser.add_argument(
        "--compile",
        action="store_true",
        help="also what is compiled: the fast path, and Diffusers' pipeline by its user; each "
        "takes a minute or more to compile on a CPU",
    )
    parser.add_argument(
        "--scaling", action="store_true", help="also against picture size, batch and width"
    )
    parser.add_argument(
        "--seconds", type=number, default=SECONDS, help="for each contest (default: %(default)s)"
    )
    parser.add_argument("--json", metavar="FILE", help="write what was measured as JSON")
    parser.add_argument("--plot", metavar="FILE", help="write the ratios as a .png, .svg or .pdf")
    parser.add_argument("--force", action="store_true", help="replace what exists")


def main(args: argparse.Namespace) -> int:
    """Measure, show the table line by line, and write the files that are asked for; 0.

    Raises:
        ValueError: a file exists, or the network does not fit the pictures.
    """
    import torch

    from workbench import backends, plotting
    from workbench.bench import chart, report
    from workbench.bench.setting import Setting

    into = new_file(args.json, args.force) if args.json else None
    plot = new_file(args.plot, args.force, plotting.SUFFIXES) if args.plot else None
    given = {
        "channels": args.channels,
        "size": args.size,
        "batch_size": args.batch_size,
        "steps": args.sample_steps,
    }
    if args.threads:
        torch.set_num_threads(args.threads)
    setting = Setting(backends.choose_device(args.device), compiled=args.compile)
    setting = replace(setting, **{name: value for name, value in given.items() if value})
    setting.parts("scratch")  # refuses a network that does not fit, before any time goes by
    made = report.run(setting, args.seconds, args.scaling, lambda line: print(line, flush=True))
    if into:
        write_text(into, json.dumps(made.to_dict(), indent=1) + "\n")
    if plot:
        plotting.save(chart.ratios(made), plot)
    return 0
