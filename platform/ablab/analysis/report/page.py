"""The page of a report: every result of one design, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from ablab.analysis.comparison import ClaimResult
from ablab.analysis.report import background, contents
from ablab.analysis.report.alike import apart_table
from ablab.analysis.report.figures import Drawn
from ablab.analysis.report.frame import escaped, figure, frame, tables
from ablab.analysis.report.material import Material, Samples
from ablab.analysis.report.tables import to_html

SIGNS = {"supported": "✓", "contradicted": "✗", "inconclusive": "~", "not judged": "!", "not run": "–"}
PINNED = (
    "Pinned before results: a run recorded itself under a pinned version that holds this very claim, before the first "
    "evaluation began that completes a pair of the claim's arms. Written afterwards: anything else. Times are those "
    "that the machines recorded."
)


def make_page(material: Material, figures: Sequence[Drawn]) -> str:
    """The whole page. The same material and figures give the same text."""
    head = (
        f"<h1>{escaped(material.name)}</h1>\n"
        f'<p class="question">{escaped(material.question)}</p>\n'
        f'<p class="version">{_version(material)}</p>'
    )
    return frame(f"{material.provenance.label} at {material.provenance.scale}", head, _sections(material, figures))


def _version(material: Material) -> str:
    found, comparison = material.provenance, material.comparison
    results = sum(arm.finished for arm in material.arms)
    words = (
        f"{found.label} at {found.scale} · design {found.design_digest[:12]} · {len(comparison.arms)} arms × "
        f"{len(comparison.replicates)} replicates, {results} results"
    )
    edits = "; ".join(f"{path}={value}" for path, value in found.edits.items())
    return escaped(words) + (f"<br>edited: <code>{escaped(edits)}</code>" if edits else "")


def _sections(material: Material, figures: Sequence[Drawn]) -> Iterator[tuple[str, str, str]]:
    """(id, heading, HTML); empty where there is nothing."""
    drawn = {one.name: figure(one) for one in figures}
    tasks = [html for name, html in drawn.items() if name.startswith("tasks-")]
    factors = [html for name, html in drawn.items() if name.startswith("factor-")]
    yield "claims", "Claims", _claims(material)
    yield "arms", "Arms", to_html(background.arms_table(material))
    yield (
        "effects",
        "Effects",
        drawn.get("effects", "") + tables(contents.effects_table(material.shown)) + _remarks(material),
    )
    yield "scores", "Scores", tables(contents.scores_table(material.shown))
    yield "factors", "Curves over a factor", "".join(factors)
    yield "relative", "Relative change", tables(contents.relative_table(material))
    yield "oracle", "Oracle selection", tables(contents.oracle_table(material))
    yield "components", "Variance components", tables(contents.components_table(material))
    yield "tasks", "Effects by task", "".join(tasks)
    looks = [html for name, html in drawn.items() if name.startswith("curves-")]
    yield "curves", "Learning curves", drawn.get("learning-curves", "") + "".join(looks)
    corpora = tables(background.corpora_table(material), apart_table(material.apart))
    yield "corpora", "Corpora", corpora + _samples(material.samples)
    yield "costs", "Costs", tables(background.costs_table(material), background.kinds_table(material))
    yield "sizes", "Effect sizes", tables(contents.sizes_table(material))
    runs, environments = background.runs_table(material), background.environments_table(material)
    stages = f'<div class="mono">{to_html(background.stages_table(material))}</div>'
    yield "provenance", "Provenance", tables(runs, environments) + stages


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
        f"{escape(claim.verdict)}</span><div><p>{escaped(claim.statement)}</p><p>{escaped(words)}</p>"
        f'<p class="why">{escaped(f"{claim.metric}, {claim.arm} against {claim.against}")} · '
        f"<strong>{escape(record.status)}</strong>: {escaped(record.why)}</p></div></li>"
    )


def _remarks(material: Material) -> str:
    absent = [arm.name for arm in material.arms if not arm.finished]
    single = [one for one in material.comparison.missing if one.rpartition(" ")[0] not in absent]
    notes = [f"Arms without any result: {', '.join(absent)}"] if absent else []
    notes += [f"Missing replicates: {', '.join(single)}"] if single else []
    notes += [f"Note: {note}" for note in material.comparison.notes]
    return "".join(f'<p class="note">{escaped(note)}</p>' for note in notes)


def _samples(found: Sequence[Samples]) -> str:
    """Side by side; what a model wrote is shown as it is, and only shown."""
    if not found:
        return ""
    columns = "\n".join(
        f"<div><h3>{escaped(one.name)}</h3>" + "".join(f"<pre>{escaped(text)}</pre>" for text in one.texts) + "</div>"
        for one in found
    )
    return f'<h3>Samples</h3>\n<div class="samples">{columns}</div>'
