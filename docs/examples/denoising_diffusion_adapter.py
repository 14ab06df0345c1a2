"""A public package, through an adapter: `denoising-diffusion-pytorch`, which has words of its own.

pip install denoising-diffusion-pytorch
ddpm compare --candidate docs/examples/denoising_diffusion_adapter.py:ddpm
"""

from typing import Any

from torch import Tensor, nn

from compare import Adapter

try:
    from denoising_diffusion_pytorch import GaussianDiffusion, LearnedGaussianDiffusion
except ModuleNotFoundError as error:
    what_to_do = "pip install denoising-diffusion-pytorch"
    raise ModuleNotFoundError(f"{error}; {what_to_do}") from None

PACKAGE = "denoising-diffusion-pytorch"
OBJECTIVES = {"epsilon": "pred_noise", "sample": "pred_x0", "v_prediction": "pred_v"}
SCHEDULES = {"linear": "linear", "squaredcos_cap_v2": "cosine"}


class Network(nn.Module):
    """A network in the package's words round any function of (x, t).

    Args:
        answer: (x, t) -> output.
        channels: of the images.
        outputs: channels of the output.
    """

    self_condition = False

    def __init__(self, answer: Any, channels: int = 1, outputs: int = 1):
        super().__init__()
        self.answer, self.channels, self.out_dim = answer, channels, outputs

    def forward(self, x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """The function's answer; `condition` is for networks that see their own last x0-hat."""
        out: Tensor = self.answer(x, t)
        return out


def diffusion(answer: Any, /, *, learned: bool = False, **options: Any) -> Any:
    """The package's diffusion round a function of (x, t), in evaluation mode."""
    cls = LearnedGaussianDiffusion if learned else GaussianDiffusion
    made = cls(Network(answer, outputs=2 if learned else 1), image_size=8, **options)
    return made.eval()  # as its trainer does before it samples


def adapt(*, learned: bool = False, **options: Any) -> Adapter:
    """The five roles of the package's diffusion; images are in [0, 1] there, in [-1, 1] here."""
    bare = diffusion(None, learned=learned, **options)
    kinds = {name: kind for kind, name in OBJECTIVES.items()}

    def step(out: Tensor, t: int, x_t: Tensor) -> dict[str, Tensor]:
        bare.model.answer = lambda x, at: out
        x_prev, x_0 = bare.p_sample(x_t, t)
        return {"prev_sample": x_prev.clone(), "pred_original_sample": x_0.clone()}

    def sample(model: nn.Module, shape: tuple[int, ...]) -> Tensor:
        whole = diffusion(model, learned=learned, **options)
        loop = whole.ddim_sample if whole.is_ddim_sampling else whole.p_sample_loop
        pictures: Tensor = loop(shape).clone()
        return pictures * 2 - 1

    def loss(model: nn.Module, x_0: Tensor) -> Tensor:
        whole = diffusion(model, learned=learned, **options)
        whole.image_size = tuple(x_0.shape[-2:])
        value: Tensor = whole((x_0 + 1) / 2)
        return value

    return Adapter(
        alpha_bar=lambda: bare.alphas_cumprod,
        add_noise=lambda x_0, noise, t: bare.q_sample(x_0, t, noise),
        step=step,
        sample=None if learned else sample,
        loss=None if learned else loss,
        prediction_type=kinds[bare.objective],
        name=PACKAGE,
    )


def ddpm(
    prediction_type: str = "epsilon",
    beta_schedule: str = "linear",
    variance_type: str = "fixed_small",
) -> Adapter:
    """The package's options that have a name in Diffusers.

    Raises:
        ValueError: the package has no such option.
    """
    if beta_schedule not in SCHEDULES:
        raise ValueError(f"{PACKAGE} has no beta_schedule={beta_schedule!r}")
    if variance_type not in ("fixed_small", "learned_range"):
        raise ValueError(f"{PACKAGE} has no variance_type={variance_type!r}")
    learned = variance_type == "learned_range"
    if learned and prediction_type != "epsilon":
        raise ValueError(f"{PACKAGE} learns a variance beside the noise only")
    return adapt(
        learned=learned,
        objective=OBJECTIVES[prediction_type],
        beta_schedule=SCHEDULES[beta_schedule],
    )
