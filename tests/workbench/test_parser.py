"""The parser: an error is one line that points to its verb; an empty word is an error."""

import pytest

from workbench.parser import Parser


def parser() -> Parser:
    made = Parser(prog="ddpm sample")
    made.add_argument("run")
    made.add_argument("--output")
    return made


def refusal(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        parser().parse_args(words)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([""], "nothing is given after ddpm sample"),
        (["a", "--output", ""], "nothing is given after --output"),
        (["a", "--output", "  "], "nothing is given after --output"),
        (["a", "--output="], "nothing is given after --output"),
        (["a", "--other"], "unknown argument --other"),
        (["a", "--out", "b"], "unknown argument --out"),
        ([], "the following arguments are required: run"),
    ],
)
def test_an_error_is_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal(words, capsys) == f"ddpm sample: {said}; see `ddpm sample --help`"


def test_a_value_may_hold_an_equals_sign() -> None:
    assert parser().parse_args(["a", "--output=b="]).output == "b="
