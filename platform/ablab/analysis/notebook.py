"""A comparison where a person works with it: as data frames, and as HTML in a notebook. pandas is imported when asked
for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ablab.analysis.comparison import Comparison
from ablab.analysis.export import CLAIMS, EFFECTS, SCORES, claim_rows, effect_rows, score_rows
from ablab.analysis.report.contents import effects_table, scores_table
from ablab.analysis.report.tables import Table, to_html

if TYPE_CHECKING:
    import pandas as pd

What = Literal["scores", "effects", "claims"]
STYLE = "<style>.ablab table{margin:.5em 0}.ablab .n{text-align:right}.ablab caption{text-align:left}</style>"


def to_pandas(comparison: Comparison, what: What) -> pd.DataFrame:
    """The rows of scores.csv, effects.csv or claims.csv; what does not exist is a missing value."""
    import pandas as pd

    match what:
        case "scores":
            return pd.DataFrame(list(score_rows(comparison)), columns=list(SCORES))
        case "effects":
            rows = [row for effect in comparison.effects for row in effect_rows(effect)]
            return pd.DataFrame(rows, columns=list(EFFECTS))
        case "claims":
            return pd.DataFrame(list(claim_rows(comparison)), columns=list(CLAIMS))


def comparison_html(comparison: Comparison) -> str:
    """Verdicts, differences and scores; every text escaped."""
    verdicts = tuple((claim.statement, claim.words) for claim in comparison.claims)
    claims = Table("claims", "Claims", ("claim", "verdict"), verdicts, left=2, notes=comparison.notes)
    tables = [claims, effects_table(comparison), scores_table(comparison)]
    return f'{STYLE}<div class="ablab">{"".join(to_html(one) for one in tables if one.rows)}</div>'
