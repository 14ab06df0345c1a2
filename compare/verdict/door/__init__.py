"""What values say of a candidate's door, where its names, lists and calls are silent.

rivals  the readings that are left open, judged one after another, the contract's first
"""
