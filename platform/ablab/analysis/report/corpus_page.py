"""A page of statistics of one corpus, or of all corpora of a design side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path

from ablab.analysis.apart import arms_apart
from ablab.analysis.corpora import percent
from ablab.analysis.report.alike import alike_table, apart_table
from ablab.analysis.report.background import measures_table
from ablab.analysis.report.contents import NOTHING
from ablab.analysis.report.corpora import REAL, Column, columns, corpus_column
from ablab.analysis.report.corpus_figures import draw_corpora
from ablab.analysis.report.figures import Drawn
from ablab.analysis.report.frame import escaped, figure, frame, tables
from ablab.analysis.report.provenance import settings_of
from ablab.analysis.report.tables import Table
from ablab.store import Store
from ablab.store.executions import Roles

CORPUS_PAGE, CORPORA_PAGE = "corpus.html", "corpora.html"
LONGEST = 1_500  # characters of a text
FEWEST_COMPARED = 2


def corpora_page(
    title: str, question: str, arms: Sequence[str], roles: Roles, store: Store, folder: Path
) -> tuple[Path, ...]:
    """Write `corpora.html` and its figures into `folder`: the corpora of all arms, the real one first.

    Returns every file written; none where no corpus is described yet.
    """
    found = columns(arms, roles, store)
    if not found:
        return ()
    head = f'<h1>{escaped(title)}: corpora</h1>\n<p class="question">{escaped(question)}</p>'
    between = (apart_table(arms_apart(arms, roles, store)), alike_table(arms, roles, store))
    return _write(folder, CORPORA_PAGE, f"Corpora of {title}", head, found, between=between)


def corpus_page(key: str, label: str, store: Store, folder: Path) -> tuple[Path, ...]:
    """Write `corpus.html` and its figures into `folder`: the corpus that a describe stage describes, by its key.

    label: what people call the stage. Returns every file written.
    """
    inputs = store.identity("describe", key)["inputs"]
    real = inputs["corpus"] == inputs["real"]
    kind = "corpus" if real else "generate"
    column = corpus_column(REAL if real else f"{kind} {inputs['corpus'][:8]}", [key], store)
    head = f'<h1>{escaped(column.name.capitalize())}</h1>\n<p class="version">{escaped(label)}</p>'
    return _write(folder, CORPUS_PAGE, column.name, head, (column,), _manifest(kind, inputs["corpus"], store))


def _write(
    folder: Path,
    name: str,
    title: str,
    head: str,
    found: Sequence[Column],
    manifest: Table | None = None,
    between: Sequence[Table | None] = (),
) -> tuple[Path, ...]:
    drawn = draw_corpora(found, folder / "figures")
    page = folder / name
    page.write_text(frame(title, head, _sections(found, drawn, manifest, between)), encoding="utf-8")
    return (page, *(path for one in drawn for path in one.paths))


def _sections(
    found: Sequence[Column], drawn: Sequence[Drawn], manifest: Table | None, between: Sequence[Table | None]
) -> Iterator[tuple[str, str, str]]:
    """(id, heading, HTML); empty where there is nothing."""
    pictures = {one.name: figure(one) for one in drawn}
    several = any(one.row.corpora > 1 for one in found)
    title = "Mean over the corpora of an arm" if several else "Measures"
    yield "numbers", "Numbers", tables(measures_table([one.row for one in found], title, _number_notes(found)))
    yield "alike", "Between arms", tables(*between)
    yield "steps", "By step", pictures.get("corpus-steps", "")
    yield "lengths", "Lengths", pictures.get("corpus-lengths", "")
    yield "evaluation", "Evaluation text", tables(_evaluation_table(found))
    yield "samples", "Samples", _samples(found)
    yield "made", "How they were made", tables(_declared_table(found))
    yield "manifest", "Manifest", f'<div class="mono">{tables(manifest)}</div>' if manifest else ""


def _number_notes(found: Sequence[Column]) -> list[str]:
    notes = []
    if any("overlap_seed" in one.row.numbers for one in found):
        notes.append(
            "13-grams of real, training and prompt text: share of the corpus's distinct 13-grams of words that the "
            "train or seed split, the train split, the seed split of the real corpus holds; where prompts are kept, "
            "they are prompt text. Evaluation 13-grams: share of theirs that the corpus holds."
        )
    if any("from_good" in one.row.numbers for one in found):
        notes.append(
            "Probe: mean total variation (0 to 1) over the first steps of the first sequences, before the corpus was "
            "generated: from the declared distribution to GOOD's own and to the same at strength 0, and between the "
            "two models."
        )
    if any("true_statements" in one.row.numbers for one in found):
        notes.append("True statements: of those that can be decided, the share that is true of the microworld.")
    return notes


def _evaluation_table(found: Sequence[Column]) -> Table | None:
    """How much of every suite's text the corpora hold."""
    first = next((one for one in found if one.held), None)
    if first is None:
        return None
    rows = [(suite, f"{ngrams:,}", *(_held(one, suite) for one in found)) for suite, (ngrams, _) in first.held.items()]
    notes = ["Every option of an item stands behind its context. Items of fewer than 13 words have no 13-gram."]
    unread = sorted({suite for one in found for suite in one.unread})
    if unread:
        notes.append(f"The text of these suites is not read, nothing is known of their overlap: {', '.join(unread)}.")
    head = ("suite", "distinct 13-grams", *(one.name for one in found))
    title = "Share of the 13-grams of evaluation text that a corpus holds"
    return Table("evaluation", title, head, tuple(rows), notes=tuple(notes))


def _held(column: Column, suite: str) -> str:
    share = column.held.get(suite, (0, None))[1]
    return NOTHING if share is None else percent(share)


def _declared_table(found: Sequence[Column]) -> Table | None:
    """What was declared of generated corpora, and the steps of GOOD and BAD; rows that differ are marked."""
    made = [one for one in found if one.declared]
    paths = list(dict.fromkeys(path for one in made for path in one.declared))
    rows = tuple((path, *(one.declared.get(path, NOTHING) for one in made)) for path in paths)
    marks = tuple("headline" if len(set(row[1:])) > 1 else "" for row in rows)
    notes = ("Rows that differ are marked; several values are those of several corpora.",) if any(marks) else ()
    title = "Parameters of the generation"
    return Table("declared", title, ("", *(one.name for one in made)), rows, marks=marks, notes=notes) if rows else None


def _manifest(kind: str, key: str, store: Store) -> Table:
    """Which stage made the corpus, from what, by what; what it took, and its files."""
    identity, manifest = store.identity(kind, key), store.manifest(kind, key)
    rows = [("stage", kind), ("key (SHA-256)", key), ("revision", str(identity["revision"]))]
    rows += [(f"input {name}", of) for name, of in sorted(identity["inputs"].items())]
    rows += list(settings_of(manifest).items())
    rows += [(f"cost {name}", f"{value:,.1f}") for name, value in sorted(manifest.get("costs", {}).items())]
    rows += [
        (f"file {name}", f"{about['bytes']:,} bytes, SHA-256 {about['sha256']}")
        for name, about in sorted(manifest["files"].items())
    ]
    return Table("manifest", "Manifest", ("", "value"), tuple(rows), left=2)


def _samples(found: Sequence[Column]) -> str:
    """What came of the same prompts next to each other; what a model wrote is shown as it is, and only shown."""
    generated = [one for one in found if one.declared]
    real = [_texts({one.name: text}) for one in found if not one.declared for text in one.samples.texts[:3]]
    parts = [f'<h3>Real text</h3>\n<div class="samples">{"".join(real)}</div>'] if real else []
    for number in range(max((len(one.samples.texts) for one in generated), default=0)):
        texts = {one.name: one.samples.texts[number] for one in generated if number < len(one.samples.texts)}
        parts.append(f'<h3>Sequence {number}</h3>\n<div class="samples">{_texts(texts)}</div>')
    if len(generated) >= FEWEST_COMPARED:
        parts.insert(
            0, '<p class="note">Sequences of one number continue the same prompt; bold is what all begin with.</p>'
        )
    return "\n".join(parts)


def _texts(texts: Mapping[str, str]) -> str:
    """A box per text; the beginning that all share is bold."""
    written = [text for text in texts.values() if text]
    shared = _common(written) if len(written) >= FEWEST_COMPARED else 0
    boxes = []
    for name, text in texts.items():
        rest = text[shared:LONGEST] + (" …" if len(text) > LONGEST else "")
        shown = f"<strong>{escaped(text[:shared])}</strong>{escaped(rest)}" if text else "no text"
        boxes.append(f"<div><h3>{escaped(name)}</h3><pre>{shown}</pre></div>")
    return "\n".join(boxes)


def _common(texts: Sequence[str]) -> int:
    """Characters with which all begin."""
    return sum(1 for _ in takewhile(lambda letters: len(set(letters)) == 1, zip(*texts, strict=False)))
