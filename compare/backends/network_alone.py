"""What any network of a DDPM must obey, of one whose weights are all known by name."""

from collections.abc import Iterator, Mapping

from torch import nn

from compare.candidate.denoiser.denoiser import Denoiser
from compare.measure.check import Check, yes_no
from compare.measure.tolerances import TOLERANCES
from compare.stages.network.batch import mates, passes, still
from compare.stages.network.look import ROUNDING
from compare.stages.network.paths import gradients
from compare.stages.network.time import change, distinct, steps

VISIBLE = 1e-3  # of the largest entry: a hundred times the rounding of two such networks
KEY_BIASES = ("to_k.bias", "key.bias")  # their gradient is 0: softmax forgets what they add
SYMPTOMS = {
    "eval": "94",
    "batch": "96",
    "norms": "97-eps",
    "distinct": "89",
    "time": "90",
}  # mistakes that they show


def judge_alone(prefix: str, network: nn.Module, arguments: Mapping) -> Iterator[Check]:
    """The invariants of one network, all of whose weights learn, and which has no BatchNorm.

    Args:
        prefix: of their names.
        network: its weights away from zero; changed in mode and gradients only.
        arguments: `sample` (b, c, h, w), `timestep` (b,) and perhaps `class_labels` (b,); b > 1.
    """
    more = {name: v for name, v in arguments.items() if name not in ("sample", "timestep")}
    one = Denoiser(network.eval(), "sample", "timestep", tuple(arguments["sample"].shape), more)
    yield _time(f"unet/{prefix}time", change(one))
    yield distinct(f"unet/{prefix}distinct", steps(one, ROUNDING))
    yield still(f"unet/{prefix}eval", passes(one))
    yield _batch(f"unet/{prefix}batch", mates(one, training=True))
    yield _learns(f"unet/{prefix}learns", one)


def _time(id: str, change: float) -> Check:
    """The prediction depends on t."""
    return yes_no(
        id,
        change > VISIBLE,
        "t changes the prediction",
        "the same prediction for t = 0 and t = 999: the network does not see t",
        measured=change,
        reason=f"must be more than {VISIBLE:g} of the largest entry, far above rounding",
    )


def _batch(id: str, change: float) -> Check:
    """While training, too, a prediction depends on its own image alone."""
    return yes_no(
        id,
        change <= ROUNDING,
        "a prediction depends on its own image alone",
        "a prediction changes with the other images of its batch",
        measured=change,
        allowed=ROUNDING,
        reason=TOLERANCES["unet"].reason,
    )


def _learns(id: str, one: Denoiser) -> Check:
    """Every weight learns."""
    found = gradients(one)
    without = (*found.cut, *found.idle, *found.unused, *found.frozen)
    without = tuple(name for name in without if not name.endswith(KEY_BIASES))
    return yes_no(
        id,
        not without,
        "every weight gets a gradient",
        f"without a gradient: {', '.join(without[:4])}" + (", ..." if len(without) > 4 else ""),
        measured=float(len(without)),
        allowed=0.0,
    )
