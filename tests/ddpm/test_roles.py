"""Every role is told in three places: "Write your own", the JSON of a verdict, `ddpm explain`."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from kills import judged
from torch import Tensor, nn

from compare import Adapter, run
from compare.candidate.load import ROLES
from compare.mistakes import BY_ID
from compare.stages import ALL, BY_NAME
from ddpm.cli import main
from tests.often import each

PAGE = " ".join(
    (Path(__file__).parents[2] / "docs" / "write-your-own.md").read_text(encoding="utf-8").split()
)


class Told(NamedTuple):
    """A role or what is judged in one: where it is told, and a mistake of it."""

    stage: str
    page: str  # words of "Write your own"
    mistake: str
    check: str  # the beginning of the id of a check that is in the JSON


NEW = {
    "embedding": Told("embedding", "is the role `embedding(t, dim)`", "88-odd", "embedding/32"),
    "tables": Told("tables", "`tables` returns them by their names", "3-table", "tables/"),
    "learned variance": Told("variance", "**A learned variance.**", "52-exchanged", "variance/"),
    "weights as a curve": Told("loss", "weights that go by $t$ are one with their formula", "29-p2",
                               "loss/weights"),
    "gradient": Told("loss", "the gradient must reach the model (32-detached)", "32-detached",
                     "loss/"),
    "shared x_T": Told("sampling", "Every image has its own, and a seed is set outside (61, 62)",
                       "62-start", "sampling/"),
    "a seed inside": Told("sampling", "a seed is set outside (61, 62)", "61-seed", "sampling/"),
}  # fmt: skip


def said(capsys: pytest.CaptureFixture, word: str) -> str:
    assert main(["explain", word]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", NEW)
def test_it_is_in_write_your_own_and_in_explain(name: str, capsys: pytest.CaptureFixture) -> None:
    told = NEW[name]
    assert told.page in PAGE
    text = said(capsys, told.stage)
    assert text.startswith(f"stage {told.stage}: {BY_NAME[told.stage].looks_at}")
    assert f"\n{told.mistake} " in text
    assert f"mistake {told.mistake}: {BY_ID[told.mistake].name}" in said(capsys, told.mistake)


@pytest.mark.parametrize("name", each(3, NEW))
def test_it_is_in_the_json(name: str) -> None:
    told = NEW[name]
    plain: dict[str, Any] = json.loads(json.dumps(judged(BY_ID[told.mistake]).to_dict()))
    assert plain["exit_status"] == 1
    assert [d["bug"] for d in plain["diagnoses"]] == [told.mistake]
    assert told.stage in plain["judged"]
    assert any(c["id"].startswith(told.check) for c in plain["checks"])


class FirstOfAll(nn.Module):
    """All pictures are told the first one's t."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 1, 3, padding=1)
        self.time = nn.Embedding(1000, 8)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        row = self.time(t[:1])[:, :, None, None]
        return self.last((self.first(x) + row).relu())


def test_a_network_is_in_all_three(capsys: pytest.CaptureFixture) -> None:
    assert "### A network alone" in PAGE
    text = said(capsys, "network")
    assert "\nrole network: () -> `nn.Module`" in text
    assert "\n90-first " in text
    plain = run(Adapter(network=FirstOfAll)).to_dict()
    assert [d["bug"] for d in plain["diagnoses"]] == ["90-first"]
    assert plain["judged"] == ["network"]


@pytest.mark.parametrize("role", ROLES)
def test_every_role_is_explained_with_its_contract(
    role: str, capsys: pytest.CaptureFixture
) -> None:
    text = " ".join(said(capsys, role).split())
    assert any(f"role {role}: (" in part for part in text.split("alone: ")), text
    assert f"`{role}" in PAGE or f"{role}=" in PAGE


@pytest.mark.parametrize("stage", ALL, ids=lambda stage: stage.name)
def test_every_stage_is_explained(stage, capsys: pytest.CaptureFixture) -> None:
    text = said(capsys, stage.name)
    assert text.count("\nright: ") == 1
    assert len(text.split("\n\n", 1)[1].splitlines()) >= 1  # its mistakes
