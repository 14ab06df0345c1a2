"""Somebody's own network: how it is called, what it is lent, what happens inside.

called    which of its arguments is the picture and which is t, by their names
denoiser  finds pictures that it takes, and asks it
lent      weights chosen for the purpose, given back afterwards
record    what each of its parts is given and makes
trace     where t and the picture meet, operation by operation
"""
