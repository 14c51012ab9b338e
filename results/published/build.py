"""Remake the published tables from the transcribed figures.

From: a folder with ``published_trace.csv`` and ``published_others.csv``, the
figures as read from the papers. To: ``trace.csv``, ``others.csv``, ``methods.csv`` and
``datasets.csv`` in this folder. ``protocols.csv`` and ``contradictions.csv`` are
written by hand.

    python results/published/build.py FOLDER
"""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
COLUMNS = (
    *("paper", "table", "dataset", "method", "variant", "metric"),
    *("mean", "sd", "n_seeds", "protocol", "quoted_from", "note"),
)
TRACE = "Trace (arXiv 2605.11380)"
CBRAMOD = "CBraMod (ICLR 2025, arXiv 2412.07236)"
CODEBRAIN = "CodeBrain (ICLR 2026, arXiv 2506.09110)"
CSBRAIN = "CSBrain (arXiv 2506.23075)"
DATASETS = {
    "FACED": "faced",
    "SEED-V": "seedv",
    "PhysioNet-MI": "physionet_mi",
    "SHU-MI": "shu_mi",
    "ISRUC": "isruc",
    "ISRUC-S3": "isruc_s3",
    "CHB-MIT": "chbmit",
    "BCIC2020-3": "bcic2020",
    "TUEV": "tuev",
    "MentalArithmetic": "eegmat",
    "TUAB": "tuab",
    "Mumtaz2016": "mumtaz2016",
    "BCIC-IV-2a": "bcic_iv_2a",
    "HMC": "hmc",
    "Sleep-EDFx": "sleep_edfx",
    "PhysioNetP300": "physionet_p300",
    "Siena": "siena",
    "MACO (mouse)": "maco_mouse",
    "DA-Pharmaco (mouse)": "da_pharmaco_mouse",
    "Average": "average",
}
# A model key only where this package has the method; others are quoted alone.
MODEL_KEYS = {
    "EEGNet": "eegnet",
    "EEGConformer": "eegconformer",
    "CNN-Transformer": "cnn_transformer",
    "FFCL": "ffcl",
    "ST-Transformer": "st_transformer",
    "BIOT": "biot",
    "LaBraM": "labram",
    "LaBraM-Base": "labram",
    "CBraMod": "cbramod",
    "CodeBrain": "codebrain",
    "Trace": "trace",
    "SpecMoE": "specmoe",
    "NeurIPT": "neuript",
}
# Whose network is trained from its own random start; the others here from weights.
SCRATCH = {"EEGNet", "EEGConformer", "CNN-Transformer", "FFCL", "ST-Transformer"}
# This suite's ids of CBraMod's windows and splits. TUEV's and TUAB's were others when
# the paper was written.
PROTOCOLS = {
    "faced": "faced-1-1070934f",
    "seedv": "seedv-1-856c5e44",
    "physionet_mi": "physionet_mi-1-6a4a79d1",
    "shu_mi": "shu_mi-1-2b18c144",
    "isruc": "isruc-1-045aabe0",
    "chbmit": "chbmit-1-94a4b1d5",
    "bcic2020": "bcic2020-1-9b9a3be5",
    "eegmat": "eegmat-1-ec4dc661",
}
RANDOM_VAL = "cbramod-random-val"
# Methods of the Trace paper whose windows are CBraMod's where its table 8 has the
# totals of CBraMod's code; whose ISRUC and TUEV are which, nobody says.
AS_CBRAMOD = {"Trace", "CodeBrain"}
UNCLEAR = {"isruc", "tuev"}
# The tables whose rivals were copied from elsewhere, and from how many figures.
COPIED = ("1", "10", "11")
N_COPIED = 192
SURVEY = "literature surveys (second hand)"
# (start of the source as transcribed, paper, table)
PAPERS = (
    ("github SynapCell-Dev", "SpecMoE (arXiv 2603.16739)", ""),
    ("paper notes of CodeBrain", CODEBRAIN, ""),
    ("LUNA paper", "LUNA (NeurIPS 2025, arXiv 2510.22257)", ""),
    ("README of BraMT", "BraMT (README)", ""),
    ("NeuroLM (ICLR 2025)", "NeuroLM (ICLR 2025)", "NeurIPT 24"),
    ("EEGPT paper (NeurIPS 2024), quoted", "EEGPT (NeurIPS 2024)", "NeurIPT 24"),
    ("EEGPT paper (NeurIPS 2024) as quoted", "EEGPT (NeurIPS 2024)", ""),
    ("third-party public eval scripts", CSBRAIN, ""),
    (
        "public literature survey notes quoting the CSBrain",
        CSBRAIN,
        "",
    ),
    ("ALFEE paper", "ALFEE (arXiv 2505.06291)", ""),
    ("HF model card PulpBio/LuMamba", "LuMamba (model card)", ""),
    ("public paper-notes file quoting SpecBraM", "SpecBraM", ""),
    ("public literature survey notes", SURVEY, ""),
)
# (words in the transcribed note or source, the note given here)
REMARKS = (
    ("CBraMod protocol", "windows and split of the CBraMod protocol"),
    ("CBraMod splits", "windows and split of the CBraMod protocol"),
    ("inherited splits of TUAB/TUEV were random", "split at random, say its authors"),
    ("20-epoch sequences", "subgroup I; 20 windows of 30 s are read in sequence"),
    ("chin electrode", "without the chin electrode"),
    ("per-dataset tuning", "settings tuned per dataset; not a comparison over seeds"),
    ("CSBrain row as tabulated", "quoted by the SpecMoE authors"),
    ("no per-task fine-tuning", "instruction-tuned once for all tasks"),
    ("20 bipolar channels", "20 bipolar channels, 64 Hz, 0.1-30 Hz"),
    ("16 bipolar channels", "16 bipolar channels, 64 Hz"),
    ("contradicts the CBraMod", "115,001 windows; its text describes another split"),
    ("linear probing", "linear probe"),
    ("misprints the AUROC std", "its sd is misprinted where it is quoted"),
    ("fine-tuned", "fine-tuned"),
    ("secondary source", "second hand"),
    ("third-party", "second hand"),
    ("curated literature card", "second hand"),
    ("horizon set was stripped", "which row has which horizons is inferred"),
    ('printed as "LaBraM"', "printed as LaBraM"),
    (
        "subset of this row is probably S3",
        "probably subgroup III, unlike its neighbours",
    ),
    ("shows that 0.8202", "subgroup III"),
    ("unseen in pre-training", "electrode layout not in pre-training"),
)
ABLATIONS = {
    "Time-only masking": "masking=time",
    "Freq-only masking": "masking=frequency",
    "TF-only masking": "masking=time_frequency",
    "Non-Gaussian masking": "masking=non_gaussian",
    "Full mask + CBraMod backbone": "backbone=cbramod",
    "Gating w/o PSD": "gating=no_psd",
}


def main(folder: Path) -> None:
    """Write the three tables beside this file."""
    trace = [_trace_row(row) for row in _read(folder / "published_trace.csv")]
    others = [_others_row(row) for row in _read(folder / "published_others.csv")]
    _say_who_was_copied(trace, others)
    named = {row["method"] for row in trace + others} | set(MODEL_KEYS)
    methods = sorted(named, key=str.lower)
    _write(HERE / "trace.csv", COLUMNS, trace)
    _write(HERE / "others.csv", COLUMNS, others)
    keys = [
        {"method": m, "model_key": MODEL_KEYS.get(m, ""), "start": _start(m)}
        for m in methods
    ]
    _write(HERE / "methods.csv", ("method", "model_key", "start"), keys)
    printed = [{"dataset": key, "printed": name} for name, key in DATASETS.items()]
    _write(HERE / "datasets.csv", ("dataset", "printed"), printed)
    counts = f"{len(trace)} + {len(others)} figures, {len(methods)} methods"
    sys.stdout.write(counts + "\n")


def _trace_row(row: dict[str, str]) -> dict[str, str]:
    remarks = _remarks(row["note"])
    if row["orig_scale"] == "percent":
        remarks.append("printed in percent")
    return {
        "paper": TRACE,
        "table": row["table"],
        "dataset": DATASETS[row["dataset"]],
        "method": row["method"],
        "variant": row["variant"],
        "metric": row["metric"],
        "mean": _fraction(row["mean"]),
        "sd": _fraction(row["std"]),
        "n_seeds": "5",
        "protocol": _protocol_in_trace(row["method"], DATASETS[row["dataset"]]),
        "quoted_from": "",
        "note": "; ".join(remarks),
    }


def _others_row(row: dict[str, str]) -> dict[str, str]:
    paper, table = _paper(row["source"])
    method, variant = _method(row["method"])
    words = f"{row['source']}; {row['note']}"
    seeds = re.search(r"(\d) seeds", row["note"])
    remarks = _remarks(words)
    if paper.startswith("SpecMoE"):
        remarks.append("as in its companion app")
    if paper.startswith("CodeBrain"):
        remarks.append("second hand")
    if paper == SURVEY:
        remarks = [r for r in remarks if r != "second hand"]
    return {
        "paper": paper,
        "table": table,
        "dataset": DATASETS[row["dataset"]],
        "method": method,
        "variant": variant,
        "metric": row["metric"],
        "mean": _fraction(row["mean"]),
        "sd": _fraction(row["std"]),
        "n_seeds": seeds[1] if seeds else "",
        "protocol": _protocol(paper, DATASETS[row["dataset"]], words),
        "quoted_from": CSBRAIN if "CSBrain row as tabulated" in words else "",
        "note": "; ".join(dict.fromkeys(remarks)),
    }


def _start(method: str) -> str:
    """Say where a method starts, of those that this package has."""
    if method in SCRATCH:
        return "scratch"
    return "weights" if method in MODEL_KEYS else ""


def _protocol_in_trace(method: str, dataset: str) -> str:
    """Return whose windows and split a row of the Trace paper has."""
    if method in AS_CBRAMOD:
        return "" if dataset in UNCLEAR else PROTOCOLS.get(dataset, "")
    return RANDOM_VAL if dataset == "tuev" else PROTOCOLS[dataset]


def _protocol(paper: str, dataset: str, words: str) -> str:
    """Return whose windows and split another paper's row has, if it says enough."""
    if paper == CBRAMOD and dataset in ("tuev", "tuab"):
        return RANDOM_VAL
    if paper == CODEBRAIN:
        return "" if dataset in UNCLEAR else PROTOCOLS.get(dataset, "")
    if paper.startswith("NeurIPT"):
        return "neuript"
    if "CBraMod protocol" not in words and "CBraMod splits" not in words:
        return ""
    if "chin electrode" in words:
        return "cbramod-no-chin"
    if dataset in ("tuev", "tuab"):  # of which of CBraMod's two splits
        return ""
    return PROTOCOLS.get(dataset, "cbramod")


def _say_who_was_copied(
    trace: list[dict[str, str]], others: list[dict[str, str]]
) -> None:
    """Fill ``quoted_from`` where a rival's own or an older paper has the same figure.

    An older one without an sd agrees if its mean does.
    """
    known: dict[tuple[str, ...], dict[str, str]] = {}
    for row in others:
        if row["paper"] in (CBRAMOD, CODEBRAIN) and row["variant"] == "main":
            # CodeBrain's figures of subgroup III stand in Trace's row of ISRUC.
            dataset = row["dataset"].removesuffix("_s3")
            place = (dataset, row["method"].removesuffix("-Base"), row["metric"])
            known[*place, row["mean"]] = row
    counts = dict.fromkeys((CBRAMOD, CODEBRAIN), 0)
    for row in trace:
        if row["table"] not in COPIED or row["method"] == "Trace":
            continue
        place = (row["dataset"], row["method"].removesuffix("-Base"), row["metric"])
        older = known.get((*place, row["mean"]))
        if older is not None and older["sd"] in ("", row["sd"]):
            row["quoted_from"] = older["paper"]
            counts[older["paper"]] += 1
    if counts[CBRAMOD] != N_COPIED:
        raise SystemExit(
            f"{counts[CBRAMOD]} figures of tables {', '.join(COPIED)} are those of "
            f"{CBRAMOD}; expected {N_COPIED}. Was a figure transcribed anew?"
        )


def _paper(source: str) -> tuple[str, str]:
    """Split a source into a paper and the number of its table."""
    if found := re.fullmatch(r"(\S+) paper (\(.+?\)), Table (\d+)(?: .*)?", source):
        return f"{found[1]} {found[2]}", found[3]
    return next((p, t) for start, p, t in PAPERS if source.startswith(start))


def _method(name: str) -> tuple[str, str]:
    """Split a method's label into its name and what was varied."""
    if found := re.fullmatch(r"(\S+) ablation: (.+)", name):
        return found[1], ABLATIONS[found[2]]
    if found := re.fullmatch(r"(\S+) \((\S+) excluded from pre-training\)", name):
        return found[1], f"pretrain_without={found[2].replace('/', '+')}"
    if found := re.fullmatch(r"(\S+) \(re-run by (\S+)(?: authors)?\)", name):
        return found[1], f"run_by={found[2]}"
    return name, "main"


def _remarks(words: str) -> list[str]:
    found = [remark for sign, remark in REMARKS if sign in words]
    return list(dict.fromkeys(found))


def _fraction(text: str) -> str:
    """Return a figure as transcribed, once it is known to be a fraction."""
    if text and not -1 <= float(text) <= 1:
        raise SystemExit(f"{text} is not a fraction: divide percentages by 100 first.")
    return text


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _write(path: Path, columns: tuple[str, ...], rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
