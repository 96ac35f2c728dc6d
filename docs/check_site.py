"""Checks the built site: links and anchors, nothing fetched from elsewhere, nothing lost.

python -m mkdocs build --strict && python -m docs.check_site site
"""

import collections
import html.parser
import pathlib
import sys
import urllib.parse
from collections.abc import Iterator, Mapping

from docs.site_markdown import parser

ROOT = pathlib.Path(__file__).parents[1]
# what a browser fetches by itself
_FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
# elements of a page that its Markdown has as many of
_COUNTED = {
    "table": ("table_open",),
    "li": ("list_item_open",),
    "img": ("image",),
    "pre": ("fence", "code_block"),
}


class Html(html.parser.HTMLParser):
    """What a page links to and fetches, the names of its places, and what its text is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.names: set[str] = set()
        self.counts: collections.Counter[str] = collections.Counter()
        self._is_text = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Reads an element."""
        values = dict(attrs)
        self.names |= {value for key in ("id", "name") if (value := values.get(key))}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"] or "")
        fetched = values.get(_FETCHED.get(tag, ""))
        if fetched and values.get("rel") not in ("canonical", "next", "prev"):
            self.fetched.append(fetched)
        self._is_text |= tag == "article"
        if self._is_text:
            self.counts[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        """Notes the end of the page's text."""
        self._is_text &= tag != "article"


def read(site: pathlib.Path) -> dict[pathlib.Path, Html]:
    """Returns the pages of a site."""
    return {path: Html(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}


def broken(pages: Mapping[pathlib.Path, Html], site: pathlib.Path) -> Iterator[str]:
    """Yields every link to a page, file or anchor that is not there, and all that is fetched."""
    for path, page in pages.items():
        if path.name == "404.html":  # its links begin at the address that the site will have
            continue
        where = path.relative_to(site)
        for link in page.fetched:
            if urllib.parse.urlsplit(link).netloc:
                yield f"{where}: fetches {link}"
        for link in {*page.links, *page.fetched}:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (
                (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path
            )
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                yield f"{where}: no {link}"
            name = urllib.parse.unquote(parts.fragment)
            if name and target in pages and name not in pages[target].names:
                yield f"{where}: no place {link}"


def lost(page: Html, source: str) -> Iterator[str]:
    """Yields the elements that a page has fewer or more of than GitHub makes of its Markdown."""
    wanted = collections.Counter()
    for token in parser().parse(source):
        wanted.update([token.type, *(child.type for child in token.children or ())])
    for element, tokens in _COUNTED.items():
        number = sum(wanted[token] for token in tokens)
        if page.counts[element] != number:
            yield f"{page.counts[element]} of <{element}>, not {number}"


def main() -> int:
    """Checks a site, prints what is wrong, and returns the exit status."""
    site = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "site").resolve()
    pages = read(site)
    faults = list(broken(pages, site))
    for path, page in pages.items():
        source = ROOT / "docs" / f"{path.parent.relative_to(site)}.md"
        text = source.read_text(encoding="utf-8") if source.exists() else ""
        if text and "<!-- site: " not in text:  # which has more on the site
            faults += [f"{path.relative_to(site)}: {fault}" for fault in lost(page, text)]
    print("\n".join(faults) or f"{len(pages)} pages: all links lead somewhere")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
