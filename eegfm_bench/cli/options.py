"""Options that several verbs share: one spelling and one line of help for each.

From: typer. To: the signatures of the verbs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on standard output.")
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="ROOT",
        help="The data root; else EEGFM_DATA; with neither, simulated recordings.",
    ),
]
Partial = Annotated[
    bool,
    typer.Option(
        "--allow-partial",
        help="Subjects of a protocol may be absent; the table says so.",
    ),
]
Runs = Annotated[
    Path,
    typer.Option(
        "--runs", metavar="DIR", help="The folder of records, kept between commands."
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="md|latex|csv|html|json",
        help="Else what the ending of --out says, or the screen's.",
    ),
]
OutFile = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Write it there instead.")
]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", metavar="N", min=1, help="Workers; default one a core."),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda",
        help="auto takes a GPU if there is one.",
    ),
]
Adapt = Annotated[
    str | None,
    typer.Option(
        "--adapt",
        metavar="scratch|finetune|probe|lora",
        help="Default scratch, with --weights finetune.",
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="hub|hub:KEY|PATH",
        help="Start from these; of several models, MODEL=PATH,MODEL2=hub.",
    ),
]
PartialWeights = Annotated[
    bool,
    typer.Option(
        "--allow-partial-weights",
        help="Weights may leave tensors of the encoder at random; rows say so.",
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels",
        metavar="10%|8/class",
        help="Train on so much of the training part; validation stays whole.",
    ),
]
Keep = Annotated[
    bool,
    typer.Option(
        "--keep-best", help="Keep each tested model in RUNS/RUN_ID/model, to be loaded."
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option("--epochs", metavar="N", help="As many, instead of the recipe's."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A recipe value (lr, …) or a model's option; repeatable. 'list models' "
        "has both.",
    ),
]
Retry = Annotated[bool, typer.Option("--retry-failed", help="Run failed cells again.")]
Force = Annotated[
    bool, typer.Option("--force", help="Run every cell again, done or not.")
]
Yes = Annotated[
    bool, typer.Option("--yes", help="Start unasked what takes over an hour.")
]
