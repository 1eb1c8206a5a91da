"""What `make docs` adds to the pages: MkDocs calls it (mkdocs.yml, `hooks`)."""

from typing import Any


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """The reports that were built, on the page about them; those are not committed."""
    if page.file.src_uri != "docs/report.md":
        return markdown
    built = [file.src_uri for file in files if file.src_uri.endswith("/report.html")]
    return "\n".join([markdown, *(f"- [{name}](../{name}), opened here" for name in built)])
