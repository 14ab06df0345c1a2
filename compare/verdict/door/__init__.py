"""What values say of a candidate's door, where its names, lists and calls are silent.

rivals    the readings that are left open, judged one after another, the contract's first
respaced  whether the levels of kept steps, and what a model is told, are those of its own list
"""
