"""What a type checker reads of this package: the library's classes, as they answer.

Diffusers says of a call that it returns an output *or* a tuple, and in its `__init__` a checker
finds the classes that stand in where torch is missing. Here each call says what `return_dict` makes
of it (`tests/typing` has the check). A constructor takes what the installed version takes.
"""

from typing import Any, Literal, overload

import torch
from diffusers.models.unets.unet_2d import UNet2DModel as _UNet2DModel
from diffusers.models.unets.unet_2d import UNet2DOutput
from diffusers.pipelines.ddpm.pipeline_ddpm import DDPMPipeline as _DDPMPipeline
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput
from diffusers.schedulers.scheduling_ddim import DDIMScheduler as _DDIMScheduler
from diffusers.schedulers.scheduling_ddim import DDIMSchedulerOutput
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler as _DDPMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMSchedulerOutput

from with_diffusers.gaps import chain_problem as chain_problem
from with_diffusers.gaps import config_problem as config_problem

_Generators = torch.Generator | list[torch.Generator] | None

class DDPMScheduler(_DDPMScheduler):
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    def add_noise(
        self, original_samples: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor: ...
    def get_velocity(
        self, sample: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor: ...
    @overload
    def step(
        self,
        model_output: torch.Tensor,
        timestep: int | torch.Tensor,
        sample: torch.Tensor,
        generator: _Generators = ...,
        return_dict: Literal[True] = ...,
    ) -> DDPMSchedulerOutput: ...
    @overload
    def step(
        self,
        model_output: torch.Tensor,
        timestep: int | torch.Tensor,
        sample: torch.Tensor,
        generator: _Generators = ...,
        *,
        return_dict: Literal[False],
    ) -> tuple[torch.Tensor, torch.Tensor]: ...
    @overload
    def step(
        self,
        model_output: torch.Tensor,
        timestep: int | torch.Tensor,
        sample: torch.Tensor,
        generator: _Generators = ...,
        return_dict: bool = ...,
    ) -> DDPMSchedulerOutput | tuple[torch.Tensor, torch.Tensor]: ...

class DDIMScheduler(_DDIMScheduler):
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    def add_noise(
        self, original_samples: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor: ...
    def get_velocity(
        self, sample: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor: ...
    @overload
    def step(
        self,
        model_output: torch.Tensor,
        timestep: int | torch.Tensor,
        sample: torch.Tensor,
        eta: float = ...,
        use_clipped_model_output: bool = ...,
        generator: _Generators = ...,
        variance_noise: torch.Tensor | None = ...,
        return_dict: Literal[True] = ...,
    ) -> DDIMSchedulerOutput: ...
    @overload
    def step(
        self,
        model_output: torch.Tensor,
        timestep: int | torch.Tensor,
        sample: torch.Tensor,
        eta: float = ...,
        use_clipped_model_output: bool = ...,
        generator: _Generators = ...,
        variance_noise: torch.Tensor | None = ...,
        *,
        return_dict: Literal[False],
    ) -> tuple[torch.Tensor, torch.Tensor]: ...
    @overload
    def step(
        self,
        model_output: torch.Tensor,
        timestep: int | torch.Tensor,
        sample: torch.Tensor,
        eta: float = ...,
        use_clipped_model_output: bool = ...,
        generator: _Generators = ...,
        variance_noise: torch.Tensor | None = ...,
        return_dict: bool = ...,
    ) -> DDIMSchedulerOutput | tuple[torch.Tensor, torch.Tensor]: ...

class UNet2DModel(_UNet2DModel):
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    @overload
    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor | float,
        class_labels: torch.Tensor | None = ...,
        return_dict: Literal[True] = ...,
    ) -> UNet2DOutput: ...
    @overload
    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor | float,
        class_labels: torch.Tensor | None = ...,
        *,
        return_dict: Literal[False],
    ) -> tuple[torch.Tensor]: ...
    @overload
    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor | float,
        class_labels: torch.Tensor | None = ...,
        return_dict: bool = ...,
    ) -> UNet2DOutput | tuple[torch.Tensor]: ...

    __call__ = forward

class DDPMPipeline(_DDPMPipeline):
    def __init__(self, unet: Any, scheduler: Any) -> None: ...
    def set_progress_bar_config(self, **options: Any) -> None: ...
    @overload
    def __call__(
        self,
        batch_size: int = ...,
        generator: _Generators = ...,
        num_inference_steps: int = ...,
        output_type: str | None = ...,
        return_dict: Literal[True] = ...,
    ) -> ImagePipelineOutput: ...
    @overload
    def __call__(
        self,
        batch_size: int = ...,
        generator: _Generators = ...,
        num_inference_steps: int = ...,
        output_type: str | None = ...,
        *,
        return_dict: Literal[False],
    ) -> tuple[Any]: ...
    @overload
    def __call__(
        self,
        batch_size: int = ...,
        generator: _Generators = ...,
        num_inference_steps: int = ...,
        output_type: str | None = ...,
        return_dict: bool = ...,
    ) -> ImagePipelineOutput | tuple[Any]: ...
