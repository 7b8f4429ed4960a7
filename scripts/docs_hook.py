"""mkdocs hooks: pages from outside docs/, and the list of decisions.

README.md, CONTRIBUTING.md, SECURITY.md and CHANGELOG.md are at the root for GitHub and the package. They become pages
of the site, and links from docs/ lead to them. Links to the folder decisions/ lead to the list of decisions.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = {
    name: f"project/{name.lower()}" for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
}
DECISIONS = "decisions/index.md"
LINK = re.compile(r"(!?\[[^\]]*\])\(([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    for name, page in OUTSIDE.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=moved(text, "", page)))
    files.append(File.generated(config, DECISIONS, content=list_of_decisions(Path(config["docs_dir"]))))
    return files


def on_config(config: Any) -> Any:
    """Add the generated pages to the navigation: decisions under their own title, and the project's pages last."""
    decisions = sorted((Path(config["docs_dir"]) / "decisions").glob("*.md"))
    config["nav"][-1] = {"Decisions": [DECISIONS, *(f"decisions/{file.name}" for file in decisions)]}
    config["nav"].append({"Project": list(OUTSIDE.values())})
    return config


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    here = page.file.src_uri
    return markdown if here in OUTSIDE.values() else moved(markdown, posixpath.dirname("docs/" + here), here)


def moved(text: str, folder: str, page: str) -> str:
    """The text of a file in `folder` of the repository, with its links as they are on `page` of the site."""

    def link(match: re.Match[str]) -> str:
        label, target, anchor = match[1], match[2], match[3] or ""
        if "://" in target:
            return match[0]
        file = posixpath.normpath(posixpath.join(folder, target))
        found = site_page(file)
        if not found:
            return label.lstrip("!")[1:-1]  # the file is in the repository, but not on the site
        return f"{label}({posixpath.relpath(found, posixpath.dirname(page) or '.')}{anchor})"

    return LINK.sub(link, text)


def site_page(file: str) -> str | None:
    """The path of a repository file among the site's sources; None if it is not on the site."""
    if file == "docs/decisions":
        return DECISIONS
    return file.removeprefix("docs/") if file.startswith("docs/") else OUTSIDE.get(file)


def list_of_decisions(docs: Path) -> str:
    titles = [
        (file.name, file.read_text(encoding="utf-8").split("\n")[0][2:]) for file in docs.glob("decisions/*.md")
    ]
    lines = [f"- [{title}]({name})" for name, title in sorted(titles)]
    head = "# Decisions\n\nWhat closed a door: context, decision, consequences, and what was rejected.\n"
    return "\n".join([head, *lines, ""])
