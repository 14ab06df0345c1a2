"""The package that a file lies in, as its relative imports (`from .tables import betas`) say."""

import ast
from contextlib import suppress
from pathlib import Path


def package_of(file: Path, source: str) -> tuple[Path, str]:
    """The folder that holds the outermost package of a file, and the name of its module from there;
    its own folder and its stem if it imports nothing relatively.

    >>> package_of(Path("/project/lib/diffusion.py"), "from .tables import betas")
    (PosixPath('/project'), 'lib.diffusion')
    """
    folder, name = file.parent, file.stem
    for _ in range(_height(source)):
        folder, name = folder.parent, f"{folder.name}.{name}"
    while name != file.stem and (folder / "__init__.py").exists():
        folder, name = folder.parent, f"{folder.name}.{name}"
    return folder, name


def _height(source: str) -> int:
    """How many folders up a file's imports reach; 0 where it cannot be read: loading says why."""
    with suppress(SyntaxError, ValueError):
        nodes = ast.walk(ast.parse(source))
        return max((each.level for each in nodes if isinstance(each, ast.ImportFrom)), default=0)
    return 0
