"""The samplers of the oracle, a file each, as in `scratch`; `sampler.py` is the contract."""

from compare.oracle.samplers.ddim import DDIM
from compare.oracle.samplers.ddpm import DDPM
from compare.oracle.samplers.sampler import Sampler

ALL: tuple[Sampler, ...] = (DDPM(), DDIM())
BY_NAME = {sampler.name: sampler for sampler in ALL}
