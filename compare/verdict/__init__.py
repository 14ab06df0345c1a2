"""From checks to a verdict.

judge        one comparison from candidate to report
staged       the stages of one subject, read in order
beside       both backends in the stages that judge a candidate
conventions/ what a candidate does without naming it
door/        readings of how it is called that names leave open
elsewhere    what can be judged meanwhile, in a process of its own
diagnose     failing checks become the name of the formula that is wrong
nearest      a hint, where no mistake fits exactly
diffusers    where Diffusers is wrong: findings with a command, a value and an effect
report, page, curves
             what is said, printed, written as JSON and drawn
"""
