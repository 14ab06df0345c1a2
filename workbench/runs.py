"""A run folder: a Diffusers pipeline folder, with what training needs beside it.

    NAME/
        model_index.json   unet/   scheduler/       what one samples with
        training/          config.json, state.safetensors, metrics.jsonl
        samples/           grids drawn while training

`unet/` holds the averaged weights if there are any. `diffusers.DDPMPipeline.from_pretrained` reads
the folder whichever backend wrote it; `workbench.checkpoints` writes it.
"""

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import backends
from workbench.config import RunConfig

if TYPE_CHECKING:
    import torch

CONFIG = Path("training", "config.json")
STATE = Path("training", "state.safetensors")
METRICS = Path("training", "metrics.jsonl")
PARTS = ("model_index.json", "unet", "scheduler", "samples", "training")
WEIGHTS = "diffusion_pytorch_model.safetensors"
INDEX = {
    "_class_name": "DDPMPipeline",
    "_diffusers_version": "0.42.1",
    "scheduler": ["diffusers", "DDPMScheduler"],
    "unet": ["diffusers", "UNet2DModel"],
}
OWN = "OwnUNet"  # the class that a network of one's own is said to be, which no library has
PIPELINES = ("DDPMPipeline", "DDIMPipeline")  # a UNet and a scheduler, and nothing else


def prepare(folder: Path, force: bool) -> None:
    """Make sure that a new run can be written to `folder`, which need not exist.

    With `force`, the run in it is removed; a file that no run has is left alone.

    Raises:
        ValueError: the folder holds something, and it is not a run that may be replaced.
    """
    if folder.is_file():
        raise ValueError(f"{folder} is a file; give the name of a folder for the run")
    if not folder.exists() or not any(folder.iterdir()):
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
    for name in PARTS:
        part = folder / name
        if part.is_dir() and not part.is_symlink():
            shutil.rmtree(part)
        else:
            part.unlink(missing_ok=True)


def check_folder(folder: Path) -> None:
    """Refuse a folder that is not there.

    Raises:
        ValueError: it is missing, or a file.
    """
    if not folder.is_dir():
        raise ValueError(f"no run {str(folder)!r} here; `ddpm train` makes one")


def load_config(folder: Path) -> RunConfig:
    """The config of a run.

    Raises:
        ValueError: the folder is missing or no run, or the file cannot be read.
    """
    check_folder(folder)
    content = _read_json(folder / CONFIG)
    try:
        return RunConfig.from_dict(content)
    except ValueError as error:
        raise ValueError(f"{folder / CONFIG}: {error}") from None


def load_metrics(folder: Path) -> list[dict[str, float]]:
    """The rows of `metrics.jsonl`: `step, loss, learning_rate`, or `epoch, mean_loss`.

    Raises:
        ValueError: the file is missing, truncated or foreign.
    """
    check_folder(folder)
    path = folder / METRICS
    kinds = ({"step", "loss", "learning_rate"}, {"epoch", "mean_loss"})
    rows = []
    for number, line in enumerate(_read_text(path).splitlines(), start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            row = None
        if not isinstance(row, dict) or row.keys() not in kinds:
            raise ValueError(f"line {number} of {path} is damaged: {line[:60]!r}")
        rows.append(row)
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
    return unet.eval(), load_scheduler(folder, backend, scheduler, changes)


def load_scheduler(
    folder: Path,
    backend: str,
    scheduler: str = "DDPMScheduler",
    changes: Mapping[str, Any] | None = None,
) -> Any:
    """The scheduler of a pipeline folder; arguments and errors as `load_parts`."""
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
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(content).__name__}")
    return content
