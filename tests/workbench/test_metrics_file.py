"""`metrics.jsonl`: it only grows, and a mark tells whether what it held is still there."""

import json
from pathlib import Path

import pytest

from workbench.metrics_file import MetricsFile


def rows(count: int) -> list[dict[str, float]]:
    return [{"step": k, "loss": k / 3, "learning_rate": 1e-3} for k in range(count)]


def read(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_are_added(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "training" / "metrics.jsonl")
    assert file.add(rows(2)) == rows(2)
    before = file.path.read_bytes()
    assert file.add(rows(5)) == rows(5)[2:]
    assert file.path.read_bytes().startswith(before)
    assert read(file.path) == rows(5)


def test_what_a_killed_run_wrote_after_its_checkpoint_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    MetricsFile(path).add(rows(4))
    path.write_text(path.read_text() + '{"step": 4, "lo')
    file = MetricsFile(path)
    file.go_on(rows(3))
    changed = [*rows(3), {"step": 3, "loss": 9.0, "learning_rate": 1e-3}]
    file.add(changed)
    assert read(path) == changed


def test_a_file_that_begins_otherwise_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"loss":0.0,"step":0}\n')
    file = MetricsFile(path)
    file.go_on(rows(2))
    assert read(path) == rows(2)


def test_a_mark_tells_what_was_there(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.add(rows(2))
    mark, text = file.mark(), file.path.read_text()
    file.add(rows(3))
    assert MetricsFile(file.path).read(mark) == text
    file.path.write_text(text.replace("1", "2", 1))
    with pytest.raises(ValueError, match="is damaged: the checksum is another"):
        file.read(mark)
    file.path.write_text(text[:-1])
    with pytest.raises(ValueError, match=r"has \d+ bytes of \d+"):
        file.read(mark)
    file.path.unlink()
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        file.read(mark)
