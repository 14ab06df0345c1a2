"""Mistakes in the tables that are derived from betas beforehand (the role `tables`).

`levels.py` has those of alpha-bar and alpha, `posterior.py` those of the posterior. An entry is the
wrong formula of one table, by `wrong`; a step or a loss that uses it is wrong as well, and is named
by the entry of the same number.
"""

from collections.abc import Callable
from typing import Any

from compare.mistakes.entry import Mistake, entry


def wrong(id: str, *tables: str, **more: Any) -> Callable[[Callable[..., Any]], Mistake]:
    """Makes the function below it, of `Steps`, a mistake in a table.

    Args:
        id: as in `Mistake`.
        tables: the oracle's name of the table; of several, the function returns one for each.
        more: as in `entry`.
    """

    def made(function: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
        if len(tables) == 1:
            return {tables[0]: function}
        return {name: lambda at, i=i: function(at)[i] for i, name in enumerate(tables)}

    right = f"compare.oracle.tables:{tables[0]}"
    return entry(id, "tables", stage="tables", only="tables", made=made, right=right, **more)
