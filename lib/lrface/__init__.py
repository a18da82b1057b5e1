"""lrface: an executable companion to five works on face hallucination and low-resolution face recognition."""

import warnings

# A worker that has grown by 300 MB, as a training makes it grow, is replaced between two jobs; nothing is lost, and no reader need know.
warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
