"""The loop of LudoRey/minDiffusion in 100 of its 1000 steps."""

from ludorey import adapted as whole
from ludorey import sample

from compare import Adapter

adapted = Adapter(alpha_bar=whole.alpha_bar, sample=lambda model, shape: sample(model, shape, 100))
