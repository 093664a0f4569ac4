"""The page: one HTML file that needs nothing else, neither network nor scripts.

Every text that comes from data, generated text above all, goes through `html.escape`; figures are pictures (`<img>`,
data URIs), in which nothing can run; and the page's own policy forbids scripts and everything from elsewhere.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from html import escape

from ablab.analysis.comparison import ClaimResult
from ablab.analysis.report import background, contents
from ablab.analysis.report.figures import Drawn
from ablab.analysis.report.look import CSS
from ablab.analysis.report.material import Material, Samples
from ablab.analysis.report.tables import Table, plain, to_html

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
SIGNS = {"supported": "✓", "contradicted": "✗", "inconclusive": "~", "not run": "–"}
PINNED = (
    "Pinned before results: a run recorded itself under a pinned version that holds this very claim, before the first "
    "evaluation began that completes a pair of the claim's arms. Written afterwards: anything else. Times are those "
    "that the machines recorded."
)


def make_page(material: Material, figures: Sequence[Drawn]) -> str:
    """The whole page. The same material and figures give the same text."""
    parts = [part for part in _sections(material, figures) if part[2]]
    title = f"{material.provenance.label} at {material.provenance.scale}"
    links = "".join(f'<li><a href="#{id_}">{escape(name)}</a></li>' for id_, name, _ in parts)
    body = "\n".join(f'<section id="{id_}"><h2>{escape(name)}</h2>\n{html}\n</section>' for id_, name, html in parts)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_text(title)}</title>
<style>{CSS}</style>
</head>
<body>
<header>
<h1>{_text(material.name)}</h1>
<p class="question">{_text(material.question)}</p>
<p class="version">{_version(material)}</p>
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main>
{body}
</main>
</body>
</html>
"""


def _version(material: Material) -> str:
    found, comparison = material.provenance, material.comparison
    results = sum(arm.finished for arm in material.arms)
    words = (
        f"{found.label} at {found.scale} · design {found.design_digest[:12]} · {len(comparison.arms)} arms × "
        f"{len(comparison.replicates)} replicates, {results} results"
    )
    edits = "; ".join(f"{path}={value}" for path, value in found.edits.items())
    return _text(words) + (f"<br>edited: <code>{_text(edits)}</code>" if edits else "")


def _sections(material: Material, figures: Sequence[Drawn]) -> Iterator[tuple[str, str, str]]:
    """(id, heading, HTML); empty where there is nothing."""
    drawn = {figure.name: _figure(figure) for figure in figures}
    tasks = [html for name, html in drawn.items() if name.startswith("tasks-")]
    factors = [html for name, html in drawn.items() if name.startswith("factor-")]
    yield "claims", "Claims", _claims(material)
    yield "arms", "Arms", to_html(background.arms_table(material))
    yield (
        "effects",
        "Effects",
        drawn.get("effects", "") + _tables(contents.effects_table(material)) + _remarks(material),
    )
    yield "scores", "Scores", _tables(contents.scores_table(material))
    yield "factors", "Curves over a factor", "".join(factors)
    yield "relative", "Relative change", _tables(contents.relative_table(material))
    yield "components", "Variance components", _tables(contents.components_table(material))
    yield "tasks", "Effects by task", "".join(tasks)
    yield "curves", "Learning curves", drawn.get("learning-curves", "")
    yield "corpora", "Corpora", _tables(background.corpora_table(material)) + _samples(material.samples)
    yield "costs", "Costs", _tables(background.costs_table(material), background.kinds_table(material))
    yield "sizes", "Effect sizes", _tables(contents.sizes_table(material))
    runs, environments = background.runs_table(material), background.environments_table(material)
    stages = f'<div class="mono">{to_html(background.stages_table(material))}</div>'
    yield "provenance", "Provenance", _tables(runs, environments) + stages


def _tables(*tables: Table | None) -> str:
    return "".join(to_html(table) for table in tables if table is not None and table.rows)


def _claims(material: Material) -> str:
    claims = material.comparison.claims
    if not claims:
        return "<p>No claims are declared.</p>"
    items = "\n".join(_claim(claim, material) for claim in claims)
    numbers = to_html(contents.claims_table(material))
    return f'<ul class="claims">\n{items}\n</ul>\n{numbers}<p class="note">{escape(PINNED)}</p>'


def _claim(claim: ClaimResult, material: Material) -> str:
    record = material.claims[claim.id]
    words = claim.words.removeprefix(f"{claim.verdict}: ")
    return (
        f'<li class="{claim.verdict.replace(" ", "-")}"><span class="verdict" data-sign="{SIGNS[claim.verdict]}">'
        f"{escape(claim.verdict)}</span><div><p>{_text(claim.statement)}</p><p>{_text(words)}</p>"
        f'<p class="why">{_text(f"{claim.metric}, {claim.arm} against {claim.against}")} · '
        f"<strong>{escape(record.status)}</strong>: {_text(record.why)}</p></div></li>"
    )


def _remarks(material: Material) -> str:
    absent = [arm.name for arm in material.arms if not arm.finished]
    single = [one for one in material.comparison.missing if one.rpartition(" ")[0] not in absent]
    notes = [f"Arms without any result: {', '.join(absent)}"] if absent else []
    notes += [f"Missing replicates: {', '.join(single)}"] if single else []
    notes += [f"Note: {note}" for note in material.comparison.notes]
    return "".join(f'<p class="note">{_text(note)}</p>' for note in notes)


def _figure(drawn: Drawn) -> str:
    picture = base64.b64encode(drawn.svg.read_bytes()).decode("ascii")
    title = _text(drawn.title)
    return (
        f'<figure><img src="data:image/svg+xml;base64,{picture}" alt="{title}">\n'
        f"<figcaption><strong>{title}.</strong> {_text(drawn.words)}</figcaption></figure>\n"
    )


def _samples(found: Sequence[Samples]) -> str:
    """Side by side; what a model wrote is shown as it is, and only shown."""
    if not found:
        return ""
    columns = "\n".join(
        f"<div><h3>{_text(one.name)}</h3>" + "".join(f"<pre>{_text(text)}</pre>" for text in one.texts) + "</div>"
        for one in found
    )
    return f'<h3>Samples</h3>\n<div class="samples">{columns}</div>'


def _text(value: str) -> str:
    return escape(plain(value))
