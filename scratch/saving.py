"""Configs and folders, in the layout that Diffusers reads and writes.

A scheduler is a `scheduler_config.json`; a model is a `config.json` beside a
`diffusion_pytorch_model.safetensors`; a pipeline is a folder with a `model_index.json` and one
subfolder for each part. Pickled weights (`.bin`, `.ckpt`, `.pt`) are never opened: a pickle runs
whatever code it holds.
"""

import inspect
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

import torch

FORMAT_VERSION = "0.42.1"  # the Diffusers version whose layout and keys are written
MODEL_FILE = "diffusion_pytorch_model.safetensors"
MODEL_CONFIG = "config.json"
SCHEDULER_CONFIG = "scheduler_config.json"
PIPELINE_INDEX = "model_index.json"

# Diffusers' arguments that are not built here, with the only value that is accepted for them.
NOT_BUILT: dict[str, dict[str, Any]] = {
    "UNet2DModel": {
        "time_embedding_type": "positional",
        "time_embedding_dim": None,
        "downsample_type": "conv",
        "upsample_type": "conv",
        "act_fn": "silu",
        "class_embed_type": None,
        "num_train_timesteps": None,
    },
}
# Arguments of one sampler that mean nothing to the other: a config may move between the two.
SCHEDULER_ONLY = {
    "DDPMScheduler": {"set_alpha_to_one"},
    "DDIMScheduler": {"variance_type"},
}
# What attention's weights were called in checkpoints from 2022.
OLD_ATTENTION_KEYS = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}

Built = TypeVar("Built")


class Config(dict):
    """A read-only mapping with attribute access: every constructor argument, and `_class_name`.

    It is a dict, so that Diffusers' `from_config` takes it as it is.

    >>> config = Config(num_train_timesteps=500)
    >>> config.num_train_timesteps == config["num_train_timesteps"] == 500
    True
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"config has no entry {name!r}") from None

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(
            "a config is read-only; make a new object with from_config(config, name=value)"
        )

    __setattr__ = __setitem__ = __delattr__ = __delitem__ = _refuse
    pop = popitem = clear = update = setdefault = __ior__ = _refuse

    def __reduce__(self) -> tuple[type, tuple[dict]]:
        return type(self), (dict(self),)


def config_from_arguments(cls: type, arguments: Mapping[str, Any]) -> Config:
    """The config of an object of class `cls` from its constructor's `locals()`."""
    values = {name: arguments[name] for name in _parameters(cls)}
    return Config(values, _class_name=cls.__name__, _diffusers_version=FORMAT_VERSION)


def build_from_config(
    cls: Callable[..., Built], config: Mapping[str, Any], changes: Mapping[str, Any]
) -> Built:
    """Call `cls` with the entries of `config`, `changes` winning.

    Entries that start with an underscore are Diffusers' own notes. An argument that Diffusers has
    and this project does not build is accepted at its default.

    Raises:
        ValueError: an entry is unknown, or asks for something that is not built here.
    """
    if not isinstance(config, Mapping):
        raise ValueError(f"from_config takes a config (a mapping), got {type(config).__name__}")
    name = cls.__name__
    built, skipped = _parameters(cls), SCHEDULER_ONLY.get(name, set())
    defaults = NOT_BUILT.get(name, {})
    arguments = {}
    for key, value in {**config, **changes}.items():
        if key in built:
            arguments[key] = value
        elif key in defaults and value != defaults[key]:
            raise ValueError(
                f"{name} is built here only with {key}={defaults[key]!r}, got {key}={value!r}; "
                f"take {name} from Diffusers for that"
            )
        elif not (key.startswith("_") or key in defaults or key in skipped):
            raise ValueError(f"{name} has no argument {key!r} (value {value!r}); remove it")
    return cls(**arguments)


def _parameters(cls: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(cls).parameters)


def save_scheduler(config: Config, folder: str | os.PathLike) -> None:
    """Write `scheduler_config.json` into `folder`."""
    write_json(Path(folder) / SCHEDULER_CONFIG, config)


def load_scheduler(
    cls: Callable[..., Built], name_or_path: str | os.PathLike, subfolder: str | None
) -> Built:
    """Read a scheduler of class `cls` from a folder or a Hub repository."""
    folder = _resolve(name_or_path, subfolder)
    return build_from_config(cls, read_json(folder / SCHEDULER_CONFIG), {})


def save_model(model: torch.nn.Module, folder: str | os.PathLike) -> None:
    """Write `config.json` and the weights into `folder`."""
    from safetensors.torch import save_file

    folder = Path(folder)
    weights = {key: value.contiguous() for key, value in model.state_dict().items()}
    write_json(folder / MODEL_CONFIG, cast(Config, model.config))
    with_temporary(
        folder / MODEL_FILE, lambda path: save_file(weights, path, metadata={"format": "pt"})
    )


def load_model(
    cls: Callable[..., Built], name_or_path: str | os.PathLike, subfolder: str | None
) -> Built:
    """Read a model of class `cls`, in eval mode, with its weights, strictly, on the CPU."""
    folder = _resolve(name_or_path, subfolder)
    model = build_from_config(cls, read_json(folder / MODEL_CONFIG), {})
    weights = read_weights(folder / MODEL_FILE)
    try:
        model.load_state_dict({_new_key(key): value for key, value in weights.items()})  # type: ignore[attr-defined]
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:300]
        raise ValueError(
            f"{folder / MODEL_FILE} does not hold the model that {MODEL_CONFIG} describes: {detail}"
        ) from None
    return model.eval()  # type: ignore[attr-defined]


def _new_key(key: str) -> str:
    """`...attentions.0.query.weight` -> `...attentions.0.to_q.weight`."""
    *path, layer, kind = key.split(".")
    if path[-2:-1] == ["attentions"]:
        layer = OLD_ATTENTION_KEYS.get(layer, layer)
    return ".".join([*path, layer, kind])


def save_pipeline(pipeline: Any, folder: str | os.PathLike) -> None:
    """Write both parts, then the `model_index.json` that makes the folder a Diffusers pipeline."""
    folder = Path(folder)
    pipeline.unet.save_pretrained(folder / "unet")
    pipeline.scheduler.save_pretrained(folder / "scheduler")
    parts = {part: type(getattr(pipeline, part)).__name__ for part in ("scheduler", "unet")}
    index = {"_class_name": type(pipeline).__name__, "_diffusers_version": FORMAT_VERSION}
    write_json(
        folder / PIPELINE_INDEX, {**index, **{part: ["diffusers", parts[part]] for part in parts}}
    )


def pipeline_parts(name_or_path: str | os.PathLike) -> tuple[Path, Path, str]:
    """Where a pipeline folder keeps its UNet and its scheduler, and the scheduler's class.

    Checkpoints from 2022 have no subfolders: everything lies at the root.

    Returns:
        The UNet's folder, the scheduler's folder, the name of the scheduler's class.
    """
    folder = _resolve(name_or_path, None)
    nested = (folder / "unet").is_dir()
    unet, scheduler = (folder / "unet", folder / "scheduler") if nested else (folder, folder)
    kind = read_json(scheduler / SCHEDULER_CONFIG).get("_class_name", "DDPMScheduler")
    return unet, scheduler, kind


def _resolve(name_or_path: str | os.PathLike, subfolder: str | None) -> Path:
    """A local folder, or the Hub repository `owner/name` downloaded into its cache."""
    folder = Path(name_or_path)
    if not folder.is_dir():
        if str(name_or_path).count("/") != 1 or folder.is_absolute():
            raise ValueError(f"no folder {str(name_or_path)!r} here; check the path")
        from huggingface_hub import snapshot_download

        try:
            folder = Path(
                snapshot_download(str(name_or_path), allow_patterns=["*.json", "*.safetensors"])
            )
        except Exception as error:  # the Hub's client raises a dozen kinds, by version
            raise ValueError(
                f"{str(name_or_path)!r} is neither a folder here nor a Hub repository that could "
                f"be read ({type(error).__name__}); check the name and the network"
            ) from None
    return folder / subfolder if subfolder else folder


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
        pickled = sorted(
            p.name for p in path.parent.glob("*") if p.suffix in (".bin", ".ckpt", ".pt")
        )
        advice = f"; {pickled[0]} is a pickle and is not read: convert it" if pickled else ""
        raise ValueError(f"{path} is missing{advice}")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} cannot be read as safetensors ({error}); it may be truncated"
        ) from None


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as JSON, whole or not at all; the folder is made."""
    text = json.dumps(content, indent=2, sort_keys=True) + "\n"
    with_temporary(path, lambda temporary: Path(temporary).write_text(text, encoding="utf-8"))


def with_temporary(path: Path, write: Callable[[str], Any]) -> None:
    """Let `write` fill a file beside `path`, then put it in place in one move."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(str(temporary))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
