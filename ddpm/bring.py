"""`--scheduler` and `--unet`: code of one's own as a part of a run, by `ddpm train | sample`.

A run folder keeps which code it was (its name, the digest of its file), and never where it lies:
nothing that a folder says is run. Who goes on with it or draws from it says the file again.
"""

import argparse
import hashlib
import os
import shlex
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from workbench.config import CodeConfig, DiffusionConfig, RunConfig
from workbench.progress_bar import say

DECIDES = ("num_train_timesteps", "prediction_type", "beta_schedule", "beta_start", "beta_end")
KEPT = (
    "num_train_timesteps",
    "prediction_type",
    "clip_sample",
    "variance_type",
    "timestep_spacing",
)
PARTS = ("scheduler", "unet")
OFF = 1e-3  # alpha-bars that differ by more are of another table, not of another rounding


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a part of one's own; they leave no trace if they are not given."""
    group, unsaid = parser.add_argument_group("your own code"), argparse.SUPPRESS
    spec: dict[str, Any] = {"metavar": "SPEC", "default": unsaid}
    group.add_argument("--scheduler", help="FILE.py:NAME of a scheduler of yours", **spec)
    group.add_argument("--unet", help="FILE.py:NAME of a network of yours", **spec)
    group.add_argument(
        "--reading",
        action="append",
        metavar="WORD",
        default=unsaid,
        help="how the scheduler is called, as for `ddpm compare`; may be repeated",
    )
    group.add_argument(
        "--other-code",
        action="store_true",
        default=unsaid,
        help="take code that is not what the run was trained with",
    )


def spec_of(args: argparse.Namespace, part: str) -> str | None:
    """What `--scheduler` or `--unet` says, or None."""
    return getattr(args, part, None)


def find_here() -> None:
    """Lets package.module:NAME be one of the folder that one stands in, as `ddpm compare` does."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


def digest(spec: str) -> str:
    """The sha256 of the file that a name stands in.

    Raises:
        ValueError: there is no such file.
    """
    path, _, name = spec.rpartition(":")
    if path and not path.endswith(".py"):
        try:
            found = find_spec(path)
        except (ImportError, ValueError):
            found = None
        path = (found and found.origin) or path
    if not name or not Path(path).is_file():
        raise ValueError(
            f"{spec!r} names no file that is here; expected FILE.py:NAME or package.module:NAME"
        )
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def again(args: argparse.Namespace) -> str:
    """What of a command names code of one's own, to be said again in the next."""
    said = {part: spec_of(args, part) for part in PARTS}
    return "".join(f" --{part} {shlex.quote(spec)}" for part, spec in said.items() if spec)


def named(args: argparse.Namespace) -> str:
    """What a run that is given no name is called beside its data and backend."""
    said = [spec_of(args, part) for part in PARTS]
    return "".join(f"_{spec.rpartition(':')[2]}" for spec in said if spec)


def check(
    args: argparse.Namespace,
    config: RunConfig | None,
    needed: Iterable[str] = PARTS,
    instead: str = "",
) -> None:
    """Refuses a run's code that is not said again, or is other code.

    Args:
        args: of the command.
        config: of the run that it goes on with or draws from; None for no run of ours.
        needed: of the parts, those without which there is nothing to be done.
        instead: what may be said in the place of a scheduler.

    Raises:
        ValueError: a part is not named again, is another, or was ours.
    """
    find_here()
    for part in PARTS:
        spec, code = spec_of(args, part), getattr(config, f"{part}_code", None)
        if spec is None and code is not None and part in needed:
            ours = instead if part == "scheduler" else ""
            raise ValueError(
                f"this run was trained with a {part} of its own, {code.name}, and no folder says "
                f"where code lies; say it again: --{part} FILE.py:{code.name}{ours}"
            )
        if spec is None:
            continue
        now = digest(spec)
        if code is not None and now != code.sha256 and not getattr(args, "other_code", False):
            raise ValueError(
                f"{spec} is other code than the run was trained with (sha256 {now[:12]}, then "
                f"{code.sha256[:12]}); --other-code takes it all the same"
            )


@dataclass(frozen=True)
class Parts:
    """What a run trains with.

    Attributes:
        config: of the run, with what is kept of its own code.
        scheduler: one of its own, or None for the backend's.
        make_unet: image_shape (c, h, w) -> a network of its own; None for the backend's.
    """

    config: RunConfig
    scheduler: Any = None
    make_unet: Callable[[tuple[int, int, int]], Any] | None = None


def parts(args: argparse.Namespace, config: RunConfig, image_shape: tuple[int, int, int]) -> Parts:
    """The parts that `--scheduler` and `--unet` of `ddpm train` name, checked before any training.

    What `compare` finds wrong with them is said on stderr, and they are used.

    Raises:
        ValueError: one cannot be loaded, built or called, or is not the run's; one line.
    """
    find_here()
    resumed = bool(args.resume)
    if resumed or config.scheduler_code or config.unet_code:  # also of a file of --config
        check(args, config)
    if resumed:
        ours = [p for p in PARTS if spec_of(args, p) and not getattr(config, f"{p}_code")]
        if ours:
            raise ValueError(f"this run was trained with our {ours[0]}; leave out --{ours[0]}")
    found = Parts(config)
    if (spec := spec_of(args, "scheduler")) is not None:
        found = _with_scheduler(args, found, spec, resumed)
    if (spec := spec_of(args, "unet")) is not None:
        found = _with_unet(found, spec, image_shape)
    for part in PARTS:
        code = getattr(found.config, f"{part}_code")
        warn("" if code is None else code.verdict)
        if code is not None and any("points (b, d)" in word for word in code.called):
            warn(
                f"{code.name} is right for points (b, d) alone, and these are pictures: each is "
                "handed to it as a row of numbers"
            )
    return found


def _with_scheduler(args: argparse.Namespace, found: Parts, spec: str, resumed: bool) -> Parts:
    from compare import as_scheduler

    config, old = found.config, found.config.scheduler_code
    told = old.told if old else _told(args, spec)
    reading = _reading(args, old)
    keywords = {name: getattr(config.diffusion, name) for name in told}
    scheduler = as_scheduler(spec, reading, keywords)
    if (steps := config.train.sample_steps) is not None:  # else when the grid is drawn
        try:
            scheduler.set_timesteps(steps)
        except ValueError as error:
            raise ValueError(f"--sample-steps {steps}: {error}") from None
    now = replace(config.diffusion, **{name: scheduler.config[name] for name in KEPT})
    if resumed and now != config.diffusion:
        raise ValueError(f"{spec} is for another network: {_change(config.diffusion, now)}")
    code = _code(spec, old, reading, scheduler.words, told, judged=spec, quiet=args.quiet)
    config = replace(config, diffusion=now, scheduler_code=code)
    return replace(found, config=config, scheduler=scheduler)


def _with_unet(found: Parts, spec: str, image_shape: tuple[int, int, int]) -> Parts:
    from compare import Adapter, as_unet

    if found.config.train.class_conditional:
        raise ValueError("a network of --unet is told no labels; leave out --class-conditional")
    T, old = found.config.diffusion.num_train_timesteps, found.config.unet_code
    unet = as_unet(spec, image_shape, T)
    judged = Adapter(network=lambda: unet.network, name=unet.name)
    code = _code(spec, old, (), unet.words, (), judged=judged, quiet=True)
    config = replace(found.config, unet_code=code)
    return replace(found, config=config, make_unet=lambda shape: as_unet(spec, shape, T))


def _code(
    spec: str,
    old: CodeConfig | None,
    reading: tuple[str, ...],
    called: tuple[str, ...],
    told: tuple[str, ...],
    judged: Any,
    quiet: bool,
) -> CodeConfig:
    """What a run keeps of its own code, judged anew only if it is not what it was."""
    sha256, name = digest(spec), spec.rpartition(":")[2]
    if old is not None and (old.sha256, old.reading) == (sha256, reading):
        return old
    if not quiet:
        say(f"judging {name}, as `ddpm compare` does", sys.stderr)
    verdict = _verdict(None, spec, reading, judged)
    return CodeConfig(name, sha256, reading, called, told, verdict)


def _told(args: argparse.Namespace, spec: str) -> tuple[str, ...]:
    """The diffusion's options that were given, and those that its constructor cannot be without."""
    from compare.bring.read import is_built, loaded
    from compare.candidate.door.signature import asked_for
    from ddpm.options import given

    thing, _ = loaded(spec)
    asked = asked_for(thing) if is_built(thing) else []
    said = given(args, DiffusionConfig)
    return (*said, *(n for n in asked if n in vars(DiffusionConfig()) and n not in said))


def _reading(args: argparse.Namespace, old: CodeConfig | None) -> tuple[str, ...]:
    """The words that say how a scheduler is called: those of the command, else those of the run."""
    return tuple(getattr(args, "reading", ())) or (old.reading if old else ())


def _change(before: DiffusionConfig, now: DiffusionConfig) -> str:
    changed = [name for name in KEPT if getattr(before, name) != getattr(now, name)]
    name = changed[0]
    return f"its {name} is {getattr(now, name)}, and the run's {getattr(before, name)}"


def warn(verdict: str) -> None:
    """Says on stderr what `compare` finds wrong, if it does."""
    if verdict:
        say(f"warning: {verdict}", sys.stderr)


def draws_with(spec: str, args: argparse.Namespace, config: RunConfig | None, ours: Any) -> Any:
    """The scheduler, or the loop, that `--scheduler` of `ddpm sample` names.

    Args:
        spec: what it says.
        args: of the command.
        config: of the run; None for no run of ours.
        ours: the scheduler that the folder holds.

    Returns:
        A `compare.bring` scheduler or loop.

    Raises:
        ValueError: it cannot be loaded or called, or is for a network of another kind.
    """
    from compare.bring.own_loop import loop_of
    from compare.bring.own_scheduler import scheduler_of
    from compare.bring.read import is_built, loaded, read
    from compare.candidate.door.signature import named_keywords

    code = None if config is None else config.scheduler_code
    reading = _reading(args, code)
    thing, _ = loaded(spec)
    named = named_keywords(thing) if is_built(thing) else {}
    told = code.told if code else [name for name in DECIDES if name in named]
    values = ours.config if config is None else vars(config.diffusion)
    subject = read(spec, reading, {name: values[name] for name in told})
    if subject.has("sample") and not subject.has("step"):
        found: Any = loop_of(subject, (1 - ours.betas.double()).cumprod(0))
        _refuse_for_loop(args, found.name)
    else:
        found = scheduler_of(subject)
    for what in ("num_train_timesteps", "prediction_type"):
        own, runs = found.config[what], ours.config[what]
        if own != runs:
            raise ValueError(f"{spec} is for another network: its {what} is {own}, not {runs}")
    warn(_verdict(code, spec, reading, spec))
    table = (1 - ours.betas.double()).cumprod(0)
    if hasattr(found, "alpha_bar") and float((found.alpha_bar - table).abs().max()) > OFF:
        warn(f"the table of {found.name} is not the one that this network was trained with")
    return found


def _verdict(code: CodeConfig | None, spec: str, reading: tuple[str, ...], judged: Any) -> str:
    """What `compare` finds wrong: what the run keeps, or for other code by judging it anew."""
    if code is not None and (code.sha256, code.reading) == (digest(spec), reading):
        return code.verdict
    from compare.bring.warning import warning

    return warning(judged, spec, reading)


def _refuse_for_loop(args: argparse.Namespace, name: str) -> None:
    """Refuses what a whole loop is not told."""
    plain_values = {"steps": None, "gif": None, "class_labels": None, "guidance": 1}
    for option, plain in {**plain_values, "fast": False, "precision": "float32"}.items():
        if getattr(args, option) != plain:
            said = option.replace("_", "-")
            raise ValueError(f"{name} is a whole loop and is not told --{said}; leave it out")


def load_unet(spec: str, folder: Path, config: RunConfig | None, T: int) -> Any:
    """The network that `--unet` of `ddpm sample` names, with the weights of a run.

    Raises:
        ValueError: it cannot be loaded, built or called, or has other weights than the run.
    """
    from compare import Adapter, as_unet
    from workbench import runs

    if config is None or config.unet_code is None:
        raise ValueError("the network of this run is ours; leave out --unet")
    c, h, w = runs.image_shape(folder)
    unet = as_unet(spec, (c, h, w), T)
    unet.load_weights(runs.read_tensors(folder / "unet" / runs.WEIGHTS)[0])
    judged = Adapter(network=lambda: unet.network, name=unet.name)
    warn(_verdict(config.unet_code, spec, (), judged))
    return unet.eval()


def drawn_by_loop(args: argparse.Namespace, loop: Any, unet: Any) -> Any:
    """The pictures of a whole loop: a batch hangs on the seed and on how many are drawn.

    Raises:
        ValueError: the network must be told labels, or the loop draws no such pictures.
    """
    import torch

    from workbench.draws import PICTURES, seed_of
    from workbench.sampling import Samples, in_eval_mode

    if unet.config.num_class_embeds is not None:
        raise ValueError(f"{loop.name} is a whole loop, and this network must be told labels")
    with in_eval_mode(unet):
        images = [
            loop.draw(
                unet, min(args.batch_size, args.count - first), seed_of(args.seed, PICTURES, first)
            )
            for first in range(0, args.count, args.batch_size)
        ]
    return Samples(torch.cat(images))
