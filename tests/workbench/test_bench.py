"""The benchmark times what it says it times, and prints its table."""

import re
import time

import pytest

from workbench import bench


@pytest.mark.parametrize(("label", "make"), bench.PARTS, ids=lambda part: str(part)[:20])
def test_each_part_runs_by_both_backends(
    label: str, make: bench.Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "BATCH", 2)
    monkeypatch.setattr(bench, "SLICE", 1e-9)
    times = bench.measure(make, seconds=0)
    assert times.keys() == {"scratch", "diffusers"}
    assert all(len(each) == 4 and min(each) > 0 for each in times.values())


def test_times_are_per_piece_and_the_order_alternates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SLICE", 0.015)
    done = []

    def make(backend: str) -> bench.Work:
        def work() -> None:
            done.append(backend)
            time.sleep(0.01)

        return work

    times = bench.measure(make, seconds=0)
    assert min(times["scratch"] + times["diffusers"]) >= 0.01  # of one, though two are in a slice
    assert done[:6] == 3 * ["scratch"] + 3 * ["diffusers"]  # how long is one?
    turns = done[6::2]
    assert turns == ["diffusers", "scratch", "scratch", "diffusers"] * 2


def test_the_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Times that are given: twice as long, with one turn that something else disturbed."""
    given = {"scratch": [0.004, 0.004, 0.4, 0.004], "diffusers": [0.002] * 4}
    monkeypatch.setattr(bench, "measure", lambda make, seconds: given)
    bench.main(seconds=0)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(bench.PARTS)
    for (label, _), line in zip(bench.PARTS, lines[2:], strict=True):
        assert line.startswith(label)
        cells = re.split(r"  +", line)
        assert cells[1:4] == ["4.000", "2.000", "2.00"]
        assert cells[5] == "4"
