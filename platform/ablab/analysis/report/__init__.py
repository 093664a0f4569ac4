"""The report of one design: a page, and the parts for a paper. Built from stored results; changes none of them."""

from ablab.analysis.report.build import PAGE, build_page, build_report
from ablab.analysis.report.corpus_page import corpora_page, corpus_page
from ablab.analysis.report.figures import styles_of
from ablab.analysis.report.gather import gather
from ablab.analysis.report.material import ClaimRecord, Material

__all__ = [
    "PAGE",
    "ClaimRecord",
    "Material",
    "build_page",
    "build_report",
    "corpora_page",
    "corpus_page",
    "gather",
    "styles_of",
]
