"""The scheduler of filipbasara0/simple-diffusion, its two private methods by their usual names."""

import os
import sys
from unittest.mock import MagicMock, patch

sys.path.insert(0, os.environ["FIELD_CHECKOUT"])
with patch.dict(sys.modules, {"torchvision": MagicMock()}):
    from simple_diffusion.scheduler import DDIMScheduler


class adapted(DDIMScheduler):
    """What `generate` calls."""

    set_timesteps = DDIMScheduler._set_timesteps
    step = DDIMScheduler._step
