"""Work in a process of its own comes back the same, and is done here where it got lost there."""

import json
import os

import pytest

from compare.oracle import Setting
from compare.verdict.elsewhere import begun
from compare.verdict.judge import judge
from compare.verdict.report import Diagnosis, Report
from scratch import DDPMScheduler
from tests.compare.test_cli import command

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
SHORT = Setting(num_train_timesteps=20)


def _plain(begin=None) -> dict:
    more = {} if begin is None else {"begin": begin}
    found = judge(DDPMScheduler, "quick", 0, only="mean", base=SHORT, **more).to_dict()
    return {name: value for name, value in found.items() if name != "seconds"}


def test_a_report_is_the_same_wherever_its_columns_are_made():
    assert _plain(begun) == _plain()


STAND_IN = """
import sys
from unittest.mock import MagicMock
sys.modules["torchvision"] = MagicMock()
import torch
ab = (1 - torch.linspace(1e-3, 0.2, 60)).cumprod(0)
def add_noise(x_0, noise, t):
    a = ab[t].reshape(-1, 1, 1, 1)
    return a.sqrt() * x_0 + (1 - a).sqrt() * noise
"""


def test_a_candidate_with_stand_ins_for_modules_is_judged_beside_both_backends(tmp_path):
    (tmp_path / "mine.py").write_text(STAND_IN)
    done = command("--candidate", "mine.py:add_noise", "--json", "r.json", folder=tmp_path)
    assert done.returncode == 0, done.stdout
    checks = json.loads((tmp_path / "r.json").read_text())["checks"]
    assert "beside" not in {c["id"] for c in checks}
    assert any(c["beside"]["diffusers"] is not None for c in checks if c["stage"] == "forward")


def test_it_is_made_in_another_process():
    here = os.getpid()
    report = begun(lambda: Report(str(os.getpid()), []), first=list)[0]()
    assert report.candidate.isdigit()
    assert int(report.candidate) != here


def test_what_several_need_is_done_once_and_not_here():
    done = []
    answers = begun(
        *[lambda: Report(f"{os.getpid()} {done}", [])] * 2, first=lambda: done.append(1)
    )
    (one, told), (other, also) = (answer().candidate.split(maxsplit=1) for answer in answers)
    assert done == []
    assert told == also == "[1]"
    assert len({one, other, str(os.getpid())}) == 3


def test_a_diagnosis_and_its_checks_come_back_whole():
    found = judge(DDPMScheduler, "quick", 0, only="schedule", base=SHORT)
    found.diagnoses = [Diagnosis("5", "forward", "no root", "take the root", "signal-without-root")]
    again = begun(lambda: found, first=list)[0]()
    assert again.to_dict() == found.to_dict()
    assert again.diagnoses == found.diagnoses
    assert again.checks == found.checks


@pytest.mark.parametrize("end", [lambda: os._exit(3), lambda: 1 / 0], ids=["ends", "raises"])
def test_what_got_lost_there_is_done_here(end, capfd):
    here = os.getpid()

    def work() -> Report:
        if os.getpid() != here:
            end()
        return Report("here", [])

    asked = begun(work, lambda: Report("other", []), first=list)
    assert [answer().candidate for answer in asked] == ["here", "other"]
    assert capfd.readouterr().err == ""
