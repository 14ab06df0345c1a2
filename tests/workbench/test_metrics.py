"""Losses step by step: rows that only grow, and few readings."""

import pytest
import torch

from workbench.metrics import Metrics
from workbench.trainer import Step


@pytest.mark.parametrize(("batch", "images"), [(4, 10), (5, 10), (10, 10), (7, 3), (1, 4)])
def test_rows_only_grow_and_epochs_are_whole(batch: int, images: int) -> None:
    metrics = Metrics(batch, images)
    before: list[dict[str, float]] = []
    for k in range(20):
        metrics.add(Step(k, torch.tensor(float(k)), 0.1, torch.tensor(1.0)))
        metrics.read()
        rows = metrics.rows()
        assert rows[: len(before)] == before
        assert rows[len(before)] == {"step": k, "loss": k, "learning_rate": 0.1}
        if len(rows) > len(before) + 1:
            (epoch,) = rows[len(before) + 1 :]
            members = [j for j in range(20) if j * batch // images == epoch["epoch"]]
            assert members[-1] == k
            assert epoch["mean_loss"] == sum(members) / len(members)
        before = rows
    seen = [row["epoch"] for row in before if "epoch" in row]
    if batch <= images:
        assert seen == list(range(20 * batch // images))


def test_losses_are_read_in_batches() -> None:
    metrics = Metrics(4, 10)
    metrics.add(Step(0, torch.tensor(1.0), 0.1, torch.tensor(1.0)))
    assert metrics.losses == []
    metrics.read()
    metrics.read()
    assert metrics.losses == [1.0]
