"""The digits in the file beside the code are scikit-learn's, and nothing else is in it."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from workbench.digits import FILE, read_digits, write_digits


def test_they_are_those_of_scikit_learn() -> None:
    theirs = pytest.importorskip("sklearn.datasets").load_digits()
    pixels, labels = read_digits()
    np.testing.assert_array_equal(pixels, theirs.images)
    np.testing.assert_array_equal(labels, theirs.target)
    assert (pixels.dtype, labels.dtype) == (np.uint8, np.int64)


def test_the_file_can_be_made_anew(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    write_digits(tmp_path / "new.npz")
    for made, kept in zip(read_digits(tmp_path / "new.npz"), read_digits(), strict=True):
        np.testing.assert_array_equal(made, kept)


def test_the_file_is_small_and_says_whose_it_is() -> None:
    assert FILE.stat().st_size < 50_000
    assert sorted(zipfile.ZipFile(FILE).namelist()) == ["images.npy", "labels.npy"]
    said = FILE.with_suffix(".LICENSE.txt").read_text(encoding="utf-8")
    for words in ("Alpaydin", "Creative Commons Attribution 4.0", "scikit-learn developers"):
        assert words in said
