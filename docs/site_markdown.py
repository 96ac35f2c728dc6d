"""Prepares the manual's pages for MkDocs; on GitHub they are read as they are.

Python-Markdown, which MkDocs renders with, is stricter than GitHub: it wants four spaces for what
belongs to a list item, and an empty line before a list, a table and a block of code.
"""

import posixpath
import re
from collections.abc import Callable, Mapping

from markdown_it import MarkdownIt

_SEPARATED = ("bullet_list_open", "ordered_list_open", "table_open", "fence", "html_block")
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_CODE = re.compile(r"(^ *```.*?^ *```[^\n]*$)", re.MULTILINE | re.DOTALL)


def parser() -> MarkdownIt:
    """Returns a parser of Markdown as GitHub reads it, as far as the manual goes."""
    return MarkdownIt("commonmark").enable("table")


def for_python_markdown(text: str) -> str:
    """Returns a page with the indents and empty lines that Python-Markdown wants."""
    lines = text.splitlines()
    indents = [0] * len(lines)  # spaces that belong to the list items around a line
    depths = [0] * len(lines)  # list items around a line, without the one that it begins
    separated = set()
    items: list[int] = []  # the content column of each list item that is open
    previous: dict[int, int] = {}  # the first line of the last item, by depth
    for token in parser().parse(text):
        if token.type == "list_item_close":
            items.pop()
        if token.map is None:
            continue
        first, end = token.map
        if token.type == "list_item_open":
            marker = re.match(r"\s*(?:[-*+]|\d+[.)])\s+", lines[first])
            assert marker, lines[first]
            for line in range(first + 1, end):
                indents[line], depths[line] = marker.end(), len(items) + 1
            items.append(marker.end())
            inside = range(previous.get(len(items), first) + 1, first)
            if any(line in separated or not lines[line].strip() for line in inside):
                separated.add(first)  # the item before has several blocks
            previous[len(items)] = first
        if token.type in _SEPARATED and not (items and token.type.endswith("list_open")):
            separated |= {first, end} if token.type == "html_block" else {first}
    result: list[str] = []
    for number, line in enumerate(lines):
        if number in separated and line.strip() and result and result[-1].strip():
            result.append("")
        own = min(indents[number], len(line) - len(line.lstrip()))
        result.append(" " * 4 * depths[number] + line[own:] if line.strip() else "")
    return "\n".join(result) + "\n"


def with_links(
    text: str, target: Callable[[str], str | None], titles: Mapping[str, str] | None = None
) -> str:
    """Returns a page with the target of every link and picture replaced.

    Args:
        text: the page; links in code are left alone.
        target: the new target of one; None: no link, only its text.
        titles: what to call a page whose link has the name of its file, by the name.
    """

    def replaced(match: re.Match[str]) -> str:
        mark, label, link = match.groups()
        new = target(link)
        label = (titles or {}).get(label.removeprefix("docs/"), label)
        return f"{mark}[{label}]({new})" if new else label

    parts = _CODE.split(text)  # every second one is code
    return "".join(x if i % 2 else _LINK.sub(replaced, x) for i, x in enumerate(parts))


def site_link(link: str, page: str, moved: Mapping[str, str], repository: str) -> str | None:
    """Returns where a link of the repository leads on the site.

    Args:
        link: as it stands in the page.
        page: the page's path in the repository, as in `docs/data.md`.
        moved: paths in the site by paths in the repository, of pages from outside `docs/`.
        repository: address of the repository; empty: links to its other files become plain text.
    """
    if re.match(r"[a-z]+:|#", link):
        return link
    path, hash_mark, anchor = link.partition("#")
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), path))
    inside = moved.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else "")
    if not inside or inside.endswith(".py"):
        return f"{repository.rstrip('/')}/blob/main/{path}" if repository else None
    here = moved.get(page) or page.removeprefix("docs/")
    return posixpath.relpath(inside, posixpath.dirname(here) or ".") + hash_mark + anchor
