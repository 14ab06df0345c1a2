"""What a run is: frozen dataclasses, their presets, and their JSON.

`RunConfig` holds everything that decides the outcome of a run; `training/config.json` in a run
folder is its JSON.
"""

import math
from dataclasses import asdict, dataclass, field, fields
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from workbench.backends import Backend

BetaSchedule = Literal["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"]
PredictionType = Literal["epsilon", "sample", "v_prediction"]
VarianceType = Literal["fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"]
Spacing = Literal["leading", "trailing", "linspace"]
Optimizer = Literal["adam", "adamw"]
LearningRateSchedule = Literal["constant", "cosine"]
DrawOn = Literal["cpu", "device"]


def check_types(config: Any) -> None:
    """Refuse a field that is not what its annotation says, such as a number given as text."""
    for name, annotation in get_type_hints(type(config)).items():
        value = getattr(config, name)
        if not _is_a(annotation, value):
            raise ValueError(f"{name} must be {_in_words(annotation)}, got {value!r}")


def _is_a(annotation: Any, value: Any) -> bool:
    parts = get_args(annotation)
    if get_origin(annotation) is Literal:
        return isinstance(value, str) and value in parts
    if get_origin(annotation) is UnionType:
        return any(_is_a(part, value) for part in parts)
    if get_origin(annotation) is tuple:
        return isinstance(value, tuple) and all(_is_a(parts[0], item) for item in value)
    if annotation in (int, float):
        kinds = int if annotation is int else int | float
        return isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, annotation)


def _in_words(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return f"one of {', '.join(get_args(annotation))}"
    if get_origin(annotation) is UnionType:
        return " or ".join(map(_in_words, get_args(annotation)))
    if get_origin(annotation) is tuple:
        return f"a tuple, each {_in_words(get_args(annotation)[0])}"
    words = {int: "a whole number", float: "a number", bool: "True or False", str: "text"}
    return words.get(annotation) or annotation.__name__.replace("NoneType", "None")


def check_range(config: Any, least: float, *names: str, below: float = float("inf")) -> None:
    """Refuse a field that is not in [least, below)."""
    for name in names:
        value = getattr(config, name)
        if not least <= value < below:
            limit = f"at least {least:g}" + (f" and below {below:g}" if below < 1e300 else "")
            raise ValueError(f"{name} must be {limit}, got {value!r}")


@dataclass(frozen=True)
class ModelConfig:
    """The UNet's size; pictures' size and channels come from the data."""

    channels: tuple[int, ...] = (32, 64)
    """Width of each level, finest first; each level below halves height and width."""
    layers_per_block: int = 2
    """Residual blocks a level on the way down (one more on the way up)."""
    attention: tuple[bool, ...] = (False, True)
    """Which levels have self-attention."""
    norm_num_groups: int = 8
    """Groups of each GroupNorm; must divide every width (where it equals one, t is lost there)."""
    dropout: float = 0.0
    """Probability of dropping an activation inside a residual block, in [0, 1)."""

    def __post_init__(self) -> None:
        check_types(self)
        check_range(self, 1, "layers_per_block", "norm_num_groups")
        check_range(self, 0, "dropout", below=1)
        if not self.channels or len(self.channels) != len(self.attention):
            raise ValueError(
                f"channels and attention must have one entry for each level, got {self.channels} "
                f"and {self.attention}"
            )
        for width in self.channels:
            if width < 1 or width % self.norm_num_groups:
                raise ValueError(
                    f"channels must be multiples of norm_num_groups={self.norm_num_groups}, "
                    f"got {width}"
                )

    def unet_arguments(
        self, image_shape: tuple[int, int, int], num_classes: int | None
    ) -> dict[str, Any]:
        """Constructor arguments of either backend's UNet2DModel.

        Args:
            image_shape: (c, h, w).
            num_classes: how many labels to condition on; None for none. One more embedding is made,
                for "no label".

        Raises:
            ValueError: the UNet cannot halve the height or width often enough.
        """
        c, h, w = image_shape
        halvings = len(self.channels) - 1
        for name, size in (("height", h), ("width", w)):
            if size % 2**halvings:
                raise ValueError(
                    f"a UNet of {len(self.channels)} levels halves pictures {halvings} times, and "
                    f"{name} {size} is not a multiple of {2**halvings}; use fewer levels "
                    "(--channels) or other pictures"
                )
        down = ["AttnDownBlock2D" if a else "DownBlock2D" for a in self.attention]
        up = ["AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(self.attention)]
        return {
            "sample_size": h if h == w else (h, w),
            "in_channels": c,
            "out_channels": c,
            "block_out_channels": self.channels,
            "layers_per_block": self.layers_per_block,
            "down_block_types": tuple(down),
            "up_block_types": tuple(up),
            "norm_num_groups": self.norm_num_groups,
            "dropout": self.dropout,
            "num_class_embeds": None if num_classes is None else num_classes + 1,
        }


@dataclass(frozen=True)
class DiffusionConfig:
    """The scheduler's arguments, in Diffusers' words; see `scratch.DDPMScheduler`."""

    num_train_timesteps: int = 500
    """T, how many noise levels."""
    beta_schedule: BetaSchedule = "linear"
    """How beta grows."""
    beta_start: float = 0.0001
    """The first beta."""
    beta_end: float = 0.02
    """The last beta."""
    prediction_type: PredictionType = "epsilon"
    """What the network predicts: the noise, the image or the velocity."""
    variance_type: VarianceType = "fixed_small"
    """Which variance a reverse step has."""
    clip_sample: bool = True
    """Whether the prediction of x_0 is clipped to [-1, 1]."""
    timestep_spacing: Spacing = "leading"
    """Which timesteps a shorter chain visits."""
    rescale_betas_zero_snr: bool = False
    """Whether the last noise level is pure noise."""

    def __post_init__(self) -> None:
        check_types(self)
        check_range(self, 1, "num_train_timesteps")

    def scheduler_arguments(self) -> dict[str, Any]:
        """Constructor arguments of either backend's DDPMScheduler."""
        return asdict(self)


@dataclass(frozen=True)
class TrainConfig:
    """How the weights are learned."""

    batch_size: int = 128
    """Images a step."""
    steps: int | None = 600
    """Optimizer steps; None to count in epochs."""
    epochs: float | None = None
    """Times that every image is seen; None to count in steps."""
    optimizer: Optimizer = "adamw"
    """Adam, or AdamW with its decoupled weight decay."""
    learning_rate: float = 1e-3
    """The highest learning rate."""
    weight_decay: float = 0.0
    """Weight decay of the optimizer, in its own sense."""
    lr_schedule: LearningRateSchedule = "cosine"
    """Constant, or falling to 0 along a half cosine."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises from 0, before either."""
    gradient_clip: float | None = 1.0
    """Largest norm of the gradient; None for no clipping."""
    ema_decay: float | None = 0.995
    """Decay of the weights' moving average, in [0, 1); None for no average."""
    bf16: bool = False
    """Whether the network runs under bfloat16 autocast."""
    flip: bool = False
    """Whether half of the images are mirrored left to right."""
    class_conditional: bool = False
    """Whether the network is told the labels."""
    label_dropout: float = 0.1
    """How often it is not, in [0, 1]; classifier-free guidance needs some."""
    draw_on: DrawOn = "cpu"
    """Which generator draws noise and timesteps; the device's own is faster for large images."""
    save_every: int = 500
    """Steps between checkpoints."""
    sample_every: int | None = None
    """Steps between grids drawn into samples/; None for one at the end."""

    def __post_init__(self) -> None:
        check_types(self)
        check_range(self, 1, "batch_size", "save_every")
        check_range(self, 0, "warmup_steps", "weight_decay")
        check_range(self, 0, "label_dropout", below=1 + 1e-12)
        if (self.steps is None) == (self.epochs is None):
            raise ValueError(f"give steps or epochs, and not both; got {self.steps}, {self.epochs}")
        for name in ("steps", "epochs", "learning_rate", "gradient_clip", "sample_every"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive, got {value!r}")
        if self.ema_decay is not None:
            check_range(self, 0, "ema_decay", below=1)

    def total_steps(self, num_images: int) -> int:
        """Optimizer steps of the whole run on `num_images` images; the last epoch is whole."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None  # by __post_init__
        return math.ceil(round(self.epochs * num_images / self.batch_size, 6))


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides the outcome of a run."""

    backend: Backend = "scratch"
    """Which of the two models trains."""
    data: str = "digits"
    """A name or a path for `workbench.data.load`."""
    labels: str | None = None
    """A file of labels, for data that have none."""
    size: int | None = None
    """Pixels of a side that a folder's pictures are brought to; None for as they are."""
    seed: int = 0
    """Decides the first weights and every random number of the run."""
    model: ModelConfig = field(default_factory=ModelConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        check_types(self)
        check_range(self, 0, "seed")
        if self.size is not None:
            check_range(self, 1, "size")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, nested like the dataclasses."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "RunConfig":
        """The inverse of `to_dict`; what a run of an older version does not say has its default.

        Raises:
            ValueError: an entry is unknown or has a bad value, or a whole part is missing.
        """
        parts = {"model": ModelConfig, "diffusion": DiffusionConfig, "train": TrainConfig}
        missing = [name for name in ("backend", "data", *parts) if name not in values]
        if missing:
            raise ValueError(f"this is no config of a run: it has no {', '.join(missing)}")
        built = {name: _build(part, values[name]) for name, part in parts.items()}
        return _build(cls, {**values, **built})


def _build(cls: type, values: Any) -> Any:
    """A config from JSON: an object with entries of `cls`; lists become tuples."""
    known = {f.name for f in fields(cls)}
    if not isinstance(values, dict):
        raise ValueError(f"{cls.__name__} must be an object with entries, got {values!r}")
    unknown = sorted(values.keys() - known)
    if unknown:
        raise ValueError(
            f"{cls.__name__} has no entry {', '.join(unknown)}; it has {', '.join(sorted(known))}"
        )
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


DIGITS = RunConfig()
SPRITES = RunConfig(
    data="sprites",
    model=ModelConfig(channels=(32, 64, 128), attention=(False, True, True)),
    train=TrainConfig(batch_size=32, steps=3000, warmup_steps=100, ema_decay=0.999),
)
# The tutorial: UNet (128, 64), two layers a block, T = 500, batch 100, 32 epochs, Adam 1e-4.
TUTORIAL = RunConfig(
    data="sprites",
    model=ModelConfig(channels=(128, 64), attention=(False, True), norm_num_groups=32),
    diffusion=DiffusionConfig(num_train_timesteps=500),
    train=TrainConfig(
        steps=None,
        epochs=32,
        batch_size=100,
        optimizer="adam",
        learning_rate=1e-4,
        lr_schedule="constant",
        gradient_clip=None,
        ema_decay=None,
    ),
)
PRESETS = {"digits": DIGITS, "sprites": SPRITES, "tutorial": TUTORIAL}
