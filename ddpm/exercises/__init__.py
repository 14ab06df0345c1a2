"""Exercises: the reader writes one formula of `scratch`, and hears how it is wrong.

An exercise names a function, the inputs to call it with, and the wrong answers that have names.
The files are those of `scratch` (`schedule`, `forward`, `reverse`, `ddim`, `noise`, `timesteps`,
`unet`): each has the exercises on that file's formulas, and says how a mistake of the catalogue
becomes a function with the signature of ours. `index` lists them all; `stubs` holds the empty
functions.

How an answer is judged, in `judge`: the reader's function and ours are called with the same inputs,
the first that can be checked by hand. The first difference is told as it stands; then each listed
mistake that gives the reader's values too is named. The answers are `scratch` itself, so they
cannot go stale. `command` is the verb `ddpm exercise`.
"""
