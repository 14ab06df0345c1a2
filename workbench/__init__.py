"""Everything that is not the model: data, trainer, run folders, plots, command line.

Nothing here knows which backend it runs; `workbench.backends.load` is the only door.
"""
