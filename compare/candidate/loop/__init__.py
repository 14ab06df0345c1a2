"""What a loop was seen to do.

calls  how it is called: of which shape, t and model, found out by calling it
look   what its model is asked from call to call, and what comes out
"""
