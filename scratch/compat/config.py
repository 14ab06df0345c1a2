"""The config of a part: its constructor's arguments, in a form that Diffusers understands too."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

FORMAT_VERSION = "0.42.1"  # the Diffusers version whose layout and keys are written

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
# What schedulers took in 2022 and take no more; checkpoints of that time still carry it.
RETIRED = {"timestep_values": None, "tensor_format": "pt", "predict_epsilon": True}
NOT_BUILT["DDPMScheduler"] = NOT_BUILT["DDIMScheduler"] = RETIRED
# Arguments of one sampler that mean nothing to the other: a config may move between the two.
OTHER_SAMPLERS = {"DDPMScheduler": {"set_alpha_to_one"}, "DDIMScheduler": {"variance_type"}}

Built = TypeVar("Built")


class Config(dict):
    """A read-only mapping with attribute access: every constructor argument, and `_class_name`.

    It is a dict, so that Diffusers' `from_config` takes it as it is; to change an entry, make a
    new object with `from_config(config, name=value)`.

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
        return type(self), (dict(self),)  # copying and pickling build it anew


def config_from_arguments(cls: type, arguments: Mapping[str, Any]) -> Config:
    """The config of an object of class `cls` from its constructor's `locals()`.

    Arrays, tensors and NumPy numbers become plain Python, sequences tuples: nothing in a config
    can be changed later, and JSON can hold all of it.
    """
    values = {name: _plain(arguments[name]) for name in _parameters(cls)}
    return Config(values, _class_name=cls.__name__, _diffusers_version=FORMAT_VERSION)


def _plain(value: Any) -> Any:
    value = value.tolist() if hasattr(value, "tolist") else value
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


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
    name, built = cls.__name__, _parameters(cls)
    only, ignored = NOT_BUILT.get(name, {}), OTHER_SAMPLERS.get(name, set())
    arguments = {}
    for key, value in {**config, **changes}.items():
        if key in built:
            arguments[key] = value
        elif key in only and value != only[key]:
            raise ValueError(
                f"{name} is built here only with {key}={only[key]!r}, got {key}={value!r}; "
                f"take {name} from Diffusers for that"
            )
        elif not (key.startswith("_") or key in only or key in ignored):
            raise ValueError(f"{name} has no argument {key!r} (value {value!r}); remove it")
    return cls(**arguments)


def _parameters(cls: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(cls).parameters)
