"""Checksums: what is not as it was is refused, and JSON knows its own."""

from pathlib import Path

import pytest

from workbench.checksums import mark, read_signed, refuse_other, write_signed


def test_a_file_that_is_not_what_it_was(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"abcd")
    said = mark(path)
    refuse_other(path, said)
    path.write_bytes(b"abce")
    with pytest.raises(ValueError, match="its weights is damaged: the checksum is another"):
        refuse_other(path, said)
    path.write_bytes(b"abc")
    with pytest.raises(ValueError, match="its weights has 3 bytes of 4"):
        refuse_other(path, said)
    path.unlink()
    with pytest.raises(ValueError, match="its weights cannot be read: No such file"):
        refuse_other(path, said)


def test_signed_json_notices_every_flipped_bit(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    content = {"step": 3, "rate": 1e-3, "names": ["a", None]}
    write_signed(path, content)
    assert read_signed(path) == content
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        with pytest.raises(ValueError, match=r"its list\.json is (missing or )?damaged"):
            read_signed(path)
    path.unlink()
    with pytest.raises(ValueError, match=r"its list\.json is missing or damaged"):
        read_signed(path)
