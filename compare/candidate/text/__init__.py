"""What is known of somebody's file from its text alone: read, and never run.

offered  what could be judged in it
listed   the same in lines
found    a class or the functions of it, with what they hold
chosen   which of them fills which role
adapt    an `Adapter` for it, to be edited
ready    that adapter put to use, where it needs no edit
later    what no role holds yet, and what can be judged instead
handed   what a class of it is built with and a function called with, in words of that adapter
sizes    what `size` or `shape` says of pictures
does     whether a function is a loop or a loss, by what it does
"""
