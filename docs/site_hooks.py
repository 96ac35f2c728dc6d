"""What MkDocs calls while it builds the site: pages from outside `docs/`, links, the reference.

python -m mkdocs build --strict
"""

import pathlib
import sys
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # `mkdocs`, unlike `python -m mkdocs`, does not see the repository

from docs import site_markdown, site_reference  # noqa: E402

# pages from outside `docs/`: where they stand on the site
MOVED = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "launch/README.md": "launch.md",
}
_HEADS = {"index.md": "---\nhide: [navigation]\n---\n"}
MADE = {"commands": site_reference.commands, "python": site_reference.python}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that lie outside `docs/`."""
    for source, page in MOVED.items():
        text = _HEADS.get(page, "") + (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Fills in the reference, follows links to where they lead on the site, and sets indents."""
    sources = {target: source for source, target in MOVED.items()}
    path = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    repository = config.repo_url or ""
    markdown = site_markdown.with_links(
        markdown,
        lambda link: site_markdown.site_link(link, path, MOVED, repository),
        titles(config.nav or []),
    )
    markdown = site_markdown.for_python_markdown(markdown)
    for name, make in MADE.items():
        marker = f"<!-- site: {name} -->"
        if marker in markdown:
            markdown = markdown.replace(marker, make())
    return markdown


def titles(nav: list[Any]) -> dict[str, str]:
    """Returns what the navigation calls each page."""
    result: dict[str, str] = {}
    for entry in nav:
        for title, value in entry.items():
            result |= {value: title} if isinstance(value, str) else titles(value)
    return result
