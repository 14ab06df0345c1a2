"""Files: whole or as they were, and refused before the work that fills them."""

import json
import tempfile
from pathlib import Path

import pytest

from workbench import files


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.json"
    files.write_json(path, {"x": 1})

    def fail(temporary: Path) -> None:
        temporary.write_text("half of")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        files.write_whole(path, fail)
    assert json.loads(path.read_text()) == {"x": 1}
    assert list(path.parent.iterdir()) == [path]  # nothing is left behind


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    """Who has the old file open reads it to its end: the new one takes its name, not its place."""
    path = tmp_path / "a.json"
    files.write_json(path, ["old"])
    with path.open() as reader:
        files.write_json(path, ["new"])
        assert json.load(reader) == ["old"]
    assert json.loads(path.read_text()) == ["new"]


def test_a_folder_is_filled_file_by_file(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "unet"

    def fill(temporary: Path) -> None:
        (temporary / "config.json").write_text("{}")

    files.write_folder(folder, fill)
    (folder / "notes.txt").write_text("mine")
    files.write_folder(folder, fill)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "notes.txt"]

    def fail(temporary: Path) -> None:
        fill(temporary)
        (temporary / "config.json").write_text("half of")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        files.write_folder(folder, fail)
    assert (folder / "config.json").read_text() == "{}"
    assert list(folder.parent.iterdir()) == [folder]


def test_a_new_file_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept.PNG"
    kept.write_text("mine")
    assert files.new_file(tmp_path / "a" / "b.png", force=False, suffixes=(".png",))
    assert files.new_file(str(kept), force=True, suffixes=(".png",)) == kept
    assert files.new_file(tmp_path / "any", force=False) == tmp_path / "any"
    for name, says in {
        "a.txt": r"a\.txt ends in \.txt; expected \.png, \.svg",
        "a": "ends in nothing; expected",
        "kept.PNG": "exists; it is kept unless you add --force",
        "kept.PNG/a.png": "cannot be made, as .* is a file; choose another name",
    }.items():
        with pytest.raises(ValueError, match=says):
            files.new_file(tmp_path / name, force=False, suffixes=(".png", ".svg"))
    with pytest.raises(ValueError, match="is a folder; give the name of a file"):
        files.new_file(tmp_path, force=True)

    def full(**options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(OSError, match="No space left on device"):
        files.check_place(tmp_path / "run")
    assert list(tmp_path.iterdir()) == [kept]
