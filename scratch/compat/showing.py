"""One line of a scheduler or a pipeline, as a notebook shows it."""

import inspect
from collections.abc import Sequence
from typing import Any


def scheduler_line(scheduler: Any, visited: Sequence[int]) -> str:
    """Its class, T, what differs from the defaults, and the chain if it is a shorter one.

    Args:
        scheduler: a DDPMScheduler or DDIMScheduler.
        visited: its timesteps, falling.
    """
    config, parameters = scheduler.config, inspect.signature(type(scheduler)).parameters
    changed = [name for name in parameters if config.get(name) != parameters[name].default]
    names = list(dict.fromkeys(["num_train_timesteps", *changed]))
    arguments = ", ".join(f"{name}={_short(config[name])}" for name in names)
    line = f"{type(scheduler).__name__}({arguments})"
    if len(visited) == config.num_train_timesteps:
        return line
    return f"{line}, {len(visited)} timesteps from {visited[0]} to {visited[-1]}"


def _short(value: Any) -> str:
    if isinstance(value, tuple):
        return f"<{len(value)} from {value[0]:.4g} to {value[-1]:.4g}>"
    return repr(value)


def pipeline_line(pipeline: Any) -> str:
    """Its class, the network by its pictures, weights, dtype and device, and its scheduler.

    Args:
        pipeline: a DDPMPipeline, of parts of either library.
    """
    unet, config = pipeline.unet, pipeline.unet.config
    size = config.sample_size
    h, w = size if isinstance(size, list | tuple) else (size, size)
    weights = sum(parameter.numel() for parameter in unet.parameters())
    network = f"{type(unet).__name__} of {weights:,} weights for {config.in_channels}x{h}x{w}"
    where = f"{str(unet.dtype).removeprefix('torch.')} on {unet.device}"
    scheduler = repr(pipeline.scheduler).split("\n")[0].removesuffix(" {")  # Diffusers' has many
    return f"{type(pipeline).__name__}({network}, {where}; {scheduler})"
