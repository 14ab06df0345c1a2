"""Two U-Nets with the same weights, block by block: which block departs first, and why.

from compare.backends.network import judge_network
print(judge_network(mine, diffusers.UNet2DModel(...)))
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from compare.backends.blocks import WHOLE, Departure, first_departure
from compare.backends.network_alone import judge_alone
from compare.backends.network_diagnosis import explained, unnamed
from compare.backends.network_step import judge_training_step
from compare.backends.stage import BackendStage
from compare.candidate.denoiser.lent import lent
from compare.candidate.denoiser.record import apart, record
from compare.candidate.load import Broken, brief
from compare.measure.check import Check, found, yes_no
from compare.measure.tolerances import TOLERANCES
from compare.stages.network.look import ROUNDING
from compare.verdict.report import Diagnosis, Report

FAINT = 1e-3  # how faint the inputs are that show the eps of a norm

TINY: dict[str, Any] = {
    "sample_size": 8,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
}
QUICK: dict[str, dict[str, Any]] = {
    "defaults": {},
    "paper": {
        "attention_head_dim": None,
        "downsample_padding": 0,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
        "norm_eps": 1e-6,
    },
    "scale-shift": {"resnet_time_scale_shift": "scale_shift", "attention_head_dim": 4},
    "classes-dropout": {"num_class_embeds": 5, "dropout": 0.3, "layers_per_block": 2},
}
FULL: dict[str, dict[str, Any]] = {
    **QUICK,
    "three-levels": {
        "sample_size": 16,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        "block_out_channels": (8, 12, 16),
        "layers_per_block": 2,
    },
    "no-attention": {
        "down_block_types": ("DownBlock2D",) * 2,
        "up_block_types": ("UpBlock2D",) * 2,
        "add_attention": False,
    },
    "attention-everywhere": {
        "down_block_types": ("AttnDownBlock2D",) * 2,
        "up_block_types": ("AttnUpBlock2D",) * 2,
    },
    "grey-centred": {"in_channels": 1, "out_channels": 2, "center_input_sample": True},
    "middle-scaled": {"mid_block_scale_factor": math.sqrt(2), "attn_norm_num_groups": 2},
    "no-middle": {"mid_block_type": None},
    "scale-shift-groups": {"resnet_time_scale_shift": "scale_shift", "attn_norm_num_groups": 2},
}


def checks(level: str, seed: int) -> Iterator[Check]:
    """scratch's network beside Diffusers' with the same weights, for several sets of options.

    Args:
        level: `"quick"` for the sets that real models use, `"full"` for every option.
        seed: of weights and inputs.
    """
    for name, options in (QUICK if level == "quick" else FULL).items():
        prefix = f"{name}/"
        yield from _with_errors(prefix, _of_options(prefix, options, seed))


def _of_options(prefix: str, options: dict[str, Any], seed: int) -> Iterator[Check]:
    import diffusers

    import scratch

    ours = scratch.UNet2DModel(**TINY | options)
    theirs: Any = diffusers.UNet2DModel(**TINY | options)
    arguments = inputs(theirs.config, seed)
    given = give_weights(prefix, ours, theirs, seed)
    yield given
    if not given.passed:
        return
    yield blocks(prefix, ours, theirs, arguments)[0]
    yield from judge_pair(prefix, ours, theirs, arguments)
    if "dropout" in options:
        yield from judge_alone(prefix, ours, arguments)
        yield same_masks(prefix, ours, theirs, arguments)
    yield from judge_training_step(prefix, ours, theirs, arguments)


def judge_network(
    network: nn.Module, reference: nn.Module | None = None, name: str = "network", seed: int = 0
) -> Report:
    """Judges a U-Net: its invariants, and block by block against another with the same weights.

    Weights are chosen for the purpose and given back afterwards: both networks are left as they
    were.

    Args:
        network: has the `state_dict` keys of Diffusers' `UNet2DModel`; called as `network(sample=,
            timestep=)`, with `class_labels=` if it has classes. Without a reference it needs a
            `config`.
        reference: `scratch.UNet2DModel` or Diffusers', with the options that `network` should have.
            Without one, only the invariants are judged.
        name: shown in the report.
        seed: of weights and inputs.

    Returns:
        The report; the first block that departs is in the message of a check, and the mistake that
        explains it is its diagnosis.
    """
    measure: Any = network if reference is None else reference
    with torch.random.fork_rng(devices=[]), torch.no_grad(), lent(network, measure):
        checks, diagnoses = _judged(network, reference, measure.config, seed)
    return Report(name, checks, diagnoses, seed=seed)


def _judged(
    network: nn.Module, reference: nn.Module | None, config: Any, seed: int
) -> tuple[list[Check], list[Diagnosis]]:
    """All checks, and the mistake that explains those which fail."""
    arguments = inputs(config, seed)
    checks: list[Check] = []
    diagnoses: list[Diagnosis] = []

    def judged() -> Iterator[Check]:
        departure = None
        given = give_weights("", network, reference or network, seed)
        yield given
        if not given.passed:
            diagnoses.append(unnamed(given.message))
            return
        if reference is not None:
            check, departure = blocks("", network, reference, arguments)
            yield check
            yield from judge_pair("", network, reference, arguments)
        yield from judge_alone("", network, arguments)
        if reference is not None:
            yield from judge_training_step("", network, reference, arguments)
        failing = [check for check in checks if not check.passed]
        if failing:
            named = explained(failing, network, reference or network, arguments, departure)
            diagnoses.extend(named)

    for check in _with_errors("", judged()):
        checks.append(check)
    return checks, diagnoses


def random_weights(network: nn.Module, seed: int) -> dict[str, Tensor]:
    """Weights that keep activations near 1: N(0, 1 / fan-in), gains near 1, small biases."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, weight in network.state_dict().items():
        if not weight.is_floating_point():
            state[name] = weight
            continue
        noise = torch.randn(weight.shape, generator=generator)
        if weight.ndim > 1:
            state[name] = noise / math.sqrt(weight[0].numel())
        else:
            gain = "norm" in name and name.endswith("weight")
            state[name] = 0.1 * noise + gain
    return state


def inputs(config: Any, seed: int) -> dict[str, Any]:
    """Arguments of `forward` for three images at three levels of noise."""
    generator = torch.Generator().manual_seed(seed + 1)
    size = 4 * 2 ** (len(config.block_out_channels) - 1)
    arguments = {
        "sample": torch.randn(3, config.in_channels, size, size, generator=generator),
        "timestep": torch.tensor([499, 0, 999]),
    }
    if config.num_class_embeds:
        arguments["class_labels"] = torch.arange(3) % config.num_class_embeds
    return arguments


def judge_pair(
    prefix: str, network: nn.Module, reference: nn.Module, arguments: Mapping
) -> Iterator[Check]:
    """Two networks with the same weights: their norms and their dropout.

    Args:
        prefix: of the checks' names.
        network: that is judged; changed in mode only, like `reference`.
        reference: that it is measured by.
        arguments: of both.
    """
    network.eval()
    reference.eval()
    yield _norms(prefix, network, reference, arguments)
    yield _dropout(prefix, network, reference, arguments)


def _with_errors(prefix: str, checks: Iterable[Check]) -> Iterator[Check]:
    """The checks; a network that cannot be run is one too, not a traceback."""
    try:
        yield from checks
    except Exception as error:
        text = str(error) if isinstance(error, Broken) else brief(error)
        yield found(f"unet/{prefix}run", "error", f"cannot be run: {text}")


def give_weights(prefix: str, network: nn.Module, reference: nn.Module, seed: int) -> Check:
    """Gives both networks the same weights; fails if `network` has others than `reference`."""
    weights = random_weights(reference, seed)
    own = {name: value.shape for name, value in network.state_dict().items()}
    wanted = {name: value.shape for name, value in weights.items()}
    extra = {name for name, _ in network.named_buffers()} - wanted.keys()
    wrong = [
        f"{name} is {tuple(own[name]) if name in own else 'missing'}, should be "
        + (f"{tuple(wanted[name])}" if name in wanted else "missing")
        for name in {**wanted, **own}
        if name not in extra and own.get(name) != wanted.get(name)
    ]
    if not wrong:
        reference.load_state_dict(weights)
        network.load_state_dict(weights, strict=False)  # a BatchNorm has buffers of its own
    shown = "; ".join(wrong[:2]) + ("; ..." if len(wrong) > 2 else "")
    return yes_no(
        f"unet/{prefix}weights",
        not wrong,
        "the same weights, by name and shape",
        f"{len(wrong)} weights have another name or shape: {shown}",
        measured=float(len(wrong)),
        allowed=0.0,
    )


def blocks(
    prefix: str, network: nn.Module, reference: nn.Module, arguments: Mapping
) -> tuple[Check, Departure | None]:
    """Every block makes the same of the same; where `network` first departs."""
    network.eval()
    reference.eval()
    calls, others = record(network, arguments), record(reference, arguments)
    departure = first_departure(network, calls, others, ROUNDING)
    check = yes_no(
        f"unet/{prefix}blocks",
        departure is None,
        f"{len(calls.keys() & others.keys())} parts, the same output",
        str(departure),
        measured=apart(calls[WHOLE].made[0], others[WHOLE].made[0]),
        allowed=ROUNDING,
        input="three images at t = 499, 0, 999",
        reason=TOLERANCES["unet"].reason,
    )
    return check, departure


def _norms(prefix: str, network: nn.Module, reference: nn.Module, arguments: Mapping) -> Check:
    """Each GroupNorm by itself on inputs so faint that its eps shows."""
    theirs, worst, wrong = dict(network.named_modules()), 0.0, ""
    for name, call in record(reference, arguments).items():
        ours = reference.get_submodule(name)
        its = theirs.get(name)
        if isinstance(ours, nn.GroupNorm) and isinstance(its, nn.GroupNorm):
            faint = FAINT * call.given[0]
            gap = apart(its(faint), ours(faint))
            if gap > ROUNDING and not wrong:
                wrong = f"`{name}` has eps={its.eps:g}, should be {ours.eps:g}"
            worst = max(worst, gap)
    return yes_no(
        f"unet/{prefix}norms",
        not wrong,
        "each GroupNorm agrees on faint inputs",
        wrong,
        measured=worst,
        allowed=ROUNDING,
        input=f"what each is given, times {FAINT:g}",
        reason=TOLERANCES["unet"].reason,
    )


def _dropout(prefix: str, network: nn.Module, reference: nn.Module, arguments: Mapping) -> Check:
    """Something is random in training mode where the other has dropout, and nothing elsewhere."""
    acts = []
    for one in (network, reference):
        one.train()
        first, second = (
            record(one, arguments, seed, names=(WHOLE,))[WHOLE].made[0] for seed in (1, 2)
        )
        acts.append(not torch.equal(first, second))
        one.eval()
    return yes_no(
        f"unet/{prefix}dropout",
        acts[0] == acts[1],
        "dropout acts in training" if acts[0] else "nothing is random in training",
        "dropout never acts" if acts[1] else "something is random in training, without dropout",
        input="training mode, two seeds",
    )


def same_masks(prefix: str, network: nn.Module, reference: nn.Module, arguments: Mapping) -> Check:
    """From one seed both backends drop the same activations, so that their losses are the same."""
    network.train()
    reference.train()
    ones, others = (
        record(n, arguments, names=(WHOLE,))[WHOLE].made[0] for n in (network, reference)
    )
    gap = apart(ones, others)
    return yes_no(
        f"unet/{prefix}same-masks",
        gap <= ROUNDING,
        "one seed drops the same activations",
        "one seed drops other activations",
        measured=gap,
        allowed=ROUNDING,
        input="training mode, one seed",
        reason=TOLERANCES["unet"].reason,
    )


UNET = BackendStage(
    name="unet",
    looks_at="scratch's network against Diffusers', block by block (no candidate)",
    page="unet",
    checks=checks,
)
