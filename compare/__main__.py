"""`python -m compare` is `ddpm compare`."""

import sys

from compare.cli import add_arguments, main
from workbench.parser import Parser
from workbench.pipes import until_closed

parser = Parser(prog="ddpm compare", description="Which formula is wrong?")
add_arguments(parser)
sys.exit(until_closed(lambda: main(parser.parse_args())))
