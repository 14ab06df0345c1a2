"""A network that can be asked: pictures that it takes are found by trying, by what it declares."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from compare.candidate.denoiser.record import prediction
from compare.candidate.door.forward import arguments, of_dropping, of_labels, unwrapped
from compare.candidate.generators import seed_everything
from compare.candidate.load import Broken, raised
from compare.candidate.surroundings import Surroundings, apart

IMAGES = 5  # of a batch: seldom a number of channels, heads or pixels, so axes are not mistaken
SIZES = (32, 16, 64, 28, 8)
LARGE = 64  # of a side: a smaller one is tried before a larger one that is declared
STEPS = 1000
LENGTHS = ("num_timesteps", "num_train_timesteps", "timesteps", "n_steps", "num_steps", "T")
CHANNELS = ("in_channels", "channels", "in_ch", "input_channels", "img_channels", "image_channels")
OUT = ("out_channels", "out_dim", "out_ch", "channels_out")
WIDTHS = ("data_dim", "input_dim", "in_dim", "in_features")
SIDES = ("image_size", "sample_size", "img_size", "input_size", "size", "resolution")
CONVOLUTIONS = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}
TIMES = {  # {in words: t as it is handed over}
    "int64 (b,)": lambda t: t,
    "float32 (b,)": lambda t: t.float(),
    "float32 (b, 1)": lambda t: t.float().reshape(-1, 1),
    "int64 (b, 1)": lambda t: t.reshape(-1, 1),
    "one int": lambda t: int(t[0]),
}
ONE_FOR_ALL = "one int"


@dataclass(frozen=True)
class Denoiser:
    """A network, and how it is asked.

    Attributes:
        network: itself, unwrapped.
        x, t: names of the arguments of `forward` for the picture and for t.
        shape: (b, c, h, w) or (b, d), of pictures that it takes.
        more: what else it is given, by name.
        time: as what it is given t, one of `TIMES`.
        T: it is asked for t = 0..T-1.
        own: what it finds around it while it runs.
    """

    network: nn.Module
    x: str
    t: str
    shape: tuple[int, ...]
    more: Mapping[str, Any] = field(default_factory=dict)
    time: str = "int64 (b,)"
    T: int = STEPS
    own: Surroundings = field(default_factory=Surroundings)

    @property
    def dtype(self) -> torch.dtype:
        """Of its weights."""
        floats = [w.dtype for w in self.network.parameters() if w.is_floating_point()]
        return floats[0] if floats else torch.float32

    def given(self, x: Tensor, t: Tensor) -> dict[str, Any]:
        """The arguments of one call: pictures, and t (b,) int64."""
        return {self.x: x, self.t: TIMES[self.time](t), **self._more(len(x))}

    def _more(self, count: int) -> dict[str, Any]:
        """What else it is given, for another number of images."""
        kept = {name: value for name, value in self.more.items() if not isinstance(value, Tensor)}
        rows = {n: v[torch.arange(count) % len(v)] for n, v in self.more.items() if n not in kept}
        return kept | rows

    def answer(self, x: Tensor, t: Tensor, seed: int = 0) -> Any:
        """What it returns, every source of randomness set to `seed`.

        Raises:
            Broken: it raises; the text is one line.
        """
        seed_everything(seed)
        try:
            with apart(self.own):
                return self.network(**self.given(x, t))
        except Exception as error:
            raise Broken(f"{self.words} raises {raised(error)}") from None

    def ask(self, x: Tensor, t: Tensor, seed: int = 0) -> Tensor:
        """Its prediction.

        Raises:
            Broken: it raises, or returns no tensor.
        """
        made = prediction(self.answer(x, t, seed))
        if not isinstance(made, Tensor):
            raise Broken(f"{self.words} returned {type(made).__name__}, not a tensor", raised=False)
        return made.detach()

    def pictures(self, seed: int = 0) -> Tensor:
        """A batch of N(0, 1)."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(self.shape, generator=generator).to(self.dtype)

    def at(self, t: int) -> Tensor:
        """(b,) the same t for each image."""
        return torch.full((self.shape[0],), t)

    @property
    def out(self) -> int:
        """Channels of its output, as it declares them; 0 if it does not."""
        return next(iter(_declared(self.network, OUT)), 0)

    @property
    def words(self) -> str:
        """How it is called."""
        names = [self.x, self.t, *self.more]
        return f"forward({', '.join(names)})"


def find(network: nn.Module, own: Surroundings, shape: tuple[int, ...] | None = None) -> Denoiser:
    """The first way in which it answers a picture with one of its shape; else in which it answers.

    Args:
        network: somebody's.
        own: what it finds around it.
        shape: (b, c, h, w) or (b, d) of the pictures; None for any that it takes.

    Raises:
        Broken: there is none; says what the first raised.
    """
    with apart(own):
        network = unwrapped(network)
        names = {role: name for name, role in arguments(network.forward).items()}
    if not names:
        text = "forward does not ask for a picture and a time"
        raise Broken(f"{text}: an Adapter calls it, network=lambda: a module with forward(x, t)")
    first: Broken | None = None
    answering: Denoiser | None = None
    shapes = _shapes(network) if shape is None else [shape]
    for size, more, time in product(shapes, _more(network), TIMES):
        one = Denoiser(network, names["x"], names["t"], size, more, time, own=own)
        try:
            made = one.ask(one.pictures(), one.at(0))
        except Broken as broken:
            first = first or broken
            continue
        if made.shape in (size, doubled(size)):
            return _with_length(one)
        answering = answering or one
    if answering is not None:
        return _with_length(answering)
    other = "" if shape else "pictures of other sizes or channels, or "
    text = f"{first}, nor does {other}another form of t go through"
    raise Broken(f"{text}: an Adapter may hand in what it needs, network=lambda: ...")


def doubled(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Of outputs with a learned variance beside."""
    return (shape[0], 2 * shape[1], *shape[2:])


def _with_length(one: Denoiser) -> Denoiser:
    """The same with the T that it declares, or where a table of its own ends."""
    declared = [number for number in _declared(one.network, LENGTHS) if number > 1]
    low, high = 0, declared[0] if declared else STEPS  # answers, and the first that may not
    if _answers(one, high - 1):
        return replace(one, T=high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _answers(one, middle) else (low, middle)
    return replace(one, T=high)


def _answers(one: Denoiser, t: int) -> bool:
    try:
        one.ask(one.pictures(), one.at(t))
    except Broken:
        return False
    return True


def _declared(network: nn.Module, names: tuple[str, ...]) -> list[int]:
    """What attributes of these names say, its own or its config's."""
    config = getattr(network, "config", {})
    inside = config if isinstance(config, Mapping) else getattr(config, "__dict__", {})
    values = [getattr(network, name, inside.get(name)) for name in names]
    values = [v[0] if isinstance(v, tuple | list) and v else v for v in values]
    return [value for value in values if type(value) is int and value > 0]


def _shapes(network: nn.Module) -> Iterator[tuple[int, ...]]:
    """Of batches that it may take, likeliest first."""
    every = [m for m in network.modules() if isinstance(m, tuple(CONVOLUTIONS))]
    linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
    channels = [*_declared(network, CHANNELS), *(m.in_channels for m in every[:1]), 3, 1]
    sides = _declared(network, SIDES)
    sides = [*(s for s in sides if s <= LARGE), *SIZES, *(s for s in sides if s > LARGE)]
    axes = next((n for kind, n in CONVOLUTIONS.items() if every and isinstance(every[0], kind)), 2)
    if not every:
        widths = _declared(network, WIDTHS)
        widths += [m.out_features for m in linear[-1:]] + [m.in_features for m in linear[:1]]
        yield from ((IMAGES, d) for d in dict.fromkeys([*widths, 2, 3]))
    for c, side in product(dict.fromkeys(channels), dict.fromkeys(sides)):
        yield (IMAGES, c, *[side] * axes)


def _more(network: nn.Module) -> Iterator[dict[str, Any]]:
    """What it may need beside: labels 0, or nothing, in the place of what else it asks for."""
    asked = [name for name, role in arguments(network.forward).items() if role not in ("x", "t")]
    never: dict[str, Any] = dict.fromkeys(of_dropping(network.forward), 0.0)
    asked = [name for name in asked if name not in never]
    labels = torch.zeros(IMAGES, dtype=torch.int64)
    yield dict.fromkeys(asked, labels) | never
    if asked:
        yield dict.fromkeys(asked) | never
        yield dict.fromkeys(asked, labels.float()) | never
    for name in of_labels(network.forward)[:1]:
        yield {**dict.fromkeys(asked), name: labels} | never
