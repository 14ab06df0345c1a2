"""Embeddings as public code writes them: each is listed, adapted, and given its verdict."""

import ast
from pathlib import Path

import pytest

from compare.candidate.text.adapt import UNKNOWN, adapter
from compare.candidate.text.offered import offered
from compare.verdict.judge import judge
from compare.verdict.report import Report

FILE = Path(__file__).parent / "field" / "embeddings.py"
SOURCE = FILE.read_text()
RIGHT = {  # {name: what the card of conventions says}
    "SinusoidalPosEmb": "sines first, in halves; exponents i / (half - 1), period 10000",
    "SinusoidalPositionEmbeddings": "sines first, in halves; exponents i / (half - 1)",
    "timestep_embedding": "cosines first, in halves; exponents i / half, period 10000",
    "get_timestep_embedding": "sines first, in halves; exponents i / (half - 1)",
    "PositionalEncoding": "sines first, in pairs; exponents i / half, period 10000",
    "PositionalEncodingOfSequences": "sines first, in pairs; exponents i / half, period 10000",
    "UNet": "sines first, in halves; exponents i / half, period 10000",
    "sinusoidal_embedding": "sines first, in pairs; exponents i / half, period 10000",
    "Timesteps": "cosines first, in halves; exponents i / (half - 1), period 10000",
    "PositionalEmbedding": "cosines first, in halves; exponents i / half, period 10000",
    "TimestepEmbedder": "cosines first, in halves; exponents i / half, period 10000",
    "SinusoidalEmbeddings": "sines first, in pairs; exponents i / half, period 10000",
    "time_embedding": "sines first, in halves; exponents i / half, period 1000",
}
UNDECIDED = ("GaussianFourierProjection", "TimeEmbedding")
WRONG = {  # {name: its mistake}
    "odd_sinusoidal_embedding": "88-odd",
    "TimestepEmbedding": "88-rows-rising",
    "SinusoidalTimeEmbedding": "88-exp",
    "get_time_embedding": "88-sines",
    "SinusoidalPositionEmbedding": "88-rising",
    "embed_timestep": "88-divided",
}
WRITTEN = {"Timesteps": ("True", "1")}  # {name: what is put in for each ...}
NAMES = (*RIGHT, *UNDECIDED, *WRONG)


def adapted(name: str, folder: Path) -> tuple[str, Report]:
    """What `ddpm adapt` prints, and the verdict once each `...` is filled in."""
    text = adapter(FILE, name, SOURCE)
    filled = text.partition(": put it in.\n")[2] if name in WRITTEN else text
    for value in WRITTEN.get(name, ()):
        filled = filled.replace(UNKNOWN, value, 1)
    beside = folder / f"adapt_{name}.py"
    beside.write_text(f"import sys\nsys.path.insert(0, {str(FILE.parent)!r})\n{filled}")
    return text, judge(f"{beside}:adapted", "quick", 0, beside=False)


def to_write(text: str) -> int:
    """How many places of an adapter are left open."""
    nodes = ast.walk(ast.parse(text))
    return sum(isinstance(n, ast.Constant) and n.value is Ellipsis for n in nodes)


def test_every_embedding_of_the_file_is_listed_and_has_its_verdict_here() -> None:
    listed = {each.name: each.judged for each in offered(SOURCE)}
    assert set(listed) == {*NAMES}
    for name in NAMES:
        assert listed[name] == (("network",) if name == "UNet" else ("embedding",)), name


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_passes_and_the_card_says_its_convention(name: str, tmp_path: Path) -> None:
    text, report = adapted(name, tmp_path)
    assert to_write(text) == len(WRITTEN.get(name, ())) <= 3
    assert report.exit_status == 0, str(report)
    assert "embedding" in report.judged
    assert RIGHT[name] in report.conventions["embedding"]


@pytest.mark.parametrize("name", UNDECIDED)
def test_what_is_of_another_kind_is_blamed_for_nothing(name: str, tmp_path: Path) -> None:
    text, report = adapted(name, tmp_path)
    assert to_write(text) == 0
    assert report.exit_status == 2
    assert not report.diagnoses
    assert "undecided: its embedding is no table of sinusoids" in report.verdict


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(name: str, tmp_path: Path) -> None:
    text, report = adapted(name, tmp_path)
    assert to_write(text) == 0
    assert report.exit_status == 1
    assert [d.bug for d in report.diagnoses] == [WRONG[name]], str(report)


@pytest.mark.parametrize(
    ("name", "status"),
    [("SinusoidalPosEmb", 0), ("PositionalEncodingOfSequences", 0), ("TimestepEmbedding", 1),
     ("sinusoidal_embedding", 0), ("SinusoidalEmbeddings", 0), ("TimeEmbedding", 2)],
)  # fmt: skip
def test_one_is_judged_without_an_adapter_too(name: str, status: int) -> None:
    report = judge(f"{FILE}:{name}", "quick", 0, beside=False)
    assert report.exit_status == status, str(report)
    assert "embedding" in {check.stage for check in report.checks}


def test_a_network_with_such_a_method_is_judged_as_a_network_too(tmp_path: Path) -> None:
    text, report = adapted("UNet", tmp_path)
    assert report.judged == ["embedding", "network"]
    static = SOURCE.replace(
        "    def pos_encoding(self, t,", "    @staticmethod\n    def pos_encoding(t,"
    )
    text = adapter(FILE, "UNet", static)
    assert "embedding=lambda t, dim: UNet.pos_encoding(t, dim)," in text
    assert "network=lambda: made," in text


def test_one_that_is_right_for_floats_alone_is_told_so() -> None:
    report = judge(f"{FILE}:PositionalEmbedding", "quick", 0, beside=False)
    assert report.passed, str(report)
    assert [c.id for c in report.checks if c.status == "note"] == ["embedding/floats"]
