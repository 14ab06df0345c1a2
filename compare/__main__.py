"""`python -m compare` is `ddpm compare`."""

import sys

from compare.cli import add_arguments, main
from workbench.parser import Parser

parser = Parser(prog="ddpm compare", description="Which formula is wrong?")
add_arguments(parser)
sys.exit(main(parser.parse_args()))
