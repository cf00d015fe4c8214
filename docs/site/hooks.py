"""Links of the pages that lead out of docs/ (to code, to the README) become plain code on the site."""

import posixpath
import re

LINK = re.compile(r"(?<!\!)\[([^\]]+)\]\(((?:\.\./|examples/|data/)[^)#]*)(#[^)]*)?\)")


def on_page_markdown(markdown: str, page, **_):
    """Called by mkdocs for every page."""
    folder = posixpath.dirname(page.file.src_uri)

    def plain(match: re.Match) -> str:
        path = posixpath.normpath(posixpath.join("docs", folder, match[2]))
        inside = path.startswith("docs/") and path.endswith(".md")
        return match[0] if inside else f"{match[1]} (`{path}`)" if match[1].strip("`") != path else f"`{path}`"

    return LINK.sub(plain, markdown)
