"""Static HTML pages: one file, no script, no request; readable on paper and on a phone.

`document` is a whole page; the other functions make its parts. Text that is put in is shown as it
is: only what these functions made, `Html`, goes in as markup.
"""

import base64
from collections.abc import Iterable
from html import escape
from pathlib import Path

STYLE = """
:root{color-scheme:light dark;
--ink:#1b1b1f;--paper:#fff;--soft:#5c5f66;--line:#d9dce1;--tint:#f4f5f7;--good:#1e7b45;--bad:#c0392b}
@media(prefers-color-scheme:dark){:root{
--ink:#e8e8ea;--paper:#17181b;--soft:#a5a8b0;--line:#3a3d44;--tint:#212328;
--good:#4cc38a;--bad:#ff8578}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:64rem;padding:1.5rem;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,sans-serif}
h1{font-size:1.9rem;line-height:1.2;margin:.5rem 0;overflow-wrap:anywhere}
h2{font-size:1.3rem;margin:2.2rem 0 .5rem}
p.lead{font-size:1.1rem}figure{margin:1rem 0}
p.verdict{border-left:.4rem solid var(--good);padding:.6rem 1rem;background:var(--tint)}
p.verdict.bad{border-color:var(--bad)}
img{max-width:100%;height:auto;border-radius:6px;background:#fff}
svg{width:100%;height:auto;max-width:40rem}
figcaption,.soft{color:var(--soft);font-size:.92rem}
pre{background:var(--tint);border:1px solid var(--line);border-radius:6px;padding:.8rem;
overflow:auto;font-size:.85rem;line-height:1.45}
code{font-size:.85em;overflow-wrap:anywhere}
.wide{overflow-x:auto}table{border-collapse:collapse;margin:.8rem 0;font-size:.85rem}
td,th{border-bottom:1px solid var(--line);padding:.35rem .8rem .35rem 0;text-align:left;
vertical-align:top}
.number{font-variant-numeric:tabular-nums;white-space:nowrap}
.differs,.error{color:var(--bad);font-weight:600}
li{margin:.4rem 0}details{margin:.4rem 0}summary{cursor:pointer}
"""
EMPTY = ("br", "img", "meta", "path", "polyline")  # elements that hold nothing


class Html(str):
    """Markup that is put in as it is."""


def tag(name: str, /, *content: str, **attributes: str | bool) -> Html:
    """An element.

    Args:
        name: such as `p`.
        content: shown as it is, unless it is `Html`.
        attributes: `class_` is `class`, `stroke_width` is `stroke-width`; True is an attribute
            without a value, False is none.
    """
    said = ""
    for key, value in attributes.items():
        if value is not False:
            said += " " + key.rstrip("_").replace("_", "-")
            said += "" if value is True else f'="{escape(str(value))}"'
    if name in EMPTY:
        return Html(f"<{name}{said}/>")
    return Html(f"<{name}{said}>{joined(*content)}</{name}>")


def joined(*content: str) -> Html:
    """Text, shown as it is, and `Html`, one after the other."""
    return Html("".join(c if isinstance(c, Html) else escape(c) for c in content))


BREAK = tag("br")


def document(title: str, *parts: str, lead: str = "") -> str:
    """A whole page.

    Args:
        title: also the heading.
        parts: what the page holds.
        lead: the sentence below the heading, if there is one.
    """
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width,initial-scale=1"),
        tag("title", title),
        tag("style", Html(STYLE)),
    )
    below = [tag("p", lead, class_="lead")] if lead else []
    body = tag("body", tag("main", tag("h1", title), *below, *parts))
    return "<!doctype html>\n" + tag("html", head, body, lang="en") + "\n"


def section(heading: str, *parts: str) -> Html:
    """A heading and what stands below it."""
    return tag("section", tag("h2", heading), *parts)


def text(*words: str) -> Html:
    """A paragraph."""
    return tag("p", *words)


def aside(*words: str) -> Html:
    """A paragraph of less weight."""
    return tag("p", *words, class_="soft")


def verdict(words: str, good: bool) -> Html:
    """The paragraph that the page is read for."""
    return tag("p", words, class_="verdict" if good else "verdict bad")


def code(lines: str) -> Html:
    """Text as a program printed it, or to be typed; can be scrolled by keyboard."""
    return tag("pre", lines, tabindex="0")


def listed(items: Iterable[str], ordered: bool = False) -> Html:
    """A list, numbered if its order means something."""
    return tag("ol" if ordered else "ul", *(tag("li", item) for item in items))


def details(summary: str, *parts: str, shown: bool = False) -> Html:
    """A line, and what unfolds below it."""
    return tag("details", tag("summary", summary), *parts, open=shown)


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> Html:
    """A table; one that is too wide can be scrolled by itself, also by keyboard."""
    head = tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in header)))
    body = tag("tbody", *(tag("tr", *(tag("td", cell) for cell in row)) for row in rows))
    return _wide(tag("table", head, body))


def pairs(rows: Iterable[tuple[str, str]]) -> Html:
    """A table of two columns: names, and what is said of each."""
    body = (tag("tr", tag("th", name, scope="row"), tag("td", said)) for name, said in rows)
    return _wide(tag("table", tag("tbody", *body)))


def _wide(content: Html) -> Html:
    return tag("div", content, class_="wide", tabindex="0")


def number(words: str) -> Html:
    """Digits that stand below each other in a table."""
    return tag("span", words, class_="number")


def figure(drawn: Html, caption: str = "", above: bool = False) -> Html:
    """A drawing, with the line that belongs to it below or above."""
    line = [tag("figcaption", caption)] if caption else []
    return tag("figure", *line, drawn) if above else tag("figure", drawn, *line)


def picture(path: Path, description: str, caption: str = "") -> Html:
    """An image file inside the page, with its description for those who do not see it."""
    kind = {".png": "png", ".gif": "gif"}[path.suffix]
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return figure(tag("img", src=f"data:image/{kind};base64,{data}", alt=description), caption)
