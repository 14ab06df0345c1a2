"""`python -m workbench`: what is here, and the command line that uses it.

`python -m workbench train ...` is `ddpm train ...`, for launchers that start a module by name.
"""

import ast
import sys
from importlib.metadata import version
from pathlib import Path

from ddpm_side_by_side import main
from workbench.parser import Parser

HERE = Path(__file__).parent
LIBRARIES = ("torch", "diffusers", "numpy")


def overview() -> str:
    """Each module with the first line of its docstring, read without importing it."""
    lines = [_first_line(HERE / "__init__.py"), ""]
    for path in sorted(HERE.glob("*.py")):
        if not path.name.startswith("__"):
            lines.append(f"  workbench.{path.stem:14} {_first_line(path)}")
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return "\n".join(
        [
            *lines,
            "",
            f"With {versions}.",
            "The command line that trains, samples and plots: `ddpm --help`, or `python -m ddpm`.",
            "Both backends timed in turns: `python -m workbench.bench`.",
            "In two processes: `torchrun --nproc-per-node 2 -m workbench train ...`.",
        ]
    )


def _first_line(path: Path) -> str:
    words = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return words.split("\n")[0]


if __name__ == "__main__":
    if sys.argv[1:2] == ["train"]:
        sys.exit(main(sys.argv[1:]))
    Parser(prog="python -m workbench", description="What is here.").parse_args()
    print(overview())
