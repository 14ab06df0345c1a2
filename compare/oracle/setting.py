"""What is asked of a scheduler, and the precision in which the oracle answers."""

from dataclasses import dataclass, replace

import torch

F64 = torch.float64
UNIT = 2.0**-24  # half the distance between float32 neighbours, relative


@dataclass(frozen=True)
class Setting:
    """What a scheduler is asked to be, in Diffusers' words; `sampler` is one of `samplers.ALL`.

    `spare_beta` is read off a candidate's own table: its product holds it, before the beta of
    t = 0, though it is of no step, and `spare_removed` says whether the last step removes its noise
    too. What is right has none (mistake 1).
    """

    num_train_timesteps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02
    beta_schedule: str = "linear"
    trained_betas: tuple[float, ...] | None = None
    variance_type: str = "fixed_small"
    clip_sample: bool = False
    clip_sample_range: float = 1.0
    prediction_type: str = "epsilon"
    thresholding: bool = False
    dynamic_thresholding_ratio: float = 0.995
    sample_max_value: float = 1.0
    timestep_spacing: str = "leading"
    steps_offset: int = 0
    rescale_betas_zero_snr: bool = False
    set_alpha_to_one: bool = True
    sampler: str = "ddpm"
    eta: float = 0.0
    use_clipped_model_output: bool = False
    spare_beta: float | None = None
    spare_removed: bool = False

    @property
    def unlimited(self) -> "Setting":
        """The same, x0-hat left as it is."""
        return replace(self, clip_sample=False, thresholding=False)
