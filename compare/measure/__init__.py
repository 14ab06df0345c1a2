"""From answers to numbers with a bound: what is looked at, and how far from right it may be."""
