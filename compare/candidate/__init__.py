"""Somebody else's code: loaded, built, called and remembered.

load       a name becomes an object; `Adapter` is the door for code that is no scheduler class
surroundings
           what it finds around it while it runs, and we do not
shared_state
           torch's settings and functions, which it shares with us
interrupts a real Ctrl-C, told from an exception of its own
subject    a candidate: what it offers, its conventions, all its answers
door/      how it is called
text/      what is known of a file that is read and not run: what it offers, an adapter for it
devices    a GPU that it names is the CPU
scheduler  one scheduler that it built, called positionally
spy        the model that a loop or a loss is given, and exact denoisers
denoiser/  a network of its own: how it is asked, its weights lent, what happens inside
model/     how that model is called, what its answers are mixed to, and what errors cost
loss/      what a loss was seen to do
loop/      what a loop was seen to do
generators where it draws its numbers from
replay     the noise that it drew
from_oracle
           a candidate of ours, right or with one mistake
"""
