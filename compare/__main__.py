"""`python -m compare` is `ddpm compare`."""

import sys

from ddpm.cli import main

sys.exit(main(["compare", *sys.argv[1:]]))
