"""What every page is made of: one HTML file that needs nothing else, neither network nor scripts.

Every text that comes from data, generated text above all, goes through `html.escape`; figures are pictures (`<img>`,
data URIs), in which nothing can run; and the page's own policy forbids scripts and everything from elsewhere.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from html import escape

from ablab.analysis.report.figures import Drawn
from ablab.analysis.report.look import CSS
from ablab.analysis.report.tables import Table, plain, to_html

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def frame(title: str, head: str, sections: Iterable[tuple[str, str, str]]) -> str:
    """A page. title: plain text. head: HTML above the links to the sections, (id, heading, HTML); empty ones are left
    out."""
    parts = [part for part in sections if part[2]]
    links = "".join(f'<li><a href="#{id_}">{escape(name)}</a></li>' for id_, name, _ in parts)
    body = "\n".join(f'<section id="{id_}"><h2>{escape(name)}</h2>\n{html}\n</section>' for id_, name, html in parts)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escaped(title)}</title>
<style>{CSS}</style>
</head>
<body>
<header>
{head}
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main>
{body}
</main>
</body>
</html>
"""


def escaped(value: str) -> str:
    return escape(plain(value))


def tables(*found: Table | None) -> str:
    """Those that have rows."""
    return "".join(to_html(table) for table in found if table is not None and table.rows)


def figure(drawn: Drawn) -> str:
    """A figure as a picture within the page."""
    picture = base64.b64encode(drawn.svg.read_bytes()).decode("ascii")
    title = escaped(drawn.title)
    return (
        f'<figure><img src="data:image/svg+xml;base64,{picture}" alt="{title}">\n'
        f"<figcaption><strong>{title}.</strong> {escaped(drawn.words)}</figcaption></figure>\n"
    )
