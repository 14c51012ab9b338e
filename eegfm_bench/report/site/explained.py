"""How the pages are read: what numbers cover, and what they do not.

From: nothing. To: the overview's last section.
"""

from __future__ import annotations

from eegfm_bench.report._cells import MARK, PENDING, SEEN_MARK
from eegfm_bench.report.site._markup import Html, tag

WORDS = (
    (
        "mean ± sd (n)",
        "The mean over n seeds of one question, and their standard deviation (ddof 1). "
        "It is the spread of training, not of people.",
    ),
    (
        "bold, underlined",
        "The best and the second of a column, as printed. A rank is not a test: what "
        "differs beyond chance is under “How sure the numbers are”.",
    ),
    (
        SEEN_MARK,
        "The weights that a row starts from have met people of this dataset in "
        "pre-training.",
    ),
    (MARK, "The number leaves something out; the note below the table says what."),
    (PENDING, "The cell has not been run. Failed and missing cells say why."),
    (
        "row",
        "Model, start, scale, what was trained, and which labels. Rows that differ in "
        "any of these, or in their protocol, are never averaged together.",
    ),
    (
        "protocol",
        "Channels, windows, labels and who is in which part, with a hash of all of it.",
    ),
    (
        "test part",
        "Every number is of the test part, scored once. Epochs and penalties are "
        "chosen on training and validation alone.",
    ),
    (
        "simulated",
        "Recordings made up by this package, to try the road. They say nothing about "
        "people and never stand beside published numbers.",
    ),
    (
        "calibration",
        "ECE is the mean distance between what is said and what comes true, over 15 "
        "bins; the Brier score is the mean squared error of the probabilities. Both "
        "are better when small.",
    ),
)


def how_to_read() -> Html:
    """Explain every mark and number of the pages."""
    terms = [tag("div", tag("dt", word), tag("dd", text)) for word, text in WORDS]
    return tag("dl", terms)
