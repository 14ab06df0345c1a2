"""`python -m compare` is `ddpm compare`."""

import argparse
import sys

from compare.cli import add_arguments, main

parser = argparse.ArgumentParser(prog="python -m compare", description="Which formula is wrong?")
add_arguments(parser)
sys.exit(main(parser.parse_args()))
