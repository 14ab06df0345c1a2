"""One pass of a network, operation by operation: what is made of the picture, what of t alone.

A result is made of what the tensors that it is computed from are made of. Where something made of t
alone meets something made of the picture, t enters. What is computed outside of torch's functions
(numbers that are taken out of tensors, compiled code) is not seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from compare.candidate.denoiser.record import tensors
from compare.candidate.denoiser.softmax import Weighed, begin, follow

PICTURE, TIME = "picture", "time"
MADE_OF = "_compare_made_of"  # the name of the attribute of a tensor that says so
LAYERS = ("linear", "embedding", "conv1d", "conv2d")
Size = tuple[int, ...]  # of a picture or of a map: (h, w)


@dataclass(frozen=True)
class Entry:
    """Where t enters: the size of what it meets, and what of t alone comes there."""

    size: Size
    told: tuple[Tensor, ...]


class Ended(Exception):
    """Ends a pass of which enough is known."""


@dataclass
class Trace(TorchFunctionMode):
    """While open, notes where t enters; and may put what another pass had in some places.

    Attributes:
        axes: of a picture, without those of images and channels.
        enough: entries after which the pass is ended with `Ended`.
        told: {index of an entry: what comes there in the place of what is made of t}.
        frozen: sizes of maps that are replaced by those of another pass.
        maps: the maps of that pass, in order; of this one where there are none.
        entries: where t enters, in order.
        sizes: of all maps that are made of the picture.
        convolved: of those that a convolution made.
        embedded: what layers make of t alone.
        waves: "sin" or "cos", and of what made of t alone it is taken.
        weighed: products with the result of a softmax.
        used: ids of the weights that something is computed of.
    """

    axes: int
    enough: int = 0
    told: dict[int, tuple[Tensor, ...]] = field(default_factory=dict)
    frozen: frozenset[Size] = frozenset()
    maps: list[Tensor] | None = None
    entries: list[Entry] = field(default_factory=list)
    sizes: set[Size] = field(default_factory=set)
    convolved: set[Size] = field(default_factory=set)
    embedded: list[Tensor] = field(default_factory=list)
    waves: list[tuple[str, Tensor]] = field(default_factory=list)
    weighed: list[Weighed] = field(default_factory=list)
    used: set[int] = field(default_factory=set)
    made: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The call, of what is put in the place of its arguments; its result as it is, or put."""
        kwargs = kwargs or {}
        given = tensors((args, kwargs))
        made_of: list[frozenset[str]] = [getattr(each, MADE_OF, frozenset()) for each in given]
        of: frozenset[str] = frozenset().union(*made_of)
        enters = [e for e, m in zip(given, made_of, strict=True) if m == {TIME}]
        meets = bool(enters) and any(PICTURE in m for m in made_of)
        if meets and len(self.entries) in self.told:
            others = dict(zip(map(id, enters), self.told[len(self.entries)], strict=True))
            args, kwargs = _with((args, kwargs), others)
        result = func(*args, **kwargs)
        made = tensors(result)
        if made:  # a shape or a device is none
            self.used |= {id(each) for each in given if isinstance(each, nn.Parameter)}
        if not of or not made:
            return result
        if PICTURE in of and isinstance(result, Tensor):
            result = self._frozen(result, func.__name__.startswith("conv"))
            made = tensors(result)
        for each in made:
            setattr(each, MADE_OF, of)
        self._weighs(func.__name__, args, kwargs, result, made_of)
        if of == {TIME}:
            self._embeds(func.__name__, given, made)
        if meets:
            self._enters(made[0], enters)
        return result

    def _embeds(self, name: str, given: list[Tensor], made: list[Tensor]) -> None:
        """Notes what is made of t alone, before it enters."""
        self.embedded += made if name in LAYERS else []
        if name in ("sin", "cos"):
            self.waves.append((name, given[0].detach().clone()))

    def _weighs(self, name: str, args: Any, kwargs: Any, result: Any, made_of: list) -> None:
        """Notes what weighs what is made of the picture with the result of a softmax."""
        begin(name, args, kwargs, result)
        weighed = follow(name, args, result)
        if weighed is not None and all(PICTURE in each for each in made_of):
            self.weighed.append(weighed)

    def _frozen(self, result: Tensor, convolved: bool) -> Tensor:
        """A map, or what stands in its place."""
        size = tuple(result.shape[2:])
        if result.dim() != 2 + self.axes:
            return result
        self.sizes.add(size)
        self.convolved |= {size} if convolved else set()
        if size not in self.frozen:
            return result
        self.made.append(result.clone())
        if self.maps is None:
            return result
        other = self.maps[len(self.made) - 1]
        if other.shape != result.shape:
            raise Ended
        return other.clone()

    def _enters(self, result: Tensor, enters: Sequence[Tensor]) -> None:
        shape = tuple(result.shape)
        size = shape[2:] if len(shape) == 2 + self.axes else shape[1:-1]
        self.entries.append(Entry(size, tuple(each.detach().clone() for each in enters)))
        if self.enough and len(self.entries) >= self.enough:
            raise Ended


def marked(value: Tensor, what: str) -> Tensor:
    """A copy of a tensor that is known to be the picture, or t."""
    copy = value.clone()
    setattr(copy, MADE_OF, frozenset({what}))
    return copy


def _with(value: Any, others: dict[int, Tensor]) -> Any:
    """The same, with other tensors in the place of those of these ids."""
    if isinstance(value, Tensor):
        return others.get(id(value), value)
    if isinstance(value, dict):
        return {name: _with(each, others) for name, each in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_with(each, others) for each in value)
    return value
