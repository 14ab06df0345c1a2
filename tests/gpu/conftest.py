"""For the tests on a GPU: its device, and all of them marked."""

from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever lies in this folder needs a GPU."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)


@pytest.fixture
def gpu() -> torch.device:
    """The first CUDA GPU."""
    return torch.device("cuda")
