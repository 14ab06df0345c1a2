"""The door of a scheduler: how its `step`, `add_noise` and `get_velocity` are called.

reading  what is known of the door: `Reading`, each fact with its evidence; the words that decide
names    what a name in a signature or a call stands for
signature
         the keywords that a signature names; the whole roles of a class's methods
roles    the role of a function alone
embedding
         which functions and classes embed a timestep, and how such a row is had
forward  which argument of a network is the picture, and which is t
source   how the candidate's own code calls its own methods
count    how many steps there are, and whether t counts from 0 or from 1
find     puts these together, and tries what can be called at all
handing  what is handed to the candidate, and what it hands back
"""
