"""Data sets by the names that people know, and any of the Hugging Face Hub, by its `datasets`.

It fetches a data set once and keeps it on the disk as Arrow files, which are mapped. It is an extra
that one installs for it; nothing of a data set is run as code.
"""

import logging
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench import readers

KNOWN = {
    "mnist": "ylecun/mnist",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
    "cifar10": "uoft-cs/cifar10",
}
"""Names that need no address."""

PREFIX = "hub:"
SPLIT = "train"


class Rows:
    """The pictures of a table, by the number of their row.

    Args:
        table: of `datasets`, its pictures not unpacked.
        column: where they are.
        name: of the data set.
    """

    def __init__(self, table: Any, column: str, name: str) -> None:
        self._table, self._column, self._name = table, column, name

    def __len__(self) -> int:
        return len(self._table)

    def name(self, i: int) -> str:
        """The data set and the row."""
        return f"picture {i} of {self._name}"

    def at(self, i: int) -> Path | BytesIO:
        """The bytes of the picture in row i, or the file that they lie in.

        Raises:
            ValueError: the row has none.
        """
        found = self._table[i][self._column] or {}
        if found.get("bytes") is not None:
            return BytesIO(found["bytes"])
        if found.get("path"):
            return Path(found["path"])
        raise ValueError("the row is empty")


def is_name(text: str) -> bool:
    """Whether it names a data set of the Hub.

    >>> is_name("mnist"), is_name("hub:user/name"), is_name("pictures/")
    (True, True, False)
    """
    return text in KNOWN or text.startswith(PREFIX)


def pictures(
    name: str, progress: bool = False
) -> tuple[Rows, NDArray[np.int64] | None, tuple[str, ...]]:
    """The pictures of a data set's split `train`, fetched if they are not here.

    Args:
        name: `mnist`, `fashion-mnist`, `cifar10`, or `hub:user/name`.
        progress: whether the library shows its bars.

    Returns:
        the pictures; labels (n,) int64 or None; the names of the classes.

    Raises:
        ValueError: the library is not installed, the data set cannot be had, or it holds no
            pictures; one line.
    """
    datasets = _library(name)
    table = _fetched(datasets, name, progress)
    columns = [key for key, kind in table.features.items() if isinstance(kind, datasets.Image)]
    if not columns:
        raise ValueError(f"{name} has no column of pictures; it has {', '.join(table.features)}")
    rows = Rows(table.cast_column(columns[0], datasets.Image(decode=False)), columns[0], name)
    classes = [key for key, kind in table.features.items() if isinstance(kind, datasets.ClassLabel)]
    label = "label" if "label" in classes else classes[0] if len(classes) == 1 else None
    if label is None:
        return rows, None, ()
    numbers = table.with_format("numpy", columns=[label])[:][label]
    labels, _ = readers.checked_labels(name, np.asarray(numbers), len(table))
    return rows, labels, tuple(table.features[label].names)


def _library(name: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise ValueError(
            f"{name!r} comes by the library datasets, which is not installed: pip install datasets"
        ) from None
    return datasets


def _fetched(datasets: Any, name: str, progress: bool) -> Any:
    """The table of a data set, by the library's own cache or by the network."""
    address = KNOWN.get(name, name.removeprefix(PREFIX))
    quiet = progress and sys.stderr is not None and sys.stderr.isatty()
    (datasets.enable_progress_bars if quiet else datasets.disable_progress_bars)()
    client = logging.getLogger("huggingface_hub")
    level = client.level
    client.setLevel(logging.ERROR)  # of each try without a network it has two lines to say
    try:
        return datasets.load_dataset(address, split=SPLIT)
    except Exception as error:  # the library, the Hub's client and the network have one each
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{name!r} cannot be had from the Hub as {address}, split {SPLIT}: {reason[:200]}; "
            "the first time it needs the network"
        ) from None
    finally:
        client.setLevel(level)
