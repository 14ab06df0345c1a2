"""Fifty steps of both backends from one start on the same random numbers: the same weights."""
