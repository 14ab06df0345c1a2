"""What `size`, `image_size` or `shape` says of pictures: one number, or which axes of (b, c, h, w).

What the code does with it decides, then its default, then its name.
"""

import ast
from collections.abc import Iterator
from typing import Any

from compare.candidate.door.names import GENERATORS

SIDE, SIDES, IMAGE, SHAPE = "side", "sides", "image", "shape"  # h = w; (h, w); (c, h, w); with b
COUNT = "count"  # b alone
BY_LENGTH = {2: SIDES, 3: IMAGE, 4: SHAPE}
DRAWS = ("randn", "rand", "zeros", "ones", "empty", "normal", "standard_normal", "full")


def meant(name: str, default: Any, source: ast.AST | None, usual: str) -> str:
    """Which of these a parameter is.

    Args:
        name: of the parameter.
        default: its value; None for none.
        source: of the function; None where it cannot be read.
        usual: what it is if nothing says it.

    >>> meant("size", None, ast.parse("torch.randn(n, *size)"), SIDE)
    'image'
    >>> meant("size", None, ast.parse("torch.randn(n, 3, size, size)"), IMAGE)
    'side'
    >>> meant("shape", None, ast.parse("normal(shape, rng)"), SHAPE)
    'shape'
    >>> meant("size", (3, 16, 16), None, SIDE), meant("shape", None, None, SHAPE)
    ('image', 'shape')
    """
    found = next(_uses(name, source), None) if source is not None else None
    if found is None and isinstance(default, int):
        return SIDE
    if found is None and isinstance(default, tuple | list):
        return BY_LENGTH.get(len(default), usual)
    return found or usual


def _uses(name: str, source: ast.AST) -> Iterator[str]:
    for node in ast.walk(source):
        if isinstance(node, ast.Call | ast.Tuple | ast.List):
            yield from _in_a_row(name, node)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            before = node.left.elts if isinstance(node.left, ast.Tuple | ast.List) else []
            if before and _is(node.right, name):
                yield _after(len(before))
        elif isinstance(node, ast.Assign) and _is(node.value, name):
            axes = node.targets[0].elts if isinstance(node.targets[0], ast.Tuple) else []
            yield from [BY_LENGTH[len(axes)]] if len(axes) in BY_LENGTH else []


def _in_a_row(name: str, node: ast.Call | ast.Tuple | ast.List) -> Iterator[str]:
    """Of `randn(n, *size)`, `(n, c, size, size)`, `randn(shape)`."""
    row = node.args if isinstance(node, ast.Call) else node.elts
    row = [each for each in row if getattr(each, "id", "") not in GENERATORS]
    starred = [i for i, e in enumerate(row) if isinstance(e, ast.Starred) and _is(e.value, name)]
    plain = [i for i, each in enumerate(row) if _is(each, name)]
    if starred:
        yield _after(starred[0])
    elif len(plain) > 1:
        yield SIDE
    elif plain == [0] and (_draws(node) or len(row) == 4):
        yield SHAPE if len(row) == 1 else COUNT


def _draws(node: ast.AST) -> bool:
    function = node.func if isinstance(node, ast.Call) else None
    return getattr(function, "attr", getattr(function, "id", "")) in DRAWS


def _after(axes: int) -> str:
    """What stands behind so many axes of a batch."""
    return (SHAPE, IMAGE, SIDES)[min(axes, 2)]


def _is(node: ast.expr, name: str) -> bool:
    """True for the parameter, as it is or as `tuple(size)`."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("tuple", "list"):
        return len(node.args) == 1 and _is(node.args[0], name)
    return isinstance(node, ast.Name) and node.id == name
