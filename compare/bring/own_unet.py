"""Somebody's network with the face of a backend's UNet: what trainer and pipelines ask for."""

import os
from collections.abc import Mapping
from inspect import Parameter
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from compare.bring.read import loaded, name_of
from compare.candidate.denoiser.denoiser import (
    CHANNELS,
    IMAGES,
    ONE_FOR_ALL,
    OUT,
    SIDES,
    Denoiser,
    find,
)
from compare.candidate.denoiser.record import prediction
from compare.candidate.devices import OnTheCpu, names_another
from compare.candidate.door.signature import named_keywords
from compare.candidate.load import Adapter, Broken, brief, raised
from compare.candidate.spy import Config
from compare.candidate.surroundings import Surroundings, apart
from compare.candidate.text.ready import how_to_build
from compare.verdict.quiet import quiet
from workbench.files import write_json, write_whole
from workbench.runs import OWN, WEIGHTS

FEW = (1, 2, 3, 4)  # channels of pictures: a default beyond them is a width of the network


class Output(NamedTuple):
    """What the network returns.

    Attributes:
        sample: eps, x_0 or v, (b, c, h, w).
    """

    sample: Tensor


class OwnUNet(nn.Module):
    """Somebody's network, called as Diffusers' UNet2DModel is; `compare.as_unet` makes it.

    Attributes:
        network: itself.
        name: of its class.
        config: `sample_size`, `in_channels`, `out_channels`; `num_class_embeds` is None.
        words: how it is called.
    """

    def __init__(self, denoiser: Denoiser, name: str) -> None:
        super().__init__()
        self.network = denoiser.network
        self.name = name
        self._denoiser = denoiser
        self._on_cpu = OnTheCpu() if names_another(type(denoiser.network)) else None
        _, c, h, w = denoiser.shape
        size = h if h == w else (h, w)
        self.config = Config(
            _class_name=OWN,
            sample_size=size,
            in_channels=c,
            out_channels=c,
            num_class_embeds=None,
        )

    @property
    def words(self) -> tuple[str, ...]:
        """How it is called."""
        return (self._denoiser.words, f"t is {self._denoiser.time}")

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        return next(self.network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of its parameters."""
        return self._denoiser.dtype

    def forward(
        self,
        sample: Tensor,
        timestep: int | Tensor,
        class_labels: Tensor | None = None,
        return_dict: bool = True,
    ) -> Output | tuple[Tensor]:
        """Its prediction.

        Args:
            sample: x_t, (b, c, h, w).
            timestep: t from 0, one or (b,).
            class_labels: None; it is told none.
            return_dict: False returns the tuple (sample,).

        Raises:
            ValueError: it raises, or returns something of another shape.
        """
        t = torch.as_tensor(timestep, device=sample.device).flatten().expand(len(sample))
        given = {
            name: value.to(sample.device) if isinstance(value, Tensor) else value
            for name, value in self._denoiser.given(sample, t).items()
        }
        own = self._denoiser.own
        own.on_cpu = self._on_cpu if sample.device.type == "cpu" else None
        try:
            with apart(own):
                made = prediction(self.network(**given))
        except Exception as error:
            raise ValueError(f"{self.name}: forward raises {raised(error)}") from None
        if not isinstance(made, Tensor) or made.shape != sample.shape:
            raise ValueError(_another_shape(self.name, made, sample.shape))
        return Output(made) if return_dict else (made,)

    def save_pretrained(self, save_directory: str | os.PathLike) -> None:
        """Write its weights, and a `config.json` that no library takes for one of its own."""
        from safetensors.torch import save_file

        folder = Path(save_directory)
        weights = {
            name: value.detach().cpu().contiguous().clone()  # two names may share one
            for name, value in self.network.state_dict().items()
        }
        write_json(folder / "config.json", dict(self.config))
        write_whole(folder / WEIGHTS, lambda path: save_file(weights, path))

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take over the weights that `save_pretrained` wrote.

        Raises:
            ValueError: they are those of another network.
        """
        try:
            self.network.load_state_dict(dict(weights))
        except RuntimeError as error:
            said = " ".join(str(error).split())[:200]
            raise ValueError(f"{self.name} has other weights than the run: {said}") from None


def as_unet(candidate: Any, image_shape: tuple[int, int, int], T: int = 1000) -> OwnUNet:
    """Somebody's network as one that is trained and draws in the place of a backend's UNet.

    It is an `nn.Module` whose `forward` is given pictures (b, c, h, w) and t, (b,) from 0 to T-1,
    by the names of its arguments, and returns one float32 tensor of the pictures' shape, which a
    gradient leads to its parameters. A class is built with the pictures' channels and side where
    it names them (`in_channels`, `out_channels`, `image_size` ...), and its defaults.

    Args:
        candidate: a class or factory, a built network, `"FILE.py:NAME"`, `"package.module:NAME"`,
            or an `Adapter` with a network.
        image_shape: (c, h, w).
        T: how many timesteps it is asked for.

    Raises:
        ValueError: it cannot be loaded, built or called so; one line.

    >>> class Mine(torch.nn.Module):
    ...     def __init__(self, in_channels=3):
    ...         super().__init__()
    ...         self.layer = torch.nn.Conv2d(in_channels, in_channels, 3, padding=1)
    ...     def forward(self, x, t): return self.layer(x)
    >>> unet = as_unet(Mine, (1, 8, 8))
    >>> unet(torch.zeros(2, 1, 8, 8), 3).sample.shape, unet.config.in_channels
    (torch.Size([2, 1, 8, 8]), 1)
    """
    name = name_of(candidate)
    thing, own = loaded(candidate)
    network = _built(name, thing, own, image_shape)
    _refuse_weights(name, network)
    with quiet():
        try:
            denoiser = find(network, own, (IMAGES, *image_shape))
        except Broken as broken:
            raise ValueError(f"{name}: {broken}") from None
        _refuse(name, denoiser, T)
    return OwnUNet(denoiser, name)


def _built(
    name: str, thing: Any, own: Surroundings, image_shape: tuple[int, int, int]
) -> nn.Module:
    """The network, made with what it names of the pictures; the weights are drawn here."""
    make = thing.network if isinstance(thing, Adapter) else thing
    if make is None:
        raise ValueError(f"{name} has no role `network`; it has {', '.join(thing.roles)}")
    try:
        with apart(own):
            made = make if isinstance(make, nn.Module) else make(**_of_pictures(make, image_shape))
    except Exception as error:
        cure = how_to_build(thing)
        raise ValueError(f"{name} cannot be built: {brief(error)}{cure}") from None
    if isinstance(made, Adapter) and made is not thing:
        return _built(name, made, own, image_shape)
    if not isinstance(made, nn.Module):
        raise ValueError(f"{name} makes a {type(made).__name__}; expected an nn.Module")
    return made


def _of_pictures(make: Any, image_shape: tuple[int, int, int]) -> dict[str, Any]:
    """The keywords by which it is told channels and side; a large default is a width instead."""
    c, h, w = image_shape
    size: Any = h if h == w else (h, w)
    found: dict[str, Any] = {}
    for keyword, default in named_keywords(make).items():
        if keyword in SIDES:
            found[keyword] = size
        elif keyword in (*CHANNELS, *OUT) and default in (Parameter.empty, None, *FEW):
            found[keyword] = c
    return found


def _refuse_weights(name: str, network: nn.Module) -> None:
    parameters = [p for p in network.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError(f"{name} has no parameter that a gradient could change")
    others = {p.dtype for p in parameters} - {torch.float32}
    if others:
        raise ValueError(f"{name} has parameters of {others.pop()}; expected torch.float32")


def _refuse(name: str, denoiser: Denoiser, T: int) -> None:
    """Refuses a network that cannot be trained on such pictures."""
    if denoiser.time == ONE_FOR_ALL:
        raise ValueError(
            f"{name} takes one t for all pictures; training needs one for each, a tensor (b,)"
        )
    x = denoiser.pictures()
    try:
        made = [denoiser.ask(x, denoiser.at(t)) for t in (0, T - 1)]
        with torch.enable_grad():
            answer = prediction(denoiser.answer(x, denoiser.at(T // 2)))
    except Broken as broken:
        raise ValueError(f"{name}: {broken}, asked for t = 0..{T - 1}") from None
    for t, out in zip((0, T - 1), made, strict=True):
        if out.shape != x.shape:
            raise ValueError(_another_shape(name, out, x.shape))
        if not bool(out.isfinite().all()):
            raise ValueError(f"{name} returns what is no finite number at t={t}")
    if not answer.requires_grad:
        raise ValueError(f"{name} returns a tensor that no gradient leads from to its parameters")


def _another_shape(name: str, made: Any, shape: tuple[int, ...]) -> str:
    got = f"{tuple(made.shape)}" if isinstance(made, Tensor) else type(made).__name__
    return f"{name} returns {got} for pictures {tuple(shape)}; expected a tensor of their shape"
