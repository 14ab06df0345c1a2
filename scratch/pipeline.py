"""The sampling loop: Algorithm 2 of Ho et al. 2020 (arXiv:2006.11239)."""

import os
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

from scratch import saving
from scratch.ddim import DDIMScheduler
from scratch.ddpm import DDPMScheduler
from scratch.scheduler import Generators, draw_noise
from scratch.unet import UNet2DModel

SCHEDULERS = {"DDPMScheduler": DDPMScheduler, "DDIMScheduler": DDIMScheduler}
OutputType = Literal["pil", "np", "pt"]


@dataclass
class ImagePipelineOutput:
    """What a pipeline returns.

    Attributes:
        images: a list of b PIL images, an array (b, h, w, c) float32 or a tensor (b, c, h, w), both
            in [0, 1].
    """

    images: Any


class DDPMPipeline:
    """A UNet and a scheduler that together draw pictures from noise.

    Args:
        unet: ours or Diffusers'; its config gives the size and the channels of a picture.
        scheduler: ours or Diffusers'.
    """

    def __init__(self, unet: Any, scheduler: Any) -> None:
        self.unet = unet
        self.scheduler = scheduler
        self._progress_bar: dict[str, Any] = {}

    def __call__(
        self,
        batch_size: int = 1,
        generator: Generators = None,
        num_inference_steps: int = 1000,
        output_type: OutputType = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple[Any]:
        """Draw `batch_size` pictures, in eval mode and without gradients.

        Args:
            batch_size: b, how many pictures.
            generator: where x_T and the noise of each step come from: one, or one a picture.
            num_inference_steps: n in 1..T.
            output_type: `pil`, `np` or `pt`; see `ImagePipelineOutput`.
            return_dict: False returns the tuple (images,).

        Raises:
            ValueError: b or n is out of range, or `output_type` is unknown.
        """
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"batch_size must be a whole number of at least 1, got {batch_size!r}")
        if output_type not in get_args(OutputType):
            raise ValueError(f"output_type must be one of pil, np, pt, got {output_type!r}")
        self.scheduler.set_timesteps(num_inference_steps)
        training = self.unet.training
        self.unet.eval()
        try:
            images = self._sample(batch_size, generator)
        finally:
            self.unet.train(training)
        images = (images / 2 + 0.5).clamp(0, 1)  # [-1, 1] -> [0, 1]
        output = _convert(images, output_type)
        return ImagePipelineOutput(output) if return_dict else (output,)

    @torch.no_grad()
    def _sample(self, batch_size: int, generator: Generators) -> torch.Tensor:
        from tqdm.auto import tqdm

        config, device, dtype = self.unet.config, self.unet.device, self.unet.dtype
        size = config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        shape = (batch_size, config.in_channels, height, width)
        # region: sample
        x = draw_noise(shape, generator, device, dtype)  # x_T
        for t in tqdm(self.scheduler.timesteps, **self._progress_bar):
            model_output = self.unet(x, t).sample
            output = self.scheduler.step(model_output, t, x, generator=generator)
            x = output.prev_sample
        # endregion: sample
        return x

    def to(self, device: str | torch.device) -> "DDPMPipeline":
        """Move the UNet; returns the pipeline."""
        self.unet.to(device)
        return self

    def set_progress_bar_config(self, **options: Any) -> None:
        """Options for tqdm, such as `disable=True`."""
        self._progress_bar = options

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Write a folder that Diffusers' `DDPMPipeline.from_pretrained` reads too."""
        saving.save_pipeline(self, folder)

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike) -> "DDPMPipeline":
        """A pipeline from a folder, ours or Diffusers', or from a Hub repository by name."""
        unet, scheduler, kind = saving.pipeline_parts(name_or_path)
        if kind not in SCHEDULERS:
            raise ValueError(
                f"{scheduler} holds a {kind}; here there are {', '.join(SCHEDULERS)}: sample it "
                "with Diffusers, or with from_config of one of these"
            )
        return cls(UNet2DModel.from_pretrained(unet), SCHEDULERS[kind].from_pretrained(scheduler))


def _convert(images: torch.Tensor, output_type: OutputType) -> Any:
    """A tensor (b, c, h, w) in [0, 1] as what `output_type` names."""
    if output_type == "pt":
        return images
    array = images.permute(0, 2, 3, 1).float().cpu().numpy()  # (b, h, w, c)
    if output_type == "np":
        return array
    from PIL import Image

    pixels = (array * 255).round().astype("uint8")
    return [Image.fromarray(p.squeeze(-1) if p.shape[-1] == 1 else p) for p in pixels]
