"""What a study leaves behind: tables, figures, claims, and a summary in words."""

from lrface.files import output_root, slug, study_folders
from lrface.report import figures, findings
from lrface.report.claims import Claim, ledger, verdict
from lrface.report.study import Study
from lrface.report.summary import Summary, words
from lrface.report.tables import long, pivot, published, row

__all__ = [
    "Claim",
    "Study",
    "Summary",
    "figures",
    "findings",
    "ledger",
    "long",
    "output_root",
    "pivot",
    "published",
    "row",
    "slug",
    "study_folders",
    "verdict",
    "words",
]
