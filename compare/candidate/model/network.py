"""A network for code that cannot be built or called without one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Question = tuple[tuple[Any, ...], dict[str, Any]]  # what a network is given, by place and by name
_listening: list[list[Question]] = []


@contextmanager
def heard() -> Iterator[list[Question]]:
    """What networks of `as_network` are asked meanwhile.

    >>> with heard() as asked:
    ...     answer = as_network(torch.ones(1))("a picture", t=3)
    >>> asked
    [(('a picture',), {'t': 3})]
    """
    asked: list[Question] = []
    _listening.append(asked)
    try:
        yield asked
    finally:
        _listening.remove(asked)


class Network(nn.Module):
    """A network of a known answer, with the attributes that samplers ask a network for."""

    self_condition = random_or_learned_sinusoidal_cond = False

    def __init__(self, answer: Callable[..., Any], channels: int, image_size: int):
        super().__init__()
        self.answer = answer
        self.channels = self.in_channels = self.out_channels = self.out_dim = channels
        self.image_size = self.sample_size = image_size
        self.weight = nn.Parameter(torch.zeros(()))  # a sampler may ask for the device of one

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.weight.device

    def forward(self, *given: Any, **named: Any) -> Any:
        """The answer, whatever it is asked."""
        for asked in _listening:
            asked.append((given, named))
        return self.answer(*given, **named)


def as_network(
    answer: Tensor | Callable[..., Any] | None = None, channels: int = 2, image_size: int = 8
) -> nn.Module:
    """A network that gives this answer: for an `Adapter` of code that holds its network.

    Args:
        answer: a tensor, given whatever is asked, as in `step=lambda out, t, x:
            Diffusion(as_network(out)).p_sample(x, t)`; a function, called as the network is; None
            for code that must have a network and does not ask it.
        channels: of its pictures, as `channels`, `in_channels`, `out_channels` and `out_dim`.
        image_size: of its pictures, as `image_size` and `sample_size`.

    >>> as_network(torch.ones(1))("a picture", timesteps=3)
    tensor([1.])
    >>> as_network(lambda x, t: x + t, image_size=32)(1, t=2), as_network().in_channels
    (3, 2)
    """
    if answer is not None and not isinstance(answer, Tensor):
        return Network(answer, channels, image_size)
    return Network(lambda *_, **__: answer, channels, image_size)
