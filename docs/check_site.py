"""Check the built site: no broken link within it, and every page is reached from the index.

python docs/check_site.py docs/_build
"""

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit


class Page(HTMLParser):
    """Collects the links and the anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        for name, value in attrs:
            if name in ('id', 'name') and value:
                self.anchors.add(value)
            elif (tag, name) in (('a', 'href'), ('img', 'src'), ('link', 'href'), ('script', 'src')) and value:
                self.links.append(value)


def problems(site: Path) -> Iterator[str]:
    """Yields the broken links and the unreached pages, as sentences.

    Args:
        site: folder of a site with `index.html`.
    """
    pages: dict[Path, Page] = {}
    to_read = [site / 'index.html']
    while to_read:
        path = to_read.pop()
        if path in pages:
            continue
        pages[path] = Page(path.read_text(encoding='utf-8'))
        for link in pages[path].links:
            target = target_of(path, link)
            if target and target.suffix == '.html' and target.is_file():
                to_read.append(target)
    for path, page in pages.items():
        for link in page.links:
            target = target_of(path, link)
            anchor = unquote(urldefrag(link).fragment)
            if target and not target.is_file():
                yield f'{path.relative_to(site)} links to {link}, which does not exist'
            elif target in pages and anchor and anchor not in pages[target].anchors:
                yield f'{path.relative_to(site)} links to {link}, which has no such anchor'
    for path in sorted(site.rglob('*.html')):
        if path not in pages and '_modules' not in path.parts:  # Sphinx lists source files there
            yield f'no link leads to {path.relative_to(site)}'


def target_of(page: Path, link: str) -> Path | None:
    """The file that a link names; None for one to another site."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    return (page.parent / unquote(parts.path)).resolve() if parts.path else page


if __name__ == '__main__':
    found = list(problems(Path(sys.argv[1]).resolve()))
    sys.exit('\n'.join(found) or None)
