"""From answers to numbers with a bound: what is looked at, and how far from right it may be.

check       a check, and how stages make one
values      numbers against numbers, elementwise
tolerances  every bound in one table, with its reason; float32 errors, propagated
law, noise  draws: statistics with a known rate of false alarms
probe, step what a reverse step is made of, by calling it; what an oracle expects of it
chains      whole chains, walked by the candidate's own step
loop_steps  the steps of a candidate's own loop
"""
