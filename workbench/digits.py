"""The digits: 1,797 grey pictures of 8x8, each with its label, in one file beside this one.

The file holds what scikit-learn's `load_digits` gives; `python -m workbench.digits` makes it anew
where scikit-learn is installed. Whose the pictures are: `digits.LICENSE.txt`.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FILE = Path(__file__).with_name("digits.npz")
LEVELS = 16
"""White; 0 is black."""


def read_digits(path: Path = FILE) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The pictures and what is written on them.

    Args:
        path: the file.

    Returns:
        pixels: (1797, 8, 8) uint8 in 0..`LEVELS`.
        labels: (1797,) int64 in 0..9.

    Raises:
        OSError: the file is gone.

    Source: Alpaydin & Kaynak (1998), Optical Recognition of Handwritten Digits, its test set.

    >>> pixels, labels = read_digits()
    >>> pixels.shape, labels[:4].tolist()
    ((1797, 8, 8), [0, 1, 2, 3])
    """
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["images"], arrays["labels"].astype(np.int64)


def write_digits(path: Path = FILE) -> None:
    """Make the file from scikit-learn's copy.

    Args:
        path: where to; what is there is replaced.
    """
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    from workbench.files import write_whole

    digits = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target.astype(np.uint8)
    write_whole(path, lambda beside: np.savez_compressed(beside, images=images, labels=labels))


if __name__ == "__main__":
    write_digits()
