"""The sampling loop: Algorithm 2 of Ho et al. 2020 (arXiv:2006.11239)."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, overload

import torch

from scratch.compat import hub, not_built, saving, showing
from scratch.compat.pipeline_checks import check_request
from scratch.ddim import DDIMScheduler
from scratch.ddpm import DDPMScheduler
from scratch.noise import Generators, draw_noise
from scratch.scheduler import Scheduler
from scratch.unet import UNet2DModel

SCHEDULERS: dict[str, type[Scheduler]] = {
    "DDPMScheduler": DDPMScheduler,
    "DDIMScheduler": DDIMScheduler,
}
OutputType = Literal["pil", "np", "pt"]


class ImagePipelineOutput(NamedTuple):
    """What a pipeline returns.

    Attributes:
        images: a list of b PIL images, an array (b, h, w, c) float32, or a tensor (b, c, h, w) of
            the UNet's dtype; the last two in [0, 1].
    """

    images: Any


class DDPMPipeline:
    """A UNet and a scheduler that together draw pictures from noise.

    Args:
        unet: ours or Diffusers'; its config gives the size and the channels of a picture.
        scheduler: ours or Diffusers', DDPM or DDIM.

    >>> levels = dict(down_block_types=["DownBlock2D"], up_block_types=["UpBlock2D"])
    >>> unet = UNet2DModel(sample_size=8, **levels, block_out_channels=[8], norm_num_groups=2)
    >>> pipeline = DDPMPipeline(unet, DDPMScheduler(num_train_timesteps=500))
    >>> pipeline.set_progress_bar_config(disable=True)
    >>> pipeline(batch_size=3, num_inference_steps=2, output_type="np").images.shape
    (3, 8, 8, 3)
    """

    def __init__(self, unet: Any, scheduler: Any) -> None:
        self.unet = unet
        self.scheduler = scheduler
        self._progress_bar: dict[str, Any] = {}

    def __repr__(self) -> str:
        return showing.pipeline_line(self)

    if not TYPE_CHECKING:  # a checker would take it that every name is there
        __getattr__ = not_built.missing

    @property
    def device(self) -> torch.device:
        """Where the UNet's weights lie."""
        return self.unet.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the UNet's weights, in which x_t is kept."""
        return self.unet.dtype

    @overload
    def __call__(
        self,
        batch_size: int = ...,
        generator: Generators = ...,
        num_inference_steps: int = ...,
        output_type: OutputType = ...,
        return_dict: Literal[True] = ...,
    ) -> ImagePipelineOutput: ...
    @overload
    def __call__(
        self,
        batch_size: int = ...,
        generator: Generators = ...,
        num_inference_steps: int = ...,
        output_type: OutputType = ...,
        *,
        return_dict: Literal[False],
    ) -> tuple[Any]: ...
    @overload
    def __call__(
        self,
        batch_size: int = ...,
        generator: Generators = ...,
        num_inference_steps: int = ...,
        output_type: OutputType = ...,
        return_dict: bool = ...,
    ) -> ImagePipelineOutput | tuple[Any]: ...

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
            generator: where x_T and the noise of each step come from: one, or one for each picture.
            num_inference_steps: n in 1..T.
            output_type: `pil`, `np` or `pt`; see `ImagePipelineOutput`.
            return_dict: False returns the tuple (images,).

        Raises:
            ValueError: b or n is out of range, `output_type` is unknown, or the UNet's config does
                not give the size of a picture, or one that PIL cannot show.
        """
        b = check_request(batch_size, output_type, OutputType, self.unet.config)
        self.scheduler.set_timesteps(num_inference_steps)
        training = [module for module in self.unet.modules() if module.training]
        self.unet.eval()
        try:
            images = self._sample(b, generator)
        finally:
            for module in training:
                module.training = True
        output = _convert((images / 2 + 0.5).clamp(0, 1), output_type)  # [-1, 1] -> [0, 1]
        return ImagePipelineOutput(output) if return_dict else (output,)

    @torch.no_grad()
    def _sample(self, b: int, generator: Generators) -> torch.Tensor:
        from tqdm.auto import tqdm

        unet, scheduler, config = self.unet, self.scheduler, self.unet.config
        size = config.sample_size
        h, w = (size, size) if isinstance(size, int) else size
        shape = (b, config.in_channels, h, w)
        # region: sample
        x = draw_noise(shape, generator, unet.device, unet.dtype)  # x_T
        for t in tqdm(scheduler.timesteps, **self._progress_bar):
            output = unet(x, t).sample
            step = scheduler.step(output, t, x, generator=generator)
            x = step.prev_sample
        # endregion: sample
        return x

    def to(self, device: str | torch.device) -> Self:
        """Move the UNet; returns the pipeline."""
        self.unet.to(device)
        return self

    def set_progress_bar_config(self, **options: Any) -> None:
        """Options for tqdm, such as `disable=True`."""
        self._progress_bar = options

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        *,
        push_to_hub: bool = False,
        repo_id: str | None = None,
    ) -> None:
        """Write a folder that Diffusers' `DDPMPipeline.from_pretrained` reads too.

        Args:
            save_directory: the folder.
            push_to_hub: also into a repository on the Hub.
            repo_id: its name; None for that of the folder.
        """
        saving.save_pipeline(self, save_directory)
        if push_to_hub:
            self.push_to_hub(repo_id or Path(save_directory).name)

    def push_to_hub(
        self,
        repo_id: str,
        commit_message: str | None = None,
        private: bool | None = None,
        token: str | None = None,
    ) -> str:
        """`save_pretrained` into a repository on the Hub: `scratch.compat.hub.push`."""
        return hub.push(self.save_pretrained, repo_id, commit_message, private, token)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        torch_dtype: torch.dtype | None = None,
    ) -> Self:
        """A pipeline from a folder, ours or Diffusers', or from a Hub repository by name.

        Args:
            pretrained_model_name_or_path: the folder or the repository.
            torch_dtype: float dtype of the weights; None for float32, what is computed in here.

        Raises:
            ValueError: a file is missing, cannot be read, or holds something else, or the dtype is
                no float.
        """
        unet, scheduler, kind = saving.pipeline_parts(
            pretrained_model_name_or_path, tuple(SCHEDULERS)
        )
        network = UNet2DModel.from_pretrained(unet, torch_dtype=torch_dtype)
        return cls(network, SCHEDULERS[kind].from_pretrained(scheduler))


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
