"""Pages: whole HTML, everything inside it, plain text shown as it is."""

import base64
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import pytest

from workbench import page

HARSH = 'a < b & "c" <script>alert(1)</script>'


def test_plain_text_is_shown_as_it_is() -> None:
    parts = [
        page.section(HARSH, page.text(HARSH), page.code(HARSH)),
        page.table([HARSH], [[HARSH], ["2"]]),
    ]
    html = page.document(HARSH, *parts, lead=HARSH)
    assert "<script>" not in html
    assert unescape(html).count(HARSH) == 8  # title, heading, lead, and the five of the parts


def test_every_tag_is_closed() -> None:
    fragment = page.section("A", page.text("b"), page.code("c"), page.table("xy", ["12", "34"]))
    root = ElementTree.fromstring(fragment)
    assert [cell.text for cell in root.iter("td")] == ["1", "2", "3", "4"]
    assert [cell.get("scope") for cell in root.iter("th")] == ["col", "col"]


@pytest.mark.parametrize("kind", ["png", "gif"])
def test_a_picture_lies_in_the_page(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(bytes(range(256)))
    html = page.picture(path, HARSH, "below")
    head, data = html.split("base64,")
    assert head.endswith(f'src="data:image/{kind};')
    assert base64.b64decode(data.split('"')[0]) == path.read_bytes()
    assert f'alt="{HARSH}"' not in html  # its quotes would end the attribute
    assert HARSH in unescape(html)
    assert "<figcaption>below</figcaption>" in html
    assert "figcaption" not in page.picture(path, "no caption")


def test_what_is_put_into_what() -> None:
    html = page.joined(page.tag("strong", "a & b"), " < ", page.BREAK, page.tag("td"))
    assert html == "<strong>a &amp; b</strong> &lt; <br/><td></td>"
    said = page.tag("p", class_=HARSH, stroke_width="2", open=True, hidden=False)
    assert "<script>" not in said
    assert said.endswith('stroke-width="2" open></p>')


def test_lists_pairs_and_details() -> None:
    root = ElementTree.fromstring(
        page.section(
            "A",
            page.listed(["1", "2"]),
            page.listed([page.number("3")], ordered=True),
            page.pairs([("a", "b")]),
            page.details("line", page.text("below"), shown=False),
            page.verdict("right", good=True),
            page.verdict("wrong", good=False),
            page.aside("by the way"),
        )
    )
    assert [[part.tag for part in found] for found in (root.find("ul"), root.find("ol"))] == [
        ["li", "li"],
        ["li"],
    ]
    assert root.find("ol/li/span").text == "3"
    assert root.find(".//th").get("scope") == "row"
    assert root.find("details").attrib == {}
    assert "<details open>" in page.details("line", shown=True)
    assert [part.get("class") for part in root.findall("p")] == ["verdict", "verdict bad", "soft"]
