"""Two U-Nets with the same weights, block by block: which block departs first, and why."""
