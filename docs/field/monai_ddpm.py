"""MONAI's DDPMScheduler, its words for the schedules put to the usual ones."""

import os
import sys

sys.path.insert(0, os.environ["FIELD_CHECKOUT"])
from monai.networks.schedulers import DDPMScheduler

WORDS = {
    "linear": "linear_beta",
    "scaled_linear": "scaled_linear_beta",
    "sigmoid": "sigmoid_beta",
    "squaredcos_cap_v2": "cosine",
}


class adapted(DDPMScheduler):
    """Betas have ends but for the cosine."""

    def __init__(
        self,
        num_train_timesteps=1000,
        beta_schedule="linear",
        beta_start=1e-4,
        beta_end=0.02,
        variance_type="fixed_small",
        prediction_type="epsilon",
        clip_sample=True,
    ):
        ends = {"beta_start": beta_start, "beta_end": beta_end}
        super().__init__(
            num_train_timesteps,
            WORDS[beta_schedule],
            variance_type,
            clip_sample,
            prediction_type,
            **(ends if beta_schedule != "squaredcos_cap_v2" else {}),
        )
