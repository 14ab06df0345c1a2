"""Somebody else's scheduler, loop or network put to use, called as the judge calls it.

read           how it is called, as it is read before a verdict; what cannot be used is refused
own_scheduler  one that trains and draws, with the face of a backend's
own_loop       a whole loop that draws by itself
own_unet       a network of one's own with the face of a backend's
warning        what `compare` finds wrong with it, in a line

Their code runs in this process, on the CPU but for a network's.
"""
