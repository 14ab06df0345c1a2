"""What is wrong in a moving average of weights, each mistake once, as another `EMA`.

Like a network's mistakes they have no seam in the oracle. They are found by
`compare.backends.training_alone`.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from torch import nn

from workbench.ema import EMA


class _BuffersToo(EMA):
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


class _NeverUpdated(EMA):
    def update(self, model: nn.Module) -> None:
        pass


class _LeftIn(EMA):
    @contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[nn.Module]:
        model.load_state_dict(self.average, strict=False)
        yield model


class WrongAverage(NamedTuple):
    """A mistake in a moving average.

    Attributes:
        id: the number in the catalogue, with a suffix where a number has several forms.
        average: makes it, of a model and a decay.
        words: what is done, and what should be.
        fix: what to do instead.
    """

    id: str
    average: type[EMA]
    words: str
    fix: str


AVERAGES = (
    WrongAverage(
        "100",
        _BuffersToo,
        "the moving average averages buffers too: a schedule in a buffer is no schedule afterwards",
        "average parameters, and leave buffers as the model has them",
    ),
    WrongAverage(
        "101",
        _NeverUpdated,
        "the moving average is never updated: samples come from the random start",
        "update it after each optimiser step",
    ),
    WrongAverage(
        "101-kept",
        _LeftIn,
        "the averaged weights stay in the model after sampling: training goes on from them",
        "keep the model's own weights, and put them back",
    ),
)
