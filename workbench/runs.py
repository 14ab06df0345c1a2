"""A run folder: a Diffusers pipeline folder, with what training needs beside it.

    NAME/
        model_index.json   unet/   scheduler/       what one samples with
        training/          config.json, metrics.jsonl, history.json, files.json, checkpoints/
        samples/           grids drawn while training

`unet/` holds the averaged weights if there are any. `diffusers.DDPMPipeline.from_pretrained` reads
the folder whichever backend wrote it; `workbench.checkpoints` writes it.
"""

import json
import logging
import math
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import backends
from workbench.checksums import mark, read_signed, refuse_other, write_signed
from workbench.config import RunConfig
from workbench.files import is_left_over, refuse_link, remove, remove_left_over
from workbench.history import HISTORY
from workbench.lock import LOCK

if TYPE_CHECKING:
    import torch

CONFIG = Path("training", "config.json")
STATE = Path("training", "state.safetensors")  # the one checkpoint of a run of an older version
METRICS = Path("training", "metrics.jsonl")
LIST = Path("training", "files.json")  # checksums of what does not change between checkpoints
PARTS = ("model_index.json", "unet", "scheduler", "samples", "training")
WEIGHTS = "diffusion_pytorch_model.safetensors"
INDEX = {
    "_class_name": "DDPMPipeline",
    "_diffusers_version": "0.42.1",
    "scheduler": ["diffusers", "DDPMScheduler"],
    "unet": ["diffusers", "UNet2DModel"],
}
OWN = "OwnUNet"  # the class that a network of one's own is said to be, which no library has
ASIDE = ".replaced-"  # and eight digits: the name of a run that is being replaced
PIPELINES = ("DDPMPipeline", "DDIMPipeline")  # a UNet and a scheduler, and nothing else


def check_new(folder: Path, force: bool) -> None:
    """Make sure that a new run may be written to `folder`, which need not exist.

    Raises:
        ValueError: the folder holds something, and it is not a run that may be replaced.
    """
    if folder.is_file():
        raise ValueError(f"{folder} is a file; give the name of a folder for the run")
    replaced = aside(folder)
    half = replaced and not (folder / "model_index.json").exists()  # of the one that replaces it
    if half or not folder.exists() or _holds_nothing(folder):
        if replaced and not force:
            raise ValueError(
                f"{folder} was being replaced, and its run lies whole in {replaced[0]}: move it "
                "back, or add --force to go on replacing it"
            )
        return
    try:
        load_config(folder)
    except ValueError as error:
        raise ValueError(
            f"{folder} exists and is no run that could be replaced, so nothing was written: choose "
            f"another name ({error})"
        ) from None
    if not force:
        raise ValueError(f"{folder} holds a run; go on with --resume, or replace it with --force")
    if Path.cwd().is_relative_to(folder.resolve()):
        raise ValueError(f"{folder} is the folder you are in; replace the run from outside of it")


def make_room(folder: Path) -> bool:
    """Move a run that is to be replaced aside, in one move: it is here or there, whole.

    Returns:
        Whether there was one.
    """
    if _holds_nothing(folder):
        return False
    real = folder.resolve()
    os.rename(real, real.with_name(f"{real.name}{ASIDE}{secrets.token_hex(4)}"))
    real.mkdir()
    return True


def drop_replaced(folder: Path) -> None:
    """Remove the run that was moved aside, now that the new one can be gone on with; what no run
    wrote goes back to its place, or stays where it is if that is taken."""
    for old in aside(folder):
        for name in PARTS:
            remove(old / name)
        for path in old.iterdir():
            if not (folder / path.name).exists():
                os.rename(path, folder / path.name)
        if not any(old.iterdir()):
            old.rmdir()


def aside(folder: Path) -> list[Path]:
    """The runs that were moved aside for one in `folder`, and not yet removed."""
    real = folder.resolve()
    begins = real.name + ASIDE
    beside = real.parent.iterdir() if real.parent.is_dir() else ()
    found = [path for path in beside if path.name.startswith(begins)]
    return [path for path in found if re.fullmatch("[0-9a-f]{8}", path.name[len(begins) :])]


def clean(folder: Path) -> None:
    """Remove what killed processes left in a run's folder that nobody else writes to.

    Raises:
        ValueError: a part of the run is a link, through which nothing is written.
    """
    remove_left_over(folder)
    for part in ("training", "training/checkpoints", "samples", "unet", "scheduler"):
        refuse_link(folder / part)
        remove_left_over(folder / part)


def _holds_nothing(folder: Path) -> bool:
    """Whether a folder has nothing but what a process left that was killed before it wrote."""
    files = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return all(
        path == folder / LOCK or any(map(is_left_over, (path, *path.parents))) for path in files
    )


def check_folder(folder: Path) -> None:
    """Refuse a folder that is not there.

    Raises:
        ValueError: it is missing, a file, or the name of a repository on the Hub.
    """
    if not (folder / "model_index.json").exists():  # written last: a new run is not there yet
        for old in aside(folder):
            raise ValueError(
                f"no run {str(folder)!r} here: it was being replaced, and lies whole in {old}; "
                "move it back, or begin again with --force"
            )
    if folder.is_dir() and not ((folder / LOCK).exists() and _holds_nothing(folder)):
        return
    name = str(folder)
    hub = name.removeprefix("hub:")
    a_path = folder.parent.is_dir() or folder.is_absolute() or folder.parts[0] in ("runs", "..")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", hub) or a_path:
        raise ValueError(f"no run {name!r} here; `ddpm train` makes one")
    raise ValueError(
        f"no folder {name!r} here; the Hub's hub:{hub} is not read by name yet: "
        f"`hf download {hub} --local-dir {Path(hub).name}`, and give the folder {Path(hub).name}"
    )


def load_config(folder: Path) -> RunConfig:
    """The config of a run.

    Raises:
        ValueError: the folder is missing or no run, or the file cannot be read or is damaged.
    """
    check_folder(folder)
    check_list(folder, "training")
    return read_config(folder / CONFIG)


def write_list(folder: Path) -> None:
    """Keep size and checksum of what a run wrote, but for what has its own: its checkpoints, and
    the metrics that they know."""
    parts = [folder / "model_index.json", folder / CONFIG, folder / HISTORY]
    parts += [path for part in ("unet", "scheduler") for path in (folder / part).iterdir()]
    marks = {path.relative_to(folder).as_posix(): mark(path) for path in sorted(parts)}
    write_signed(folder / LIST, marks)


def check_list(folder: Path, part: str = "") -> None:
    """Refuse files that are not as the run wrote them; a folder without such a list is taken.

    Args:
        folder: of the run.
        part: the folder in it to be looked at; "" for all.

    Raises:
        ValueError: a bit was flipped, a file was truncated or changed, or is missing.
    """
    if not (folder / LIST).exists():  # of an older version, or no run of ours
        return
    again = f"`ddpm train --resume {folder}` makes it again"
    try:
        marks = read_signed(folder / LIST)
    except ValueError as error:
        raise ValueError(f"{folder / LIST}: {error}; remove it, and {again}") from None
    for name, said in marks.items():
        if name.startswith(part):
            try:
                refuse_other(folder / name, said)
            except ValueError as error:
                own = f"put back what it was, or remove {LIST.as_posix()} to take it as it is"
                cure = own if name.startswith("training") else f"{again}, or {own}"
                raise ValueError(f"{folder / name}: {error}; {cure}") from None


def read_config(path: Path) -> RunConfig:
    """The config that a JSON file holds: a run's, or what `ddpm train --show` printed.

    Raises:
        ValueError: the file cannot be read, or holds something else.
    """
    content = _read_json(path)
    try:
        return RunConfig.from_dict(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def load_metrics(folder: Path) -> list[dict[str, float]]:
    """The rows of `metrics.jsonl`: `step, loss, learning_rate`, or `epoch, mean_loss`.

    The loss of a step that was left out, as it was not finite, is NaN.

    Raises:
        ValueError: the file is missing, truncated or foreign.
    """
    check_folder(folder)
    return rows_of(_read_text(folder / METRICS), folder / METRICS)


def rows_of(text: str, path: Path) -> list[dict[str, float]]:
    """The rows in the text of a `metrics.jsonl`.

    Raises:
        ValueError: a line is no row; `path` is named.
    """
    kinds = ({"step", "loss", "learning_rate"}, {"epoch", "mean_loss"})
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError):
            row = None
        if not isinstance(row, dict) or row.keys() not in kinds:
            raise ValueError(f"line {number} of {path} is damaged: {line[:60]!r}")
        rows.append({name: math.nan if v is None else v for name, v in row.items()})
    return rows


def load_parts(
    folder: Path,
    backend: str,
    scheduler: str = "DDPMScheduler",
    changes: Mapping[str, Any] | None = None,
) -> tuple[Any, Any]:
    """The UNet and a scheduler of a pipeline folder, by either backend, whoever trained it.

    Args:
        folder: a run, or any folder that `DDPMPipeline.save_pretrained` wrote; the oldest of those
            have everything at their root.
        backend: `scratch` or `diffusers`.
        scheduler: the class to sample with; it takes the schedule from the folder.
        changes: entries of the scheduler's config to change.

    Raises:
        ValueError: a file is missing, truncated or foreign, or the backend does not have that.
    """
    check_folder(folder)
    check_list(folder)
    of_unet, _ = _part_folders(folder)
    kind = _read_json(of_unet / "config.json").get("_class_name", "UNet2DModel")
    if kind == OWN:
        raise ValueError(
            f"the network of {folder} is code of its own, and no folder says where code lies: "
            "`ddpm sample` and `ddpm train --resume` take it by --unet, nothing else does"
        )
    if not (of_unet / WEIGHTS).exists():
        raise ValueError(f"{of_unet / WEIGHTS} is missing, and other kinds are never read")
    package = backends.load(backend)
    with _refused_as_value_error(of_unet):
        unet = package.UNet2DModel.from_pretrained(of_unet)
    # Diffusers fills in what a file lacks with fresh weights, and only logs it. (The names of
    # attention's weights were others in 2022; both backends read them.)
    stored, own = set(read_tensors(of_unet / WEIGHTS)[0]), set(unet.state_dict())
    if len(stored) != len(own) or any(".attentions." not in name for name in stored ^ own):
        raise ValueError(
            f"{of_unet / WEIGHTS} does not hold the model that its config.json describes"
        )
    return unet.eval(), _scheduler(folder, backend, scheduler, changes)


def load_scheduler(
    folder: Path,
    backend: str,
    scheduler: str = "DDPMScheduler",
    changes: Mapping[str, Any] | None = None,
) -> Any:
    """The scheduler of a pipeline folder; arguments and errors as `load_parts`."""
    check_folder(folder)
    check_list(folder)
    return _scheduler(folder, backend, scheduler, changes)


def _scheduler(
    folder: Path, backend: str, scheduler: str, changes: Mapping[str, Any] | None
) -> Any:
    _, of_scheduler = _part_folders(folder)
    config = _read_json(of_scheduler / "scheduler_config.json")
    kind = getattr(backends.load(backend), scheduler)
    with _refused_as_value_error(of_scheduler):
        return kind.from_config({**config, **(changes or {})})


def image_shape(folder: Path) -> tuple[int, int, int]:
    """(c, h, w) of the pictures of a run, by the config of its network.

    Raises:
        ValueError: the file is missing, or does not say it.
    """
    of_unet, _ = _part_folders(folder)
    config = _read_json(of_unet / "config.json")
    size, c = config.get("sample_size"), config.get("in_channels")
    sides = size if isinstance(size, list) else [size, size]
    shape = [n for n in (c, *sides) if type(n) is int and n > 0]
    if len(shape) != 3 or len(sides) != 2:
        raise ValueError(f"{of_unet / 'config.json'} does not say the size of the pictures")
    return shape[0], shape[1], shape[2]


def _part_folders(folder: Path) -> tuple[Path, Path]:
    """Where the network and the scheduler of a pipeline folder lie."""
    check_folder(folder)
    kind = _read_json(folder / "model_index.json").get("_class_name")
    if kind not in PIPELINES:
        raise ValueError(f"{folder} is a {kind}; expected one of {', '.join(PIPELINES)}")
    nested = (folder / "unet").is_dir() or not (folder / "config.json").exists()
    return (folder / "unet", folder / "scheduler") if nested else (folder, folder)


@contextmanager
def _refused_as_value_error(folder: Path) -> Iterator[None]:
    """Turn what a library raises for a bad file into one line, and keep its log out of sight."""
    logger = logging.getLogger("diffusers")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    except Exception as error:  # Diffusers raises many kinds for a damaged file
        detail = " ".join(str(error).split())[:300]
        raise ValueError(f"{folder} cannot be used: {detail}") from None
    finally:
        logger.setLevel(level)


def read_tensors(path: Path) -> tuple[dict[str, "torch.Tensor"], dict[str, str]]:
    """The tensors of a safetensors file, and the text entries that go with them.

    Raises:
        ValueError: the file cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read ({error}); it may be truncated") from None


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(f"{path} is missing; is this a run folder?") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read ({error})") from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no JSON ({error}); it may be truncated") from None
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply; it is none of ours") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(content).__name__}")
    return content
