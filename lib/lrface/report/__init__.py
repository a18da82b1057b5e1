"""What a study leaves behind: tables, figures, findings, and a summary in words."""

from lrface.files import output_root, slug, study_folders
from lrface.report import figures, findings, ledger, needs, page, register
from lrface.report.study import Study
from lrface.report.summary import Summary, words
from lrface.report.tables import long, pivot, published, row

__all__ = [
    "Study",
    "Summary",
    "figures",
    "findings",
    "ledger",
    "long",
    "needs",
    "output_root",
    "page",
    "pivot",
    "published",
    "register",
    "row",
    "slug",
    "study_folders",
    "words",
]
