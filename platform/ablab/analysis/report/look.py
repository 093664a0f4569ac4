"""How the page looks, on a screen and on paper. No fonts, scripts or pictures from elsewhere."""

from __future__ import annotations

CSS = """
:root { --ink: #1a1a1a; --dim: #595959; --line: #d5d5d5; --soft: #f5f6f7; --link: #0058a3;
  --yes: #006b4f; --no: #a63c00; --maybe: #6b5600; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.5rem 4rem; color: var(--ink); background: #fff;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", Arial, sans-serif; }
header { border-bottom: 2px solid var(--ink); margin-bottom: 1.5rem; padding-bottom: 1rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .8rem; padding-bottom: .2rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1.02rem; margin: 1.6rem 0 .3rem; }
p { margin: .5rem 0; max-width: 50rem; }
.question { font-size: 1.15rem; }
.version, .note, figcaption, .why { color: var(--dim); font-size: .875rem; }
code { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: .9em;
  overflow-wrap: anywhere; }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; list-style: none; margin: .8rem 0 0; padding: 0; }
nav a { color: var(--link); }
.wide { overflow-x: auto; margin: .9rem 0 .3rem; }
table { border-collapse: collapse; font-size: .875rem; line-height: 1.35; }
caption { text-align: left; font-weight: 600; padding: 0 0 .35rem; }
th, td { padding: .28rem .7rem .28rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid #ececec;
  font-weight: normal; }
thead th { border-bottom: 1.5px solid var(--ink); vertical-align: bottom; color: var(--dim); }
tbody tr:last-child > * { border-bottom: 1.5px solid var(--ink); }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; padding-left: .7rem; }
tbody th { white-space: nowrap; }
.mono tbody th { white-space: normal; }
tr.headline > * { font-weight: 600; }
.mono table { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: .72rem; }
.mono caption { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", Arial, sans-serif;
  font-size: .875rem; }
.mono td, .mono th { overflow-wrap: anywhere; min-width: 4rem; }
#sizes table { font-size: .74rem; } #sizes th, #sizes td { padding-right: .3rem; } #sizes .n { padding-left: .4rem; }
#sizes td { white-space: nowrap; }
.claims { list-style: none; padding: 0; margin: 0; }
.claims li { display: grid; grid-template-columns: 9.5rem 1fr; gap: .1rem 1rem; padding: .65rem 0;
  border-bottom: 1px solid var(--line); }
.verdict { font-weight: 700; }
.verdict::before { content: attr(data-sign) " "; }
.supported .verdict { color: var(--yes); } .contradicted .verdict { color: var(--no); }
.inconclusive .verdict { color: var(--maybe); } .not-run .verdict { color: var(--dim); }
.not-judged .verdict { color: var(--no); }
.claims p { margin: 0; }
figure { margin: 1.2rem 0; }
figure img { max-width: 100%; height: auto; display: block; }
figcaption { max-width: 50rem; margin-top: .3rem; }
.samples { display: grid; grid-template-columns: repeat(auto-fit, minmax(16rem, 1fr)); gap: 1rem; }
.samples > div { border: 1px solid var(--line); border-radius: 4px; padding: .6rem .8rem; background: var(--soft); }
.samples h3 { margin: 0 0 .4rem; overflow-wrap: anywhere; }
.samples pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0 0 .7rem; padding-top: .5rem;
  border-top: 1px solid var(--line); font: .82rem/1.45 Georgia, "DejaVu Serif", serif; }
@media (max-width: 40rem) { body { padding: 1rem; } .claims li { grid-template-columns: 1fr; } }
@media print {
  @page { size: A4; margin: 14mm; }
  body { font-size: 9.5pt; max-width: none; padding: 0; }
  nav { display: none; }
  h2, h3, caption { break-after: avoid; }
  figure, .claims li, tr { break-inside: avoid; }
  .wide { overflow: visible; }
  .version, .note, figcaption, .why { font-size: 8pt; }
  table { font-size: 7.5pt; } #sizes table { font-size: 5.8pt; } #sizes .n { padding-left: .4rem; }
  .mono table { font-size: 6pt; }
  thead { display: table-header-group; }
  .n, tbody th { white-space: normal; }
  figure img { max-height: 245mm; width: auto; }
  .samples { grid-template-columns: repeat(2, 1fr); } .samples > div { background: #fff; break-inside: avoid; }
}
"""
