"""Folders, in the layout that Diffusers reads and writes.

A scheduler is a `scheduler_config.json`; a model is a `config.json` beside a
`diffusion_pytorch_model.safetensors`; a pipeline is a folder with a `model_index.json` and one
subfolder for each part. Pickled weights (`.bin`, `.ckpt`, `.pt`) are never opened: a pickle runs
whatever code it holds.
"""

import json
import os
import tempfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from scratch.compat.config import FORMAT_VERSION, Config, build_from_config

MODEL_FILE = "diffusion_pytorch_model.safetensors"
MODEL_CONFIG = "config.json"
SCHEDULER_CONFIG = "scheduler_config.json"
PIPELINE_INDEX = "model_index.json"
PIPELINES = ("DDPMPipeline", "DDIMPipeline")  # a UNet and a scheduler, and nothing else
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")

# What attention's weights were called in checkpoints from 2022.
OLD_ATTENTION_KEYS = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}

Built = TypeVar("Built")
NameOrPath = str | os.PathLike


def save_scheduler(config: Config, folder: NameOrPath) -> None:
    """Write `scheduler_config.json` into `folder`."""
    save_whole(folder, lambda new: _write_json(new / SCHEDULER_CONFIG, config))


def load_scheduler(
    cls: Callable[..., Built], name_or_path: NameOrPath, subfolder: str | None
) -> Built:
    """Read a scheduler of class `cls` from a folder or a Hub repository."""
    return _build(cls, _resolve(name_or_path, subfolder, weights=False) / SCHEDULER_CONFIG)


def save_model(model: torch.nn.Module, folder: NameOrPath) -> None:
    """Write `config.json` and the weights into `folder`."""
    from safetensors.torch import save_file

    weights = {key: value.contiguous() for key, value in model.state_dict().items()}

    def write(new: Path) -> None:
        _write_json(new / MODEL_CONFIG, model.config)  # type: ignore[arg-type]
        save_file(weights, new / MODEL_FILE, metadata={"format": "pt"})

    save_whole(folder, write)


def load_model(
    cls: Callable[..., Built],
    name_or_path: NameOrPath,
    subfolder: str | None,
    dtype: torch.dtype | None = None,
) -> Built:
    """Read a model of class `cls` with its weights, strictly, on the CPU and in eval mode.

    Args:
        cls: the model's class.
        name_or_path: a folder, or a Hub repository.
        subfolder: of it.
        dtype: a float one for the weights, or None for that of the class.

    Raises:
        ValueError: a file is missing, cannot be read, or holds something else, or the dtype is no
            float.
    """
    if not (dtype is None or (isinstance(dtype, torch.dtype) and dtype.is_floating_point)):
        raise ValueError(
            f"torch_dtype must be a float dtype such as torch.float16, or None, got {dtype!r}"
        )
    folder = _resolve(name_or_path, subfolder)
    model = _build(cls, folder / MODEL_CONFIG)
    assert isinstance(model, torch.nn.Module)
    weights = {_new_key(key): value for key, value in read_weights(folder / MODEL_FILE).items()}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:300]
        raise ValueError(
            f"{folder / MODEL_FILE} does not hold the model that {MODEL_CONFIG} describes: {detail}"
        ) from None
    return model.eval() if dtype is None else model.eval().to(dtype)


def _new_key(key: str) -> str:
    """`...attentions.0.query.weight` -> `...attentions.0.to_q.weight`."""
    parts = key.split(".")
    if parts[-4:-3] == ["attentions"]:
        parts[-2] = OLD_ATTENTION_KEYS.get(parts[-2], parts[-2])
    return ".".join(parts)


def save_pipeline(pipeline: Any, folder: NameOrPath) -> None:
    """Write both parts and the `model_index.json` that makes the folder a Diffusers pipeline."""
    parts = {"scheduler": pipeline.scheduler, "unet": pipeline.unet}
    index: dict[str, Any] = {
        "_class_name": type(pipeline).__name__,
        "_diffusers_version": FORMAT_VERSION,
    }
    index |= {name: ["diffusers", type(part).__name__] for name, part in parts.items()}

    def write(new: Path) -> None:
        for name, part in parts.items():
            part.save_pretrained(new / name)
        _write_json(new / PIPELINE_INDEX, index)

    save_whole(folder, write)


def pipeline_parts(name_or_path: NameOrPath, samplers: Collection[str]) -> tuple[Path, Path, str]:
    """Where a pipeline folder keeps its UNet and its scheduler, and the scheduler's class.

    Checkpoints from 2022 have no subfolders: everything lies at the root.

    Args:
        name_or_path: a folder, or a Hub repository.
        samplers: classes that the scheduler may be of.

    Returns:
        The UNet's folder, the scheduler's folder, the name of the scheduler's class.

    Raises:
        ValueError: there is no such folder, a file of it is missing or cannot be read, or it is
            the folder of another kind of pipeline or has another scheduler.
    """
    folder = _resolve(name_or_path)
    kind = read_json(folder / PIPELINE_INDEX).get("_class_name")
    if kind not in PIPELINES:
        raise ValueError(
            f"{folder} is a {kind}, expected one of {', '.join(PIPELINES)}; load it with Diffusers"
        )
    nested = (folder / "unet").is_dir() or not (folder / MODEL_CONFIG).exists()
    unet, scheduler = (folder / "unet", folder / "scheduler") if nested else (folder, folder)
    sampler = read_json(scheduler / SCHEDULER_CONFIG).get("_class_name", "DDPMScheduler")
    if sampler not in samplers:
        raise ValueError(
            f"{scheduler} holds a {sampler}, expected one of {', '.join(samplers)}; sample it with "
            "Diffusers"
        )
    return unet, scheduler, sampler


def _resolve(name_or_path: NameOrPath, subfolder: str | None = None, weights: bool = True) -> Path:
    """A local folder, or the Hub repository `owner/name` downloaded into its cache."""
    name, folder = os.fspath(name_or_path), Path(name_or_path)
    if not folder.is_dir():
        if name.count("/") != 1 or folder.is_absolute() or folder.parent.is_dir():
            raise ValueError(f"no folder {name!r} here; check the path")
        from huggingface_hub import snapshot_download

        patterns = ["*.json", f"*{MODEL_FILE}"] if weights else ["*.json"]
        try:
            folder = Path(snapshot_download(name, allow_patterns=patterns))
        except Exception as error:  # the Hub's client raises a dozen kinds, by version
            raise ValueError(
                f"{name!r} is neither a folder here nor a Hub repository that could be read "
                f"({type(error).__name__}); check the name and the network"
            ) from None
    return folder / subfolder if subfolder else folder


def _build(cls: Callable[..., Built], path: Path) -> Built:
    """`build_from_config` with the file named in what goes wrong."""
    content = read_json(path)
    try:
        return build_from_config(cls, content, {})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is no config of a {cls.__name__} built here: {error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        ValueError: the file is missing, truncated or not an object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"{path} is missing; is this a folder that save_pretrained wrote?"
        ) from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as JSON ({error}); it may be truncated") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(content).__name__}")
    return content


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, on the CPU.

    Raises:
        ValueError: the file is missing, truncated or of another kind.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.exists():
        pickles = sorted(p.name for p in path.parent.glob("*") if p.suffix in PICKLES)
        advice = f"; {pickles[0]} is a pickle and is never read: convert it" if pickles else ""
        raise ValueError(f"{path} is missing{advice}")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} cannot be read as safetensors ({error}); it may be truncated"
        ) from None


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def save_whole(folder: NameOrPath, write: Callable[[Path], None]) -> None:
    """Let `write` fill a new folder, then move its files into `folder`: all or none.

    Raises:
        ValueError: `folder` is a file.
    """
    folder = Path(folder)
    if folder.is_file():
        raise ValueError(f"{folder} is a file; give the name of a folder")
    # Beside what it becomes, or inside it: moving works within one disk only.
    place = folder if folder.is_dir() else folder.parent
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=place) as temporary:
        new = Path(temporary)
        write(new)
        # Deepest first: `model_index.json`, which makes a folder a pipeline, comes last.
        files = sorted((p for p in new.rglob("*") if p.is_file()), key=lambda p: -len(p.parts))
        for file in files:
            target = folder / file.relative_to(new)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)
