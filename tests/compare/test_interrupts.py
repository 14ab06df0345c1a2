"""A real Ctrl-C comes through; a KeyboardInterrupt that is only raised does not pass for one."""

import signal
from collections.abc import Callable

import pytest

import compare
from compare.candidate.interrupts import Interrupted, interrupts_told
from compare.verdict.judge import judge


def test_a_signal_is_told_from_an_exception() -> None:
    with pytest.raises(Interrupted), interrupts_told():
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as caught, interrupts_told():
        raise KeyboardInterrupt
    assert not isinstance(caught.value, Interrupted)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


class Own(BaseException):
    pass


def throwing(error: type[BaseException]) -> Callable[..., None]:
    def throw(*_: object) -> None:
        raise error("of mine")

    return throw


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, SystemExit, Own])
@pytest.mark.parametrize("role", ["alpha_bar", "add_noise", "step", "sample", "loss"])
def test_whatever_a_role_throws_is_its_error(role: str, error: type[BaseException]) -> None:
    adapter = compare.Adapter(**{role: throwing(error)})
    report = judge(adapter, "quick", 0, beside=False)
    assert report.exit_status == 2, str(report)
    assert f"raises {error.__name__}: of mine" in report.verdict.replace("built:", "raises")
    assert "compare itself" not in report.verdict


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, Own])
def test_whatever_a_class_throws_is_its_error(error: type[BaseException]) -> None:
    class Built:
        __init__ = throwing(error)

    class Read:
        alphas_cumprod = property(throwing(error))

    built, read = (judge(thing, "quick", 0, beside=False) for thing in (Built, Read))
    assert f"cannot be built: {error.__name__}: of mine" in built.verdict
    assert f"it raises {error.__name__}: of mine (test_interrupts.py, line" in read.verdict
    assert (built.exit_status, read.exit_status) == (2, 2)


def test_a_real_interrupt_of_the_caller_comes_through() -> None:
    def step(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        compare.run(compare.Adapter(step=step))
