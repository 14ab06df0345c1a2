"""What a run is: frozen dataclasses, their presets, and their JSON.

`RunConfig` holds everything that decides the outcome of a run; `training/config.json` in a run
folder is its JSON.
"""

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from workbench.backends import Backend
from workbench.fields import check_fields, option

BetaSchedule = Literal["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"]
PredictionType = Literal["epsilon", "sample", "v_prediction"]
VarianceType = Literal["fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"]
Spacing = Literal["leading", "trailing", "linspace"]
Optimizer = Literal["adam", "adamw"]
LearningRateSchedule = Literal["constant", "cosine"]
DrawOn = Literal["cpu", "device"]
Precision = Literal["float32", "bf16", "fp16"]


@dataclass(frozen=True)
class ModelConfig:
    """The UNet's size; pictures' size and channels come from the data."""

    channels: tuple[int, ...] = option(
        (32, 64),
        "width of each level, finest first, such as 32,64; each level below halves the picture",
    )
    layers_per_block: int = option(
        2, "residual blocks a level on the way down (one more on the way up)", least=1
    )
    attention: tuple[bool, ...] = option(
        (False, True), "which levels have self-attention, such as no,yes"
    )
    norm_num_groups: int = option(
        8,
        "groups of each GroupNorm; must divide every width (where it equals one, t is lost there)",
        least=1,
    )
    dropout: float = option(
        0.0,
        "probability of dropping an activation inside a residual block, in [0, 1)",
        least=0,
        below=1,
    )

    def __post_init__(self) -> None:
        check_fields(self)
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
                    "(--channels), another --size or other pictures"
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

    num_train_timesteps: int = option(500, "T, how many noise levels", least=1)
    beta_schedule: BetaSchedule = option("linear", "how beta grows")
    beta_start: float = option(0.0001, "the first beta")
    beta_end: float = option(0.02, "the last beta")
    prediction_type: PredictionType = option(
        "epsilon", "what the network predicts: the noise, the image or the velocity"
    )
    variance_type: VarianceType = option("fixed_small", "which variance a reverse step has")
    clip_sample: bool = option(True, "clip the prediction of x_0 to [-1, 1]")
    timestep_spacing: Spacing = option("leading", "which timesteps a shorter chain visits")
    rescale_betas_zero_snr: bool = option(False, "make the last noise level pure noise")

    def __post_init__(self) -> None:
        check_fields(self)
        if self.beta_start > self.beta_end:
            raise ValueError(
                f"beta_start is {self.beta_start:g}, above beta_end={self.beta_end:g}: noise comes "
                "in faster and faster; exchange the two"
            )

    def scheduler_arguments(self) -> dict[str, Any]:
        """Constructor arguments of either backend's DDPMScheduler."""
        return asdict(self)


LARGEST = 4096  # pixels a side
UNITS = {"s": 1, "min": 60, "h": 3600}


def seconds_in(text: str) -> int:
    """How long `30s`, `10min` or `2h` is.

    Raises:
        ValueError: it is no such time, or none at all.
    """
    number, unit = text.rstrip("sminh"), text.lstrip("0123456789")
    if not number.isdecimal() or unit not in UNITS or number + unit != text or int(number) < 1:
        raise ValueError(f"save_every must be steps, or a time such as 10min, got {text!r}")
    return int(number) * UNITS[unit]


@dataclass(frozen=True)
class TrainConfig:
    """How the weights are learned."""

    batch_size: int = option(
        128, "images at a time, of all processes together", least=1, most=1_000_000
    )
    accumulate: int = option(
        1,
        "batches whose gradients make one step: k of b images are one of k*b, in less memory",
        least=1,
        most=1_000_000,
    )
    steps: int | None = option(
        600, "optimizer steps; none to count in epochs", positive=True, most=10**12
    )
    epochs: float | None = option(
        None, "times that every image is seen, instead of --steps", positive=True, most=1e9
    )
    optimizer: Optimizer = option("adamw", "Adam, or AdamW with its decoupled weight decay")
    learning_rate: float = option(1e-3, "the highest learning rate", least=1e-12, most=1e30)
    weight_decay: float = option(0.0, "weight decay of the optimizer, in its own sense", least=0)
    lr_schedule: LearningRateSchedule = option(
        "cosine", "constant, or falling to 0 along half a cosine"
    )
    warmup_steps: int = option(
        0, "steps over which the learning rate rises from 0, before either", least=0
    )
    gradient_clip: float | None = option(
        1.0, "largest norm of the gradient, or none", positive=True
    )
    skip_nonfinite: bool = option(
        False, "leave out a step whose loss or gradient is not finite, where it would end the run"
    )
    ema_decay: float | None = option(
        0.995, "decay of the weights' moving average, in [0, 1), or none", least=0, below=1
    )
    precision: Precision = option(
        "float32",
        "in which the network computes while it learns: bf16 on a CPU or a GPU, fp16 (with loss "
        "scaling) on a CUDA GPU; weights and optimizer stay float32",
    )
    fast: bool = option(
        False,
        "the fast path, equal up to rounding: the network compiled, on CUDA a step as two graphs "
        "(which have not run on a GPU yet, so this is off unless asked for)",
    )
    deterministic: bool = option(
        False,
        "the same bytes in every run of one seed on a GPU, where some operations become slower; "
        "one that has no such form ends the run (a CPU's bytes are the same without it)",
    )
    threads: int | None = option(
        None, "threads of the CPU, or none for PyTorch's choice, one a core", least=1, most=1024
    )
    flip: bool = option(False, "mirror half of the images left to right")
    class_conditional: bool = option(False, "tell the network the labels")
    label_dropout: float = option(
        0.1,
        "how often it is not told, in [0, 1]; classifier-free guidance needs some",
        least=0,
        most=1,
    )
    draw_on: DrawOn = option(
        "cpu",
        "which generator draws noise and timesteps; the device's own is faster for large images",
    )
    save_every: int | str = option(
        500, "steps between checkpoints, or a time such as 30s, 10min, 2h", least=1
    )
    keep: int = option(2, "how many of the last checkpoints stay", least=1)
    keep_best: bool = option(
        False, "the checkpoint before which the mean loss was lowest stays as well"
    )
    sample_every: int | None = option(
        None,
        "steps between grids drawn into samples/; none for one at the end",
        positive=True,
    )
    sample_grid: bool = option(True, "draw such grids at all")
    sample_steps: int | None = option(
        None, "timesteps that a grid visits; none for all, the slowest", positive=True
    )

    def __post_init__(self) -> None:
        check_fields(self)
        asked = [name for name in ("sample_every", "sample_steps") if getattr(self, name)]
        if asked and not self.sample_grid:
            raise ValueError(f"{asked[0]} is of grids, and sample_grid is off; leave out one")
        if (self.steps is None) == (self.epochs is None):
            raise ValueError(f"give steps or epochs, and not both; got {self.steps}, {self.epochs}")
        if self.steps is not None and self.warmup_steps >= self.steps:
            raise ValueError(
                f"warmup_steps is {self.warmup_steps} and the run has {self.steps} steps: the "
                "learning rate would never be reached; take fewer, such as --warmup-steps 0"
            )
        if isinstance(self.save_every, str):
            seconds_in(self.save_every)

    @property
    def images_a_step(self) -> int:
        """Images that one optimizer step learns from, whoever computes on them."""
        return self.batch_size * self.accumulate

    def total_steps(self, num_images: int) -> int:
        """Optimizer steps of the whole run on `num_images` images; the last epoch is whole."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None  # by __post_init__
        return math.ceil(round(self.epochs * num_images / self.images_a_step, 6))


@dataclass(frozen=True)
class CodeConfig:
    """Somebody's own code that is a part of a run: which it was, never where it lies.

    Attributes:
        name: of its class.
        sha256: of the file that it stood in.
        reading: words that said how it is called.
        called: what departs from the contract in how it is called.
        told: options of the run that its constructor was given.
        verdict: what `ddpm compare` found wrong with it, in a line; "" if it is right.
    """

    name: str
    sha256: str
    reading: tuple[str, ...] = ()
    called: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    verdict: str = ""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides the outcome of a run."""

    backend: Backend = option("scratch", "whose model trains")
    data: str = option(
        "digits",
        "sprites, digits, a .npy or .npz file, or a folder; of the Hub: mnist, fashion-mnist, "
        "cifar10, hub:user/name",
    )
    labels: str | None = option(None, "a .npy file of labels for --data, or none")
    size: int | None = option(
        None,
        "side in pixels to bring the middle square of a folder's pictures to; none if all have one "
        "size",
        least=1,
        most=LARGEST,
    )
    skip_broken: bool = option(False, "leave out pictures that cannot be read, and say which")
    seed: int = option(0, "of the first weights and every random number of the run", least=0)
    model: ModelConfig = field(default_factory=ModelConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    scheduler_code: CodeConfig | None = None
    unet_code: CodeConfig | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.grid_steps > (T := self.diffusion.num_train_timesteps):
            raise ValueError(
                f"sample_steps must lie in 1..{T}, as the model has {T} timesteps, "
                f"got {self.grid_steps}"
            )

    @property
    def grid_steps(self) -> int:
        """How many timesteps a grid drawn while training visits."""
        return self.train.sample_steps or self.diffusion.num_train_timesteps

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, nested like the dataclasses."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "RunConfig":
        """The inverse of `to_dict`; what a run of an older version does not say has its default.

        Raises:
            ValueError: an entry is unknown or has a bad value, or a whole part is missing.
        """
        parts: dict[str, type] = {
            "model": ModelConfig,
            "diffusion": DiffusionConfig,
            "train": TrainConfig,
        }
        missing = [name for name in ("backend", "data", *parts) if name not in values]
        if missing:
            raise ValueError(f"this is no config of a run: it has no {', '.join(missing)}")
        code = [n for n in ("scheduler_code", "unet_code") if values.get(n) is not None]
        parts |= dict.fromkeys(code, CodeConfig)
        values = {**values, "train": _with_precision(values["train"])}
        built = {name: _build(part, values[name]) for name, part in parts.items()}
        return _build(cls, {**values, **built})


def _with_precision(train: Any) -> Any:
    """The entries of a `TrainConfig`; one of an older version says `bf16`, true or false."""
    if not isinstance(train, dict) or "bf16" not in train:
        return train
    others = {name: value for name, value in train.items() if name != "bf16"}
    return {"precision": "bf16" if train["bf16"] else "float32", **others}


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
    model=ModelConfig(channels=(128, 64), attention=(False, False), norm_num_groups=32),
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
