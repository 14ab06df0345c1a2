"""DDPM in plain PyTorch, every line of it.

Read it in this order, the paper beside you (Ho et al. 2020, arXiv:2006.11239). The first ten
minutes:

1. `scratch/schedule.py`: how fast the noise grows (Section 2).
2. `scratch/forward.py`: from an image to noise, in one jump (equation 4).
3. `scratch/reverse.py`: from noise back to an image, one step at a time (equations 7, 11, 15).
4. `docs/examples/train_scratch.py`: both put to work in thirty lines (Algorithms 1 and 2).

The first hour:

5. `scratch/timesteps.py`: which timesteps a shorter chain visits.
6. `scratch/scheduler.py`: the tables of a schedule, and what both samplers share.
7. `scratch/ddpm.py`: `step`, built from the formulas, with `scratch/prediction.py` (what the
   network's output means) and `scratch/noise.py` (who draws).
8. `scratch/ddim.py`: the other reverse step.
9. `scratch/unet.py`: the network (Appendix B).
10. `scratch/pipeline.py`: the sampling loop (Algorithm 2).

When you need it:

11. `scratch/compat/__init__.py`: what makes these files a drop-in for Diffusers: configs, checks of
    arguments, folders. No step of DDPM is in there.
12. `compare/oracle/__init__.py`: the same formulas a third time, as the judge.
"""

from scratch.compat.gaps import chain_problem, config_problem
from scratch.ddim import DDIMScheduler
from scratch.ddpm import DDPMScheduler
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
