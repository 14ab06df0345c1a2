"""The benchmark times what it says it times, and prints its table."""

import re
import time

import pytest

from workbench import bench


@pytest.mark.parametrize(("label", "make", "repeat"), bench.PARTS, ids=lambda part: str(part)[:20])
def test_each_part_runs_by_both_backends(
    label: str, make: bench.Callable, repeat: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "BATCH", 2)
    times = bench.measure(make, 1, rounds=2)
    assert times.keys() == {"scratch", "diffusers"}
    assert all(len(each) == 2 and min(each) > 0 for each in times.values())
    assert repeat >= 1


def test_times_are_per_piece_and_the_order_alternates() -> None:
    done = []

    def make(backend: str) -> bench.Work:
        def work() -> None:
            done.append(backend)
            time.sleep(0.01 if backend == "scratch" else 0.002)

        return work

    times = bench.measure(make, 2, rounds=4)
    assert min(times["scratch"]) >= 0.01
    assert min(times["diffusers"]) >= 0.002
    turns = done[2::2]  # after one of each to warm up, pairs
    assert turns == ["diffusers", "scratch", "scratch", "diffusers"] * 2


def test_the_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Times that are given: twice as long, with one round that something else disturbed."""
    given = {"scratch": [0.004, 0.004, 0.4, 0.004], "diffusers": [0.002] * 4}
    monkeypatch.setattr(bench, "measure", lambda make, repeat, rounds: given)
    bench.main(rounds=4)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(bench.PARTS)
    for (label, *_), line in zip(bench.PARTS, lines[2:], strict=True):
        assert line.startswith(label)
        assert re.split(r"  +", line)[1:4] == ["4.000", "2.000", "2.00"]
