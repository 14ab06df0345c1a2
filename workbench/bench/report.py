"""A whole bench: its contests in turn, the table, the JSON, and what pays here."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from workbench.bench import ours, peers
from workbench.bench.limits import copy_bandwidth, peaks, share_of_peak
from workbench.bench.scaling import scaling
from workbench.bench.setting import Setting, machine
from workbench.bench.timing import Contestant, Line, measure

SCHEMA = 1
COLUMNS = ("ms", "ratio", "middle half", "images/s", "GFLOP", "of peak", "MiB", "start s")
# What pays: the line with it, the line without it, and what it is.
PAIRS = (
    ("our trainer, scratch, bf16", "our trainer, scratch", "bf16, training"),
    ("our trainer, scratch, channels-last", "our trainer, scratch", "channels-last, training"),
    ("scratch, bf16", "scratch's DDPMPipeline", "bf16, sampling"),
    ("scratch, channels-last", "scratch's DDPMPipeline", "channels-last, sampling"),
    (
        "our trainer, scratch, fast, float32",
        "our trainer, scratch",
        "compile (--fast), training",
    ),
    (
        "our trainer, scratch, fast, bf16",
        "our trainer, scratch, bf16",
        "compile (--fast) in bf16, training",
    ),
    ("fast, scratch, float32", "scratch's DDPMPipeline", "compile (--fast), sampling"),
    ("fast, scratch, bf16", "scratch, bf16", "compile (--fast) in bf16, sampling"),
)
CLEAR = 1.02  # a ratio nearer to 1 than this is none


@dataclass
class Contest:
    """Contestants that were timed in turns.

    Attributes:
        title: what they did.
        lines: the first one is what the ratios are of.
    """

    title: str
    lines: list[Line]

    def entry(self, line: Line) -> dict[str, Any]:
        """A line for JSON."""
        low, middle, high = line.spread
        return {
            "name": line.name,
            "precision": line.dtype,
            "seconds": line.median,
            "ratio": middle,
            "ratio_quartiles": [low, high],
            "turns": len(line.seconds),
            "images_per_second": line.images / line.median or None,
            "flop": line.flop,
            "share_of_peak": share_of_peak(line, self.lines),
            "peak_bytes": line.peak_bytes,
            "start_seconds": line.start_seconds,
        }

    def cells(self, line: Line) -> tuple[str, ...]:
        """A line of the table, behind its name."""
        low, middle, high = line.spread
        share, peak = share_of_peak(line, self.lines), line.peak_bytes
        return (
            f"{line.median * 1e3:.1f}",
            f"{middle:.2f}",
            f"{low:.2f}..{high:.2f}",
            f"{line.images / line.median:.0f}" if line.images else "",
            f"{line.flop / 1e9:.2f}" if line.flop else "?",
            f"{share:.0%}" if share is not None else "?",
            f"{peak / 2**20:.0f}" if peak is not None else "?",
            f"{line.start_seconds:.1f}",
        )


@dataclass
class Bench:
    """What was measured.

    Attributes:
        machine: its facts.
        setting: what was measured on it.
        copy_bandwidth: bytes a second, read and written, of a copy.
        contests: in the order in which they were measured.
        left_out: what was not measured, and why.
    """

    machine: dict[str, Any]
    setting: dict[str, Any]
    copy_bandwidth: float
    contests: list[Contest] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "schema": SCHEMA,
            "machine": self.machine,
            "setting": self.setting,
            "copy_bytes_per_second": self.copy_bandwidth,
            "contests": [
                {"title": each.title, "lines": [each.entry(line) for line in each.lines]}
                for each in self.contests
            ],
            "pays": list(self.pays()),
            "left_out": self.left_out,
        }

    def pays(self) -> Iterator[str]:
        """What each option does to the time, where both lines were measured."""
        lines = {line.name: line for contest in self.contests for line in contest.lines}
        for with_it, without, what in PAIRS:
            if with_it in lines and without in lines:
                yield f"{what}: {_verdict(lines[with_it], lines[without])}"


def _verdict(with_it: Line, without: Line) -> str:
    pairs = zip(without.seconds, with_it.seconds, strict=True)
    low, middle, high = Line("", 0, "", 0, 0, None, ratios=[a / b for a, b in pairs]).spread
    said = f"{middle:.2f} times as fast ({low:.2f}..{high:.2f})"
    if low > CLEAR:
        saved, extra = (
            without.median - with_it.median,
            with_it.start_seconds - without.start_seconds,
        )
        once = f", after {extra / saved:.0f} runs of it" if extra > saved > 0 else ""
        return f"pays, {said}{once}"
    return f"costs, {said}" if high < 1 / CLEAR else f"makes no clear difference, {said}"


def run(
    setting: Setting, seconds: float, grows: bool = False, show: Callable[[str], None] = print
) -> Bench:
    """Measure it all, each contest shown as soon as it is there.

    Args:
        setting: what is measured.
        seconds: for each contest; at least four turns of each contestant.
        grows: also against size, batch and width.
        show: is given each line of the table.
    """
    missing = peers.why_no_ddp()
    made = Bench(machine(setting.device), _facts(setting), copy_bandwidth(setting.device))
    made.left_out += [missing] if missing else []
    known = {**made.setting, **made.machine, "copies": f"{made.copy_bandwidth / 1e9:.1f} GB/s"}
    show("; ".join(f"{name} {value}" for name, value in known.items()))
    ddp = missing is None
    limits = peaks(setting.device)

    def measured(contestants: list[Contestant]) -> list[Line]:
        return measure([*contestants, *limits], seconds, setting.device)

    contests = {
        "a training step": lambda: measured(peers.training(setting, ddp) + ours.training(setting)),
        f"a chain of {setting.steps} steps": lambda: measured(
            peers.sampling(setting, ddp) + ours.sampling(setting)
        ),
    }
    if grows:
        contests |= {
            f"our training step, scratch, {what}": partial(measured, group)
            for what, group in scaling(setting).items()
        }
    for title, lines in contests.items():
        contest = Contest(title, lines())
        made.contests.append(contest)
        show(row(title, COLUMNS))
        for line in contest.lines:
            show(row(line.name, contest.cells(line)))
    for verdict in (*made.pays(), *made.left_out):
        show(verdict)
    return made


def _facts(setting: Setting) -> dict[str, Any]:
    return {
        "device": str(setting.device),
        "channels": list(setting.channels),
        "pictures": "x".join(map(str, setting.shape)),
        "batch": setting.batch_size,
    }


def row(name: str, cells: tuple[str, ...]) -> str:
    """A line of the table."""
    return f"{name:<44}" + "".join(f"{cell:>15}" for cell in cells)
