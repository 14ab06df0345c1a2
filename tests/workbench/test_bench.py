"""The benchmark times what it says it times, and prints its table."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from workbench import plotting
from workbench.bench import chart, limits, ours, peers, report, scaling, setting, timing
from workbench.bench.report import Bench, Contest
from workbench.bench.setting import Setting
from workbench.bench.timing import Contestant, Line, measure

CPU = torch.device("cpu")
TINY = Setting(CPU, channels=(16, 32), size=8, batch_size=2, steps=2)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No turn is longer than one piece of work."""
    monkeypatch.setattr(timing, "SLICE", 1e-9)


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling takes minutes, and is not what is looked at here."""
    monkeypatch.setattr(torch, "compile", lambda network, **_: network)


def everybody(of: Setting) -> dict[str, Contestant]:
    found = peers.training(of, False) + ours.training(of)
    found += peers.sampling(of, False) + ours.sampling(of)
    return {each.name: each for each in found}


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize("name", everybody(replace(TINY, compiled=True)))
def test_each_contestant_does_its_work(name: str) -> None:
    """And of those that have the same network, each takes as many FLOP."""
    all_of_them = everybody(replace(TINY, compiled=True))
    each = all_of_them[name]
    work = each.make()
    work()
    training = name.startswith(("our", "the"))
    first = all_of_them["the tutorial's loop" if training else "Diffusers' DDPMPipeline"]
    assert each.images == (2 if training else 4)
    assert timing.flop_of(each.counted() if each.counted else work) == timing.flop_of(first.make())


@pytest.mark.usefixtures("at_once")
def test_turns_change_their_order_and_compare_neighbours() -> None:
    done: list[str] = []

    def contestant(name: str, seconds: float) -> Contestant:
        def work() -> None:
            done.append(name)
            time.sleep(seconds)

        return Contestant(name, lambda: work, images=3)

    slow, quick = measure([contestant("slow", 0.02), contestant("quick", 0.001)], 0, CPU)
    assert [slow.name, quick.name] == ["slow", "quick"]
    assert done[-8:] == ["slow", "quick", "quick", "slow"] * 2
    assert len(slow.seconds) == len(quick.seconds) == timing.FEWEST
    assert min(slow.seconds) >= 0.02
    assert slow.ratios == [1.0] * 4
    pairs = zip(slow.seconds, quick.seconds, strict=True)
    assert quick.ratios == [pytest.approx(a / b) for a, b in pairs]


def test_a_turn_lasts_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SLICE", 0.02)
    done: list[int] = []

    def work() -> None:
        done.append(1)
        time.sleep(0.003)

    (line,) = measure([Contestant("one", lambda: work, 1)], 0, CPU)
    assert min(line.seconds) >= 0.003  # of one piece, though several are in a turn
    assert len(done) > 4 + 4 * 2


def test_flop_are_those_of_the_formula() -> None:
    a, b = torch.randn(3, 5), torch.randn(5, 7)
    assert timing.flop_of(lambda: a @ b) == 2 * 3 * 5 * 7


def test_peak_memory_is_what_one_piece_takes() -> None:
    """A float32 tensor of 2^24 entries takes 64 MiB, though nothing of it is left afterwards."""
    if timing.peak_bytes(lambda: None, CPU) is None:
        pytest.skip("this system has no account that begins anew")
    taken = timing.peak_bytes(lambda: torch.ones(2**24).sum(), CPU)
    assert taken is not None
    assert 60 * 2**20 < taken < 100 * 2**20


def test_limits_are_of_the_right_size() -> None:
    """Any processor since 2000 copies 0.05 to 5000 GB a second; a product is its own peak."""
    assert 5e7 < limits.copy_bandwidth(CPU) < 5e12
    made = limits.peaks(CPU)
    assert [each.dtype for each in made] == ["float32", "float32", "bf16", "bf16"]
    for each, dtype in zip(made, [torch.float32] * 2 + [torch.bfloat16] * 2, strict=True):
        assert each.make()().dtype == dtype


def test_the_share_of_the_peak_compares_neighbours() -> None:
    """Twice the time for as many FLOP is half of it, also where the machine was slow for a turn."""
    times = [0.1, 0.1, 0.7, 0.1]
    best = Line("a matrix product, bf16", 0, "bf16", 0, 100, None, times)
    own = Line("one", 1, "bf16", 0, 100, None, [2 * x for x in times])
    assert limits.share_of_peak(own, [own, best]) == pytest.approx(0.5)
    assert limits.share_of_peak(best, [own, best]) == pytest.approx(1)
    assert limits.share_of_peak(own, [own]) is None
    better = Line("a wide convolution, bf16", 0, "bf16", 0, 200, None, times)
    assert limits.share_of_peak(own, [own, best, better]) == pytest.approx(0.25)


@pytest.mark.usefixtures("at_once")
def test_what_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, few in (("SIZES", (8, 16)), ("BATCHES", (1, 2)), ("WIDTHS", (16, 32))):
        monkeypatch.setattr(scaling, name, few)
    monkeypatch.setattr(scaling, "USUAL", {"size": 8, "batch_size": 2, "channels": (16, 32)})
    groups = scaling.scaling(TINY)
    assert list(groups) == ["size", "batch", "width"]
    lines = {line.name: line for group in groups.values() for line in measure(group, 0, CPU)}
    assert list(lines) == [
        "8x8 pictures", "16x16 pictures", "batch of 1", "batch of 2", "width 16, 32",
        "width 32, 64",
    ]  # fmt: skip
    small, large = lines["batch of 1"], lines["batch of 2"]
    assert 1.9 < large.flop / small.flop <= 2  # what embeds t is not convolved
    assert 3.9 < lines["16x16 pictures"].flop / lines["8x8 pictures"].flop < 4.3  # and attention


def line(name: str, seconds: list[float], first: list[float], start: float = 1.0) -> Line:
    ratios = [a / b for a, b in zip(first, seconds, strict=True)]
    return Line(name, 32, "float32", start, 10**9, 2**24, seconds, ratios)


@pytest.fixture
def bench() -> Bench:
    """Times that are given: the third turn was disturbed."""
    plain = [0.010, 0.010, 0.020, 0.010]
    lines = [
        line("the tutorial's loop", plain, plain),
        line("our trainer, scratch", plain, plain),
        line("our trainer, scratch, bf16", [x / 2 for x in plain], plain, start=9.0),
        line("our trainer, scratch, channels-last", [x * 2 for x in plain], plain),
        line("a matrix product, float32", [x / 10 for x in plain], plain),
    ]
    return Bench(
        {"processor": "one"}, {"device": "cpu"}, 1e10,
        [Contest("a training step", lines)], ["nobody"],
    )  # fmt: skip


def test_the_table_and_what_pays(bench: Bench) -> None:
    cells = bench.contests[0].cells(bench.contests[0].lines[2])
    assert cells == ("5.0", "2.00", "2.00..2.00", "6400", "1.00", "20%", "16", "9.0")
    assert list(bench.pays()) == [
        "bf16, training: pays, 2.00 times as fast (2.00..2.00), after 1600 runs of it",
        "channels-last, training: costs, 0.50 times as fast (0.50..0.50)",
    ]
    bench.contests[0].lines[2].seconds = [0.010, 0.0101, 0.0199, 0.010]
    assert "bf16, training: makes no clear difference, 1.00 times" in next(bench.pays())


def test_the_json_and_the_plot(bench: Bench, tmp_path: Path) -> None:
    said = json.loads(json.dumps(bench.to_dict()))
    assert said["schema"] == report.SCHEMA
    entry = said["contests"][0]["lines"][3]
    assert (entry["ratio"], entry["seconds"], entry["turns"]) == (0.5, 0.02, 4)
    assert (entry["share_of_peak"], entry["images_per_second"]) == (0.05, 1600)
    figure = chart.ratios(bench)
    (axes,) = figure.axes
    assert [round(bar.get_width(), 6) for bar in axes.patches] == [1, 1, 2, 0.5, 10]
    plotting.save(figure, tmp_path / "bench.png")
    assert (tmp_path / "bench.png").stat().st_size > 1000


def test_the_other_package_is_measured_where_it_is_installed() -> None:
    missing = peers.why_no_ddp()
    if missing is not None:
        assert missing.startswith("denoising-diffusion-pytorch is not measured: ")
        pytest.skip(missing)
    for each in (*peers.training(TINY, True), *peers.sampling(TINY, True)):
        each.make()()


def test_the_facts_of_the_machine() -> None:
    facts: dict[str, Any] = setting.machine(CPU)
    assert facts["threads"] == torch.get_num_threads()
    assert facts["processor"]
    assert "gpu" not in facts
