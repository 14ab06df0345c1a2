"""Pages: whole HTML without a request, and everything that is put in is shown as it is."""

import base64
import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from workbench.page import embedded, render

ROOT = Path(__file__).parents[2]
HARSH = """a < b & "c" 'd' <script>alert(1)</script> {{ title }}"""


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A page that puts a value in wherever one can stand."""
    path = tmp_path / "mine.html"
    path.write_text(
        '{% extends "page.html" %}\n'
        "{% macro cell(words) %}<td>{{ words }}</td>{% endmacro %}\n"
        '{% block parts %}<p class="{{ words }}">{{ words }}</p>\n'
        "<pre>{{ words }}</pre>{{ cell(words) }}{{ [words, words] | join(', ') }}{% endblock %}\n"
    )
    return path


class Attributes(HTMLParser):
    """The elements of a page, and the class of its paragraph."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.said: list[str | None] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        if tag == "p":
            self.said += [value for name, value in attrs if name == "class"]


def test_what_is_put_in_is_shown_as_it_is(template: Path) -> None:
    html = render(template, title=HARSH, lead=HARSH, words=HARSH)
    assert "<script" not in html
    # title, heading, lead; an attribute, a paragraph, a code block, a macro's cell, two joined
    assert unescape(html).count(HARSH) == 9
    page = Attributes(html)
    elements = "html head meta meta title style body main h1 p p pre td"
    assert " ".join(page.elements) == elements
    assert page.said == ["lead", HARSH]  # its quotes do not end the attribute


def test_a_page_needs_no_lead_but_all_that_its_template_names(template: Path) -> None:
    html = render(template, title="A", words="b")
    assert html.startswith('<!doctype html>\n<html lang="en">')
    assert html.endswith("</html>\n")
    assert 'class="lead"' not in html
    with pytest.raises(UndefinedError, match="'words' is undefined"):
        render(template, title="A")


@pytest.mark.parametrize("kind", ["png", "gif"])
def test_a_picture_lies_in_the_page(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(bytes(range(256)))
    head, data = embedded(path).split("base64,")
    assert head == f"data:image/{kind};"
    assert base64.b64decode(data) == path.read_bytes()


TEMPLATES = [
    path
    for package in ("scratch", "with_diffusers", "compare", "workbench", "ddpm")
    for path in (ROOT / package).rglob("*.html")
]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_template_lets_markup_through_or_asks_for_anything(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert not re.search(r"\|\s*safe|autoescape|<script|https?:|url\(|@import", source)
    assert path.name == "page.html" or '{% extends "page.html" %}' in source


def test_there_are_three_and_no_code_escapes_by_hand() -> None:
    assert sorted(path.name for path in TEMPLATES) == ["page.html", "report.html", "tour.html"]
    for package in {path.relative_to(ROOT).parts[0] for path in TEMPLATES}:
        for code in (ROOT / package).rglob("*.py"):
            assert not re.search(r"\bescape\(|Markup", code.read_text(encoding="utf-8")), code


def test_the_template_engine_is_loaded_for_a_page_alone() -> None:
    script = "import sys, workbench.page, compare.verdict.page; print('jinja2' in sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "False"
