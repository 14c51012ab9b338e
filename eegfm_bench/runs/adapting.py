"""How pre-trained models are adapted by default, where no recipe of theirs says.

From: this file alone. To: ``sweep.specs``; every value is in the recipe of every run.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from eegfm_bench.runs.spec import ClosedFormRecipe, TrainingRecipe

Adapt = Literal["scratch", "finetune", "probe", "lora"]
ADAPTATIONS: tuple[str, ...] = get_args(Adapt)

# github.com/tloen/alpaca-lora, finetune.py, which made these the usual start (its rank
# is peft's own default, too). All else is the recipe that the model is fine-tuned by.
LORA: dict[str, Any] = {"lora_rank": 8, "lora_alpha": 16.0, "lora_dropout": 0.05}

# --set solver=trained asks for a head trained by gradient instead of one solved for.
TRAINED = "trained"

# Features are brought to deviation 1 first, so that one rate of Adam's serves whatever
# encoder they are of, and its usual 1e-3 moves a weight far enough in some hundred
# steps to fit the smallest training part here. The problem is convex, and the epoch is
# chosen on validation: more epochs than are needed cost seconds, since features are
# cached. The decay is AdamW's default.
TRAINED_PROBE = TrainingRecipe(epochs=50, batch_size=64, lr=1e-3, weight_decay=0.01)
SOLVED_PROBE = ClosedFormRecipe()
