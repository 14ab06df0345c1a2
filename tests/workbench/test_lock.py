"""One writer: who comes second is told who is first, and a lock ends with its holder."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.lock import LOCK, one_writer


def test_a_second_one_is_refused_and_a_later_one_is_not(tmp_path: Path) -> None:
    with one_writer(tmp_path):
        told = rf"by process {os.getpid()} on {socket.gethostname()}; let it end, or choose another"
        with pytest.raises(ValueError, match=told), one_writer(tmp_path):
            pass
        with one_writer(tmp_path / "other"):
            pass
    assert (tmp_path / LOCK).read_text() == ""
    with one_writer(tmp_path):
        pass


def test_a_lock_ends_with_its_holder(tmp_path: Path) -> None:
    script = (
        "import os; from pathlib import Path; from workbench.lock import one_writer\n"
        f"with one_writer(Path({str(tmp_path)!r})): os._exit(7)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 7
    assert "process " in (tmp_path / LOCK).read_text()
    with one_writer(tmp_path):
        pass


def test_a_link_is_not_locked(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "training").mkdir()
    (tmp_path / LOCK).symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="lock"), one_writer(tmp_path):
        pass
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_folder_that_cannot_be_written_to_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not the file in it that nobody knows."""

    def refuse(*arguments: object) -> int:
        raise PermissionError(13, "Permission denied", str(arguments[0]))

    monkeypatch.setattr(os, "open", refuse)
    said = r"nothing can be written into .*run: Permission denied; make it writable"
    with pytest.raises(ValueError, match=said) as refused, one_writer(tmp_path / "run"):
        pass
    assert "lock" not in str(refused.value).replace(str(tmp_path), "")
