"""What a scheduler refuses, and says so before a wrong picture does.

Nothing here reads a value that lies on an accelerator: that would wait for it, at every step.
"""

import math
import operator
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, get_args

import torch

from scratch.compat.config import Config
from scratch.noise import Generators
from scratch.prediction import PredictionType
from scratch.schedule import BetaSchedule
from scratch.timesteps import Spacing

INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
MOST_TIMESTEPS = 10_000_000  # more are a slip, and take gigabytes of tables
SWITCHES = ("clip_sample", "thresholding", "rescale_betas_zero_snr", "set_alpha_to_one")


def check_arguments(config: Config) -> None:
    """Refuse arguments that are out of range or contradict each other.

    Raises:
        ValueError: with the argument's name, what came and what was expected.
    """
    check_choice("beta_schedule", config.beta_schedule, BetaSchedule)
    check_choice("prediction_type", config.prediction_type, PredictionType)
    check_choice("timestep_spacing", config.timestep_spacing, Spacing)
    T = config.num_train_timesteps
    require(
        whole_number(T) is not None and T >= 1,
        f"num_train_timesteps must be a whole number of at least 1, got {T!r}",
    )
    require(T <= MOST_TIMESTEPS, f"num_train_timesteps must be at most {MOST_TIMESTEPS}, got {T}")
    require(
        whole_number(config.steps_offset) is not None,
        f"steps_offset must be a whole number, got {config.steps_offset!r}",
    )
    for name in SWITCHES:
        switch = config.get(name, False)
        require(isinstance(switch, bool), f"{name} must be True or False, got {switch!r}")
    _check_clipping(config)
    if config.rescale_betas_zero_snr:
        require(T >= 2, "rescale_betas_zero_snr=True needs num_train_timesteps of at least 2")
        require(
            config.prediction_type != "epsilon",
            "rescale_betas_zero_snr=True leaves no signal at the last timestep, and x_0 cannot be "
            "found from eps there; use prediction_type='v_prediction' or 'sample'",
        )
    if config.trained_betas is not None:
        _check_trained_betas(config.trained_betas, T)
    elif config.beta_schedule != "squaredcos_cap_v2":
        _check_beta_ends(config.beta_start, config.beta_end)


def _check_clipping(config: Config) -> None:
    for name in ("clip_sample_range", "sample_max_value", "dynamic_thresholding_ratio"):
        value = config[name]
        require(is_number(value), f"{name} must be a number, got {value!r}")
        fits = value <= 1e30 or math.isinf(value)  # else float32 may not hold it
        require(fits, f"{name} must be at most 1e30, got {value!r}")
    require(
        config.clip_sample_range > 0,
        f"clip_sample_range must be above 0, got {config.clip_sample_range}",
    )
    require(
        config.sample_max_value >= 1,
        f"sample_max_value must be at least 1, got {config.sample_max_value}",
    )
    ratio = config.dynamic_thresholding_ratio
    require(0 <= ratio <= 1, f"dynamic_thresholding_ratio must lie in [0, 1], got {ratio}")


def check_choice(name: str, value: Any, choices: Any) -> None:
    """Refuse a `value` that is not in the `Literal` called `choices`."""
    known = get_args(choices)
    fits = isinstance(value, str) and value in known
    require(fits, f"{name} must be one of {', '.join(known)}, got {value!r}")


def _check_beta_ends(start: Any, end: Any) -> None:
    require(
        is_number(start) and is_number(end) and 0 < start < 1 and 0 < end < 1,
        f"beta_start and beta_end must lie between 0 and 1, got {start!r} and {end!r}",
    )


def _check_trained_betas(betas: Any, T: int) -> None:
    count = len(betas) if isinstance(betas, tuple) else 0
    require(
        count == T, f"trained_betas must hold num_train_timesteps={T} betas in a row, got {count}"
    )
    for t, beta in enumerate(betas):
        require(
            is_number(beta) and 0 < beta < 1,
            f"every beta must lie between 0 and 1, got {beta!r} at t={t}",
        )


def check_signal_is_left(betas: torch.Tensor) -> None:
    """Refuse betas after which float64 finds nothing of the image."""
    require(
        float((1 - betas).prod()) > 0,
        "alpha_bar underflows to 0 before the last timestep: the betas are too large for "
        f"num_train_timesteps={len(betas)}",
    )


def check_step_count(num_inference_steps: Any, T: int) -> int:
    """`num_inference_steps` as an int in 1..T."""
    n, given = whole_number(num_inference_steps), _shown(num_inference_steps)
    if n is None or not 1 <= n <= T:
        raise ValueError(
            f"num_inference_steps must be a whole number in 1..{T}, since the scheduler has "
            f"{T} timesteps, got {given}; say num_inference_steps={T} or fewer"
        )
    return n


def check_visited(timesteps: Sequence[int] | torch.Tensor, T: int) -> list[int]:
    """`timesteps` as a list that falls within 0..T-1."""
    try:
        visited = [] if isinstance(timesteps, dict) else [whole_number(t) for t in timesteps]
    except TypeError:  # a number alone
        visited = []
    whole = [t for t in visited if t is not None]
    falling = whole == visited and all(a > b for a, b in pairwise(whole))
    if not whole or not falling or whole[0] >= T or whole[-1] < 0:
        raise ValueError(
            f"timesteps must be whole numbers that fall from at most {T - 1} to at least 0, "
            f"got {_shown(timesteps)}"
        )
    return whole


def check_one_timestep(timestep: Any) -> int:
    """`timestep` as an int."""
    count = timestep.numel() if isinstance(timestep, torch.Tensor) else 1
    if count != 1:
        raise ValueError(
            f"step takes one timestep for the whole batch, got {count}; "
            "images at different timesteps need a step each"
        )
    t = whole_number(timestep)
    if t is None:
        raise ValueError(f"timestep must be a whole number, got {_shown(timestep)}")
    return t


def check_chosen(timestep: int, chosen: Mapping[int, Any]) -> None:
    """Refuse a timestep that the chain does not visit."""
    require(
        timestep in chosen,
        f"timestep {timestep} is not one of the {len(chosen)} that set_timesteps chose; "
        "call step with the values of scheduler.timesteps",
    )


def check_timesteps(timesteps: Any, batch: int, T: int) -> torch.Tensor:
    """`timesteps` as a tensor of integers in 0..T-1, one or one for each image."""
    try:
        t = torch.as_tensor(timesteps)
    except (TypeError, ValueError, RuntimeError):
        what = type(timesteps).__name__
        raise ValueError(f"timesteps must be a tensor of integers, got {what}") from None
    require(t.dtype in INTEGERS, f"timesteps must be integers, got {t.dtype}")
    require(
        t.shape in ((), (1,), (batch,), (batch, 1)),
        f"timesteps must be one, or one for each of {batch} images, got shape {tuple(t.shape)}",
    )
    if t.device.type == "cpu" and t.numel():
        lowest, highest = (int(bound) for bound in t.aminmax())
        if not 0 <= lowest <= highest < T:
            raise ValueError(f"timesteps must lie in 0..{T - 1}, got {t.tolist()}")
    return t


def check_images(name: str, x_0: torch.Tensor, noise: torch.Tensor) -> None:
    """Refuse images, the argument `name`, that are no floats, and noise that is not like them."""
    check_floats(name, x_0)
    check_floats("noise", noise)
    check_same_shape("noise", noise, x_0)
    require(
        noise.dtype == x_0.dtype, f"noise is {noise.dtype}, expected {x_0.dtype}, as the images"
    )


def check_step(model_output: torch.Tensor, sample: torch.Tensor) -> None:
    """Refuse a model output or a sample that is no floats, or two of different shapes."""
    check_floats("sample", sample)
    check_floats("model_output", model_output)
    check_same_shape("model_output", model_output, sample)


def check_step_noise(
    eta: float, generator: Generators, variance_noise: torch.Tensor | None, sample: torch.Tensor
) -> None:
    """Refuse an `eta` outside [0, 1], and noise that is given twice or is not like the sample."""
    in_range = is_number(eta) and 0 <= eta <= 1
    require(in_range, f"eta must lie in [0, 1] (0 draws no noise, 1 is DDPM), got {eta!r}")
    if variance_noise is not None:
        require(generator is None, "give either generator or variance_noise, and not both")
        check_floats("variance_noise", variance_noise)
        check_same_shape("variance_noise", variance_noise, sample)


def check_floats(name: str, x: Any) -> None:
    """Refuse what is no tensor of floats with a dimension for the batch."""
    tensor = isinstance(x, torch.Tensor)
    got = f"{tuple(x.shape)} {x.dtype}" if tensor else type(x).__name__
    require(
        tensor and x.is_floating_point() and x.ndim > 0,
        f"{name} must be a tensor (b, c, h, w) of floats, got {got}; bring pixels to [-1, 1] first",
    )


def check_same_shape(name: str, x: torch.Tensor, other: torch.Tensor) -> None:
    """Refuse two tensors that would be broadcast together."""
    require(
        x.shape == other.shape, f"{name} has shape {tuple(x.shape)}, expected {tuple(other.shape)}"
    )


def whole_number(value: Any) -> int | None:
    """`value` as an int if it is a whole number, NumPy's and torch's too; None if it is not."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def is_number(value: Any) -> bool:
    """Whether this is a number, and neither NaN nor a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _shown(value: Any) -> str:
    """What came, in one line, also of a tensor."""
    return " ".join(repr(value).split())[:200]


def require(fine: bool, message: str) -> None:
    """Raise a ValueError with `message`, in one line, unless `fine`."""
    if not fine:
        raise ValueError(" ".join(message.split()))
