"""The page: static, escaped, disagreements first and open, a curve for each who has one."""

import re
from html.parser import HTMLParser

from compare.verdict.page import page
from compare.verdict.report import Check, Diagnosis, Report

VOID = {"meta", "path", "polyline", "br"}


class Balanced(HTMLParser):
    """Fails on a tag that closes another than the last opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        """Closed by itself."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def report() -> Report:
    checks = [
        Check("schedule/linear", "schedule", "close", "agrees", 1e-7, 1e-6, reason="rounding"),
        Check("mean/all", "mean", "close", "agrees", 1e-7, 1e-6),
        Check("mean/few", "mean", "differs", "<b>a_t</b> is 2", 1.0, 1e-6, input="x & y",
              beside={"scratch": 1e-7, "diffusers": None}, repro="ddpm it"),
    ]  # fmt: skip
    made = Report("mine.py:<M>", checks, [Diagnosis("43", "mean", "a < b", "b > a", "a-name")])
    made.curves = {"a_t": {"oracle": [0.0, 1.0], "candidate": [0.0, float("nan")]}, "empty": {}}
    return made


def test_the_page_is_whole_static_and_escaped() -> None:
    text = page(report())
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    assert not re.search(r"(src|href)=|http|<script", text)
    assert "<b>a_t" not in text
    assert "&lt;b&gt;a_t" in text
    assert "mine.py:&lt;M&gt;" in text


def test_disagreements_come_first_and_open() -> None:
    text = page(report())
    assert text.index("differs from the papers") < text.index("What is wrong")
    assert text.index("What is wrong") < text.index("FAIL mean") < text.index("ok   schedule")
    assert text.index("mean/few") < text.index("mean/all")
    assert text.count("<details open>") == 1
    for said in ("x &amp; y", "[mistake 43: a-name]", "ddpm it", "scratch 1e-07", "rounding"):
        assert said in text


def test_curves_are_drawn_where_there_are_numbers() -> None:
    text = page(report())
    assert text.count("<svg") == 1
    assert text.count("<polyline") == 2
    assert "a_t over t, from 0 to 1, of oracle, candidate" in text
