"""What a program calls by words of its own: its network, and whatever its use alone explains."""
