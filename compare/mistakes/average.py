"""Mistakes in a moving average of weights: each makes a wrong class of the right one.

Right: `workbench.ema`: average <- decay average + (1 - decay) weights after every optimiser step,
of parameters alone; one samples with the average, and trains on with the model's own weights (Ho
et al., appendix B: decay 0.9999).
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn

from compare.mistakes.entry import entry

mistake = partial(entry, stage="training")


@mistake(
    "100",
    "EMA",
    fix="average parameters, and leave buffers as the model has them",
    effect="black or broken samples: the schedule in the averaged model is a mixture of two",
    seen_in=("lucidrains/denoising-diffusion-pytorch#136",),
    right="workbench.ema:EMA",
)
def buffers_averaged_too(EMA: Any) -> type:
    """the moving average averages buffers too: a schedule in a buffer is no schedule
    afterwards"""

    class Average(EMA):
        def __init__(self, model: nn.Module, decay: float) -> None:
            super().__init__(model, decay)
            self.average |= {name: b.clone() for name, b in model.named_buffers()}

        def update(self, model: nn.Module) -> None:
            state = model.state_dict()
            for name, average in self.average.items():
                average.lerp_(state[name], 1 - self.decay)

        @contextmanager
        def applied_to(self, model: nn.Module) -> Iterator[nn.Module]:
            own = copy.deepcopy(model.state_dict())
            model.load_state_dict(self.average)
            yield model
            model.load_state_dict(own)

    return Average


@mistake(
    "101",
    "EMA",
    fix="update it after each optimiser step",
    effect="samples are noise, however well the loss falls",
    right="workbench.ema:EMA.update",
)
def average_never_updated(EMA: Any) -> type:
    """the moving average is never updated: samples come from the random start"""

    class Average(EMA):
        def update(self, model: nn.Module) -> None:
            pass

    return Average


@mistake(
    "101-kept",
    "EMA",
    fix="keep the model's own weights, and put them back",
    effect="the loss jumps after every look at samples: training goes back to older weights",
    seen_in=(
        "huggingface/diffusers#2321",
        "huggingface/diffusers#7549",
        "harubaru/waifu-diffusion#31",
    ),
    right="workbench.ema:EMA.applied_to",
)
def averaged_weights_left_in(EMA: Any) -> type:
    """the averaged weights stay in the model after sampling: training goes on from them"""

    class Average(EMA):
        @contextmanager
        def applied_to(self, model: nn.Module) -> Iterator[nn.Module]:
            model.load_state_dict(self.average, strict=False)
            yield model

    return Average
