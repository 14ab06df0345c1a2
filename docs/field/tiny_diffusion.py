"""The scheduler of tanelp/tiny-diffusion, for points (b, d), as it is."""

import os
import runpy
import sys
from unittest.mock import MagicMock, patch

sys.path.insert(0, os.environ["FIELD_CHECKOUT"])
with patch.dict(sys.modules, {"datasets": MagicMock()}):
    adapted = runpy.run_path(f"{os.environ['FIELD_CHECKOUT']}/ddpm.py")["NoiseScheduler"]
