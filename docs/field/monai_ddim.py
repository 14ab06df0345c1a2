"""MONAI's DDIMScheduler as it is, with its linear betas."""

import os
import sys

sys.path.insert(0, os.environ["FIELD_CHECKOUT"])
from monai.networks.schedulers import DDIMScheduler as adapted  # noqa: F401
