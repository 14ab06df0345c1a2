"""The model that a loop or a loss is handed, in whatever way it is called.

call      which argument of a call is the picture, which is t, and what else was told
told      by which number it is told the time
output    an answer that may be read as a tensor, as `.sample`, as `["sample"]` or as `[0]`
guidance  two answers at one (x_t, t): the two numbers with which a loop mixes them
learned   a second half of the channels: the v of a learned variance, and its range
owner     whether a program keeps the model, or is handed it
network   one of a known answer, for code that holds its network
cost      how a loss counts errors, and times which number
"""
