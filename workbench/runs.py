"""A run folder: a Diffusers pipeline folder, with what training needs beside it.

    NAME/
        model_index.json   unet/   scheduler/       what one samples with
        training/          config.json, state.safetensors, metrics.jsonl
        samples/           grids drawn while training

`unet/` holds the averaged weights if there are any; `training/state.safetensors` the raw ones, the
averaged ones, the optimizer and the step: all that resuming needs, in one file, so that it is whole
or not there. `diffusers.DDPMPipeline.from_pretrained` reads the folder whichever backend wrote it.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import backends
from workbench.config import RunConfig

if TYPE_CHECKING:
    from workbench.trainer import TrainingState

CONFIG = Path("training", "config.json")
STATE = Path("training", "state.safetensors")
METRICS = Path("training", "metrics.jsonl")
INDEX = {
    "_class_name": "DDPMPipeline",
    "_diffusers_version": "0.42.1",
    "scheduler": ["diffusers", "DDPMScheduler"],
    "unet": ["diffusers", "UNet2DModel"],
}


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a file beside `path`, then put it in place in one move; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")  # keeps the suffix
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as JSON, whole or not at all."""
    text = json.dumps(content, indent=2) + "\n"
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def prepare(folder: Path, force: bool) -> None:
    """Make sure that a new run can be written to `folder`.

    Raises:
        ValueError: the folder holds something, and it is not a run that may be replaced.
    """
    if folder.is_file():
        raise ValueError(f"{folder} is a file; give the name of a folder for the run")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not (folder / CONFIG).exists():
        raise ValueError(f"{folder} exists and is no run; nothing was written: choose another name")
    if not force:
        raise ValueError(f"{folder} holds a run; go on with --resume, or replace it with --force")
    shutil.rmtree(folder)


def save_checkpoint(
    folder: Path,
    config: RunConfig,
    state: "TrainingState",
    scheduler: Any,
    metrics: list[dict[str, float]],
) -> None:
    """Write everything that sampling and resuming need; each file whole."""
    from safetensors.torch import save_file

    from workbench.trainer import sampling_weights

    write_json(folder / CONFIG, config.to_dict())
    lines = "".join(json.dumps(row) + "\n" for row in metrics)
    write_whole(folder / METRICS, lambda path: path.write_text(lines, encoding="utf-8"))
    tensors = {name: t.detach().contiguous() for name, t in _tensors(state).items()}
    metadata = {"step": str(state.step)}
    if state.ema is not None:
        metadata["ema_updates"] = str(state.ema.updates)
    write_whole(folder / STATE, lambda path: save_file(tensors, path, metadata))
    with sampling_weights(state) as unet:
        _save_part(folder / "unet", unet)
    _save_part(folder / "scheduler", scheduler)
    write_json(folder / "model_index.json", INDEX)


def _save_part(folder: Path, part: Any) -> None:
    """`part.save_pretrained`, each of its files put in place in one move."""
    temporary = folder.with_name(f".{os.getpid()}.{folder.name}")
    try:
        part.save_pretrained(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for file in temporary.iterdir():
            os.replace(file, folder / file.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _tensors(state: "TrainingState") -> dict[str, Any]:
    """Every tensor of a training state by a flat name; loading copies into the same tensors."""
    tensors = {f"weights.{name}": p for name, p in state.unet.named_parameters()}
    if state.ema is not None:
        tensors |= {f"ema.{name}": average for name, average in state.ema.average.items()}
    for index, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
    return tensors


def load_config(folder: Path) -> RunConfig:
    """The config of a run.

    Raises:
        ValueError: the folder is missing or no run, or the file cannot be read.
    """
    if not folder.is_dir():
        raise ValueError(f"no run {str(folder)!r} here; `ddpm train` makes one")
    return RunConfig.from_dict(_read_json(folder / CONFIG))


def load_metrics(folder: Path) -> list[dict[str, float]]:
    """The rows of `metrics.jsonl`.

    Raises:
        ValueError: the file is missing or truncated.
    """
    text = _read_text(folder / METRICS)
    try:
        return [json.loads(line) for line in text.splitlines()]
    except ValueError as error:
        raise ValueError(f"{folder / METRICS} is damaged ({error})") from None


def load_checkpoint(folder: Path, state: "TrainingState") -> list[dict[str, float]]:
    """Put a checkpoint into `state`, a fresh state of the same config; returns the metrics.

    Raises:
        ValueError: the checkpoint is missing, truncated, or of another model.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    path = folder / STATE
    if not path.exists():
        raise ValueError(f"{folder} holds no checkpoint to resume from; train it anew")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read ({error}); it may be truncated") from None
    own = {name for name in _tensors(state) if not name.startswith("optimizer.")}
    if own != {name for name in tensors if not name.startswith("optimizer.")}:
        raise ValueError(f"{path} is the checkpoint of another model than {folder / CONFIG} says")
    with torch.no_grad():
        for name, target in _tensors(state).items():
            target.copy_(tensors[name])
    moments: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, moment = name.split(".")
            moments.setdefault(int(index), {})[moment] = value
    state.optimizer.load_state_dict({**state.optimizer.state_dict(), "state": moments})
    state.step = int(metadata["step"])
    if state.ema is not None:
        state.ema.updates = int(metadata["ema_updates"])
    return load_metrics(folder)


def load_parts(
    folder: Path,
    backend: str,
    scheduler: str = "DDPMScheduler",
    changes: Mapping[str, Any] | None = None,
) -> tuple[Any, Any]:
    """The UNet and a scheduler of a pipeline folder, by either backend, whoever trained it.

    Args:
        folder: a run, or any folder that `DDPMPipeline.save_pretrained` wrote.
        backend: `scratch` or `diffusers`.
        scheduler: the class to sample with; it takes the schedule from the folder.
        changes: entries of the scheduler's config to change.

    Raises:
        ValueError: a file is missing, truncated or foreign.
    """
    if not folder.is_dir():
        raise ValueError(f"no run {str(folder)!r} here; `ddpm train` makes one")
    _read_json(folder / "model_index.json")
    config = _read_json(folder / "scheduler" / "scheduler_config.json")
    for name in ("config.json", "diffusion_pytorch_model.safetensors"):
        if not (folder / "unet" / name).exists():
            raise ValueError(f"{folder / 'unet' / name} is missing; the run is not whole")
    package = backends.load(backend)
    try:
        unet = package.UNet2DModel.from_pretrained(folder / "unet")
    except Exception as error:  # Diffusers raises many kinds for a damaged file
        detail = " ".join(str(error).split())[:200]
        raise ValueError(f"{folder / 'unet'} cannot be loaded: {detail}") from None
    return unet.eval(), getattr(package, scheduler).from_config({**config, **(changes or {})})


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
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} must hold a JSON object, got {type(content).__name__}")
    return dict(content)
