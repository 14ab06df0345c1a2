"""What is judged, one stage a file, in the order in which a mistake of one spoils the next.

`stage.py` is the contract; `loop/` is the part of *sampling* that judges a loop of the candidate's
own, `loss/` a training loss, `network/` a network. `ALL` is the one list of stages.
"""

from compare.stages.embedding import EMBEDDING
from compare.stages.forward import FORWARD
from compare.stages.loss import LOSS
from compare.stages.mean import MEAN
from compare.stages.network import NETWORK
from compare.stages.prediction import PREDICTION
from compare.stages.sampling import SAMPLING
from compare.stages.schedule import SCHEDULE
from compare.stages.tables import OF_TABLES
from compare.stages.timesteps import TIMESTEPS
from compare.stages.variance import VARIANCE

ALL = (
    *(SCHEDULE, FORWARD, TIMESTEPS, PREDICTION, MEAN, VARIANCE, SAMPLING),
    *(LOSS, EMBEDDING, NETWORK, OF_TABLES),
)
BY_NAME = {stage.name: stage for stage in ALL}
