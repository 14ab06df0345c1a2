"""DDPM in plain PyTorch, every line of it.

Read it in this order, the paper beside you (Ho et al. 2020, arXiv:2006.11239). The first ten
minutes:

1. `scratch/schedule.py`: how fast the noise grows (Section 2).
2. `scratch/forward.py`: from an image to noise, in one jump (equation 4).
3. `scratch/reverse.py`: from noise back to an image, one step at a time (equations 7, 11, 15).
4. `docs/examples/train_scratch.py`: both put to work in thirty lines (Algorithms 1 and 2).

The first hour:

5. `scratch/timesteps.py`: which timesteps a shorter chain visits.
6. `scratch/scheduler.py`: the tables of a schedule, and what a scheduler refuses
   (`scratch/scheduler_checks.py`).
7. `scratch/ddpm.py`: `step`, built from the formulas, with `scratch/prediction.py` (what the
   network's output means) and `scratch/noise.py` (who draws).
8. `scratch/ddim.py`: the other reverse step.
9. `scratch/unet.py`: the network (Appendix B); its checks are in `scratch/unet_checks.py`.
10. `scratch/pipeline.py`: the sampling loop (Algorithm 2).
11. `scratch/config.py` and `scratch/saving.py`: configs and folders that Diffusers reads too.
12. `compare/oracle/__init__.py`: the same formulas a third time, as the judge.
"""

from scratch.ddim import DDIMScheduler
from scratch.ddpm import DDPMScheduler
from scratch.gaps import chain_problem, config_problem
from scratch.pipeline import DDPMPipeline
from scratch.unet import UNet2DModel

__all__ = [
    "DDIMScheduler",
    "DDPMPipeline",
    "DDPMScheduler",
    "UNet2DModel",
    "chain_problem",
    "config_problem",
]
