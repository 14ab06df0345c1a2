"""What values say of a candidate's door, where its names, lists and calls are silent.

rivals     the readings that are left open, judged one after another, the contract's first
two_kinds  a loss that trains on one thing, and a loop that takes the answer for another
means      a model that predicts the mean of x_prev
unknown    a table that nobody shows, a time from 0 to 1, another embedding, t counted apart
respaced   whether the levels of kept steps, and what a model is told, are those of its own list
"""
