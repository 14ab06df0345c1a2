"""One stage, one file: what it looks at, the right formula, its checks."""
