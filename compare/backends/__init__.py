"""Both backends without a candidate: networks block by block, training, the organ swap.

`ALL` are the stages, as in `compare.stages`, that a scheduler alone does not have.
"""

from compare.backends.network import UNET
from compare.backends.organ_swap import PIPELINE
from compare.backends.training import TRAINING

ALL = (UNET, TRAINING, PIPELINE)
