"""Somebody else's code: loaded, built, called and remembered."""
