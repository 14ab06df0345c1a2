"""The averaged weights."""

import pytest
import torch
from torch import nn

from workbench.ema import EMA


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, dtype=torch.float64))
        self.register_buffer("count", torch.zeros(()))


def set_to(net: Net, value: float) -> None:
    with torch.no_grad():
        net.weight.fill_(value)


def test_average_follows_its_definition() -> None:
    """Written out a second time: warm-up (1 + k) / (10 + k) until it passes the decay."""
    net = Net()
    ema, expected = EMA(net, decay=0.5), 0.0
    for k in range(20):
        set_to(net, k + 1.0)
        ema.update(net)
        decay = min(0.5, (1 + k) / (10 + k))
        expected = decay * expected + (1 - decay) * (k + 1.0)
        torch.testing.assert_close(ema.average["weight"], torch.full((2,), expected).double())
    assert ema.updates == 20
    assert min(0.5, 8 / 17) < 0.5 == min(0.5, 9 / 18)  # both sides of the minimum were met


def test_a_short_run_forgets_its_start() -> None:
    """Without warm-up a decay of 0.9999 would keep 99 % of the first weights after 100 steps."""
    net = Net()
    set_to(net, 1.0)
    ema = EMA(net, decay=0.9999)
    set_to(net, 0.0)
    for _ in range(100):
        ema.update(net)
    # prod (1 + k) / (10 + k) over k < 100 is 9! 100! / 109!
    assert ema.average["weight"][0].item() == pytest.approx(2.5e-13, rel=0.2)


def test_a_constant_stays() -> None:
    net = Net()
    set_to(net, 3.0)
    ema = EMA(net, decay=0.9)
    for _ in range(5):
        ema.update(net)
    assert ema.average["weight"].tolist() == [3.0, 3.0]


def test_applied_and_taken_back() -> None:
    net = Net()
    ema = EMA(net, decay=0.9)
    set_to(net, 2.0)
    net.count.fill_(7)
    with ema.applied_to(net) as applied:
        assert applied is net
        assert net.weight.tolist() == [0.0, 0.0]
        assert net.count == 7  # buffers are the model's own
    assert net.weight.tolist() == [2.0, 2.0]
    with pytest.raises(KeyError), ema.applied_to(net):
        raise KeyError
    assert net.weight.tolist() == [2.0, 2.0]


def test_the_average_is_its_own_tensor() -> None:
    net = Net()
    ema = EMA(net, decay=0.9)
    set_to(net, 5.0)
    assert ema.average["weight"].tolist() == [0.0, 0.0]
    with ema.applied_to(net):
        set_to(net, 8.0)  # what one does to the model inside does not reach the average
    assert ema.average["weight"].tolist() == [0.0, 0.0]
