"""Somebody's own network: what it is asked, what it is lent, what happens inside.

denoiser  finds pictures that it takes, and asks it
lent      weights chosen for the purpose, given back afterwards
record    what each of its parts is given and makes
softmax   over which axis a softmax runs, and over which its result is summed
trace     where t and the picture meet, operation by operation
"""
