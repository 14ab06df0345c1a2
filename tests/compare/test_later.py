"""What no role holds yet: one line for who asks, wherever that is."""

from pathlib import Path

import pytest

from compare import Adapter
from compare.candidate.text.later import EVERY, asked, asked_by
from compare.cli import main as compare_main
from compare.verdict.judge import judge
from ddpm.cli import main
from tests.compare.test_cli import arguments

NAMES = [later.name for later in EVERY]
EMA = """
class EMA:
    def __init__(self, model, decay): ...
    def update(self, model): ...
def update_ema(average, model, decay=0.999): ...
"""
CALLED = {
    "guidance": ["guidance", "classifier_free_guidance"],
    "label_dropout": ["drop_labels", "label_dropout"],
    "ema": ["ema", "EMA", "ema_update", "update_ema_params", "ExponentialMovingAverage"],
    "invert": ["ddim_inversion", "invert", "ddim_invert"],
    "start": ["img2img", "sdedit", "image_to_image"],
    "vlb": ["vlb", "vlb_terms", "_vb_terms_bpd"],
}


def one_line(capsys: pytest.CaptureFixture) -> str:
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    return line


def test_names_that_people_use_for_each_are_known_and_those_of_roles_are_not() -> None:
    assert set(CALLED) == set(NAMES)
    for name, words in CALLED.items():
        found = [later for word in words if (later := asked(word)) is not None]
        assert [later.name for later in found] == [name] * len(words)
    for word in (
        "step",
        "sample",
        "loss",
        "embedding",
        "schema",
        "start_training",
        "main",
        "guide",
    ):
        assert asked(word) is None
    assert asked_by("start") == ""  # as a function it may be anything


@pytest.mark.parametrize("name", NAMES)
def test_an_adapter_says_so(name: str) -> None:
    with pytest.raises(TypeError, match=f"there is no role {name} yet.* judged") as refused:
        Adapter(**{name: lambda: None})
    assert "\n" not in str(refused.value)
    with pytest.raises(TypeError, match="unexpected keyword argument 'sampel'"):
        Adapter(sampel=lambda: None)  # type: ignore[call-arg]


@pytest.mark.parametrize("name", NAMES)
def test_so_do_only_and_explain(name: str, capsys: pytest.CaptureFixture) -> None:
    assert compare_main(arguments("--candidate", "mine.py:M", "--only", name)) == 2
    assert f"no stage {name!r}: there is no role {name} yet (" in one_line(capsys)
    assert main(["explain", name]) == 2
    assert one_line(capsys).startswith(f"ddpm explain: there is no role {name} yet (")


@pytest.mark.parametrize("part", ["", ":EMA", ":update_ema"])
def test_so_does_adapt(part: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "mine.py").write_text(EMA)
    assert main(["adapt", f"{tmp_path}/mine.py{part}"]) == 2
    line = one_line(capsys)
    assert "there is no role ema yet (a moving average of weights)" in line
    assert "of yours, the network is judged" in line


def test_so_does_a_list_of_what_is_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "mine.py").write_text(EMA)
    assert compare_main(arguments("--candidate", f"{tmp_path}/mine.py")) == 2
    assert "there is no role ema yet" in one_line(capsys)
    (tmp_path / "mine.py").write_text(f"{EMA}\ndef q_sample(x_0, noise, t): ...")
    assert compare_main(arguments("--candidate", f"{tmp_path}/mine.py")) == 0
    assert "there is no role ema yet" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize("name", ["EMA", "update_ema"])
def test_so_does_a_candidate(name: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(EMA)
    report = judge(f"{tmp_path}/mine.py:{name}", "quick", 0, beside=False)
    assert report.exit_status == 2
    assert "there is no role ema yet" in report.verdict
    assert "\n" not in report.verdict
