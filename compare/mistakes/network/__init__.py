"""Mistakes of networks: their blocks (`unet.py`) and their embedding of t (`embedding.py`)."""
