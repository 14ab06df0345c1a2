"""The samplers of the oracle, a file each, as in `scratch`; `sampler.py` is the contract."""

from compare.oracle.samplers.ddim import DDIM
from compare.oracle.samplers.ddpm import DDPM
from compare.oracle.samplers.dpm_solver import DPMSolver
from compare.oracle.samplers.sampler import Sampler
from compare.oracle.setting import Setting

ALL: tuple[Sampler, ...] = (DDPM(), DDIM(), DPMSolver())
BY_NAME = {sampler.name: sampler for sampler in ALL}


def free(setting: Setting) -> list[Sampler]:
    """The samplers whose noise may have any size."""
    return [sampler for sampler in ALL if sampler.louder(setting, 1.0) is not None]


def noisy(setting: Setting) -> list[Setting]:
    """The settings of every sampler whose noise has one size, or one of a few."""
    return [kind for sampler in ALL for kind in sampler.noisy(setting)]


def silent(setting: Setting) -> list[Setting]:
    """The settings of every sampler that has one without noise."""
    found = (sampler.louder(setting, 0.0) for sampler in ALL)
    return [setting for setting in found if setting is not None]
