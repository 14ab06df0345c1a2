"""Open the built book in headless Chromium: `python docs/check_browser.py DIR`.

Every page is opened from the file system in light and dark, at laptop and phone width. Fails on a
request that leaves the folder, an error on the console, a serious accessibility violation (axe), a
page that scrolls sideways, one whose text the keyboard cannot reach past the menu, or a card that
does not print on one sheet. Screenshots go to DIR/../screenshots.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

VIEWS = {
    "laptop-light": ({"width": 1280, "height": 800}, "light"),
    "laptop-dark": ({"width": 1280, "height": 800}, "dark"),
    "phone-light": ({"width": 390, "height": 844}, "light"),
    "phone-dark": ({"width": 390, "height": 844}, "dark"),
}
PATIENCE = 180_000  # ms: a page as long as the reference, on a machine that does more
SERIOUS = ("serious", "critical")
FLAGS = ["--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]


def main(arguments: list[str]) -> int:
    """Check each page in each view; 0 if nothing is wrong, 1 if something is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--chromium", default="/usr/bin/chromium", help="default: %(default)s")
    parser.add_argument("--only", help="pages whose name holds this text")
    args = parser.parse_args(arguments)
    if not Path(args.chromium).exists():
        print(f"no browser at {args.chromium}: apt-get install chromium, or --chromium PATH")
        return 2
    from playwright.sync_api import sync_playwright

    folder = args.folder.resolve()
    pages = [p for p in sorted(folder.rglob("*.html")) if "_modules" not in p.parts]
    pages = [p for p in pages if not args.only or args.only in p.name]
    screenshots = folder.parent / "screenshots"
    screenshots.mkdir(exist_ok=True)
    found: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=args.chromium, args=FLAGS)
        for view, (size, scheme) in VIEWS.items():
            context = browser.new_context(viewport=size, color_scheme=scheme)
            context.set_default_timeout(PATIENCE)
            for path in pages:
                name = str(path.relative_to(folder))
                problems = check_page(context, path, screenshots / view, name)
                found += [f"{view} {name}: {problem}" for problem in problems]
                if path.name == "card.html" and (sheets := sheets_of(context, path)) != 1:
                    found.append(f"{view} {name}: prints on {sheets} sheets, not on one")
            context.close()
        browser.close()
    print("\n".join(found))
    print(f"{len(pages)} pages in {len(VIEWS)} views, {len(found)} problems; see {screenshots}")
    return 1 if found or not pages else 0


def check_page(context: Any, path: Path, screenshots: Path, name: str) -> list[str]:
    """What is wrong with one page in one view; its screenshot is left in `screenshots`."""
    from axe_playwright_python.sync_playwright import Axe

    page = context.new_page()
    requests: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(path.as_uri(), wait_until="load")
    found = [f"asks for {url}" for url in requests if not url.startswith(("file:", "data:"))]
    found += [f"console: {text}" for text in errors]
    width, seen = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    if width > seen:
        found.append(f"scrolls sideways: {width} px in a window of {seen}")
    page.keyboard.press("Tab")
    if "skip" not in (first := page.evaluate("document.activeElement.textContent")).lower():
        found.append(f"the first Tab reaches {first.strip()[:40]!r}, not the link past the menu")
    page.evaluate("document.activeElement.blur()")
    for violation in Axe().run(page).response["violations"]:
        if violation["impact"] in SERIOUS:
            where = violation["nodes"][0]["html"][:120]
            found.append(f"axe {violation['id']} ({len(violation['nodes'])}x): {where}")
    screenshots.mkdir(exist_ok=True)
    page.screenshot(path=screenshots / (name.replace("/", "-")[:-5] + ".png"), full_page=True)
    page.close()
    return found


def sheets_of(context: Any, path: Path) -> int:
    """How many sheets of paper a page takes, of the size that its own style asks for."""
    page = context.new_page()
    page.goto(path.as_uri(), wait_until="load")
    pdf = page.pdf(prefer_css_page_size=True)
    page.close()
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
