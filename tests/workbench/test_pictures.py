"""Which files of a folder are pictures, in which order, and what one of them gives."""

import os
import pickle
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workbench import pictures

RNG = np.random.default_rng(0)


@pytest.fixture
def levels() -> np.ndarray:
    return RNG.integers(0, 256, (4, 6, 3), dtype=np.uint8)


def chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")


def png(width: int, height: int, rows: bytes, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG as its standard says, also what PIL would not write."""
    header = b"".join(n.to_bytes(4, "big") for n in (width, height)) + bytes(
        [depth, colour, 0, 0, 0]
    )
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def read(path: Path, size: int | None = None) -> pictures.Seen:
    return pictures.read(pictures.Folder(path.parent, [path.name]), 0, size)


def test_names_are_in_the_order_of_paths(tmp_path: Path) -> None:
    """`a/z` before `a.b/a`, as `/` comes before all, and a name of other letters is kept."""
    names = ["a.b/a.png", "a/z.png", "a/é.PNG", "b/deep/er/1.webp", "b/x.jpeg", "ä/0.bmp"]
    for name in [*names, ".hidden/1.png", "a/.1.png", "a/notes.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    files, labels, classes = pictures.folder(tmp_path)
    found = [files.at(i) for i in range(len(files))]
    assert found == sorted(tmp_path / name for name in names)
    assert labels is not None
    assert [classes[label] for label in labels] == ["a", "a", "a.b", "b", "b", "ä"]
    assert pickle.loads(pickle.dumps(files)).name(1) == files.name(1)


def test_a_name_that_is_no_text_is_kept(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.png")
    files = pictures.Folder(tmp_path, [name, "b.png"])
    assert [files.at(i).name for i in range(2)] == [name, "b.png"]


def test_a_picture_is_given_as_it_is(tmp_path: Path, levels: np.ndarray) -> None:
    Image.fromarray(levels).save(tmp_path / "a.png")
    seen = read(tmp_path / "a.png")
    np.testing.assert_array_equal(seen.pixels, levels)
    assert (seen.problem, seen.deep, seen.moves) == ("", False, False)
    Image.fromarray(levels[..., 0]).save(tmp_path / "g.png")
    np.testing.assert_array_equal(read(tmp_path / "g.png").pixels, levels[..., :1])
    small = read(tmp_path / "a.png", size=2).pixels
    assert small is not None
    assert small.shape == (2, 2, 3)


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (6, 4)], ids=["RGB", "RGBA"])
def test_sixteen_bits_of_colour_are_seen(tmp_path: Path, colour: int, channels: int) -> None:
    """PIL takes the upper byte without a word."""
    values = np.full((2, 2, channels), 0xABCD, ">u2")
    if channels == 4:
        values[..., 3] = 0xFFFF
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    (tmp_path / "a.png").write_bytes(png(2, 2, rows, depth=16, colour=colour))
    seen = read(tmp_path / "a.png")
    assert seen.deep
    np.testing.assert_array_equal(seen.pixels, np.full((2, 2, 3), 0xAB))


def test_eight_bits_are_not_called_sixteen(tmp_path: Path) -> None:
    for suffix in ("png", "jpg", "bmp", "webp"):
        for side in (16, 116):  # a BMP says how long its rows are where a PNG says its depth
            Image.new("RGB", (side, side)).save(tmp_path / f"a.{suffix}")
            assert not read(tmp_path / f"a.{suffix}").deep


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_of_several_frames_the_first_is_taken_and_said(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("white", "black")]
    path = tmp_path / f"a.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    seen = read(path)
    assert seen.moves
    np.testing.assert_array_equal(seen.pixels, np.full((8, 8, 3), 255))


def test_a_picture_that_would_fill_the_memory_is_not_unpacked(tmp_path: Path) -> None:
    """12 kB that stand for 10 GB: its header is enough."""
    bomb = png(60_000, 60_000, bytes(10_000_000))
    (tmp_path / "a.png").write_bytes(bomb)
    assert len(bomb) < 20_000
    assert read(tmp_path / "a.png").problem == "it would unpack to more than 89,478,485 pixels"
    (tmp_path / "b.png").write_bytes(png(10_000, 10_000, bytes(1000)))  # PIL only warns of this
    assert read(tmp_path / "b.png").problem == "it would unpack to more than 89,478,485 pixels"


def broken(path: Path) -> Iterator[str]:
    """What each of some files is refused for."""
    path.write_bytes(b"no picture")
    yield "it may be cut short: cannot identify image file"
    path.write_bytes(png(4, 4, bytes(10)))
    yield "it may be cut short"
    Image.fromarray(np.full((2, 2), 40_000, np.uint16)).save(path)
    yield "it has pixels of mode I;16; expected 8 bits; convert it"


def test_what_cannot_be_read_is_told_and_not_raised(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for right in broken(path):
        seen = read(path)
        assert seen.pixels is None
        assert re.match(re.escape(right), seen.problem)
        assert "\n" not in seen.problem
    path.unlink()
    assert "No such file" in read(path).problem


def test_pictures_of_two_sizes_are_named() -> None:
    pictures.refuse_other_size("b.png", (4, 6), "a.png", (4, 6))
    with pytest.raises(ValueError, match=r"b\.png is 5x4, a\.png is 6x4; expected one size"):
        pictures.refuse_other_size("b.png", (4, 5), "a.png", (4, 6))
