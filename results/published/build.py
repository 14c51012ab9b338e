"""Remake the published tables from the transcribed figures.

From: a folder with ``published_trace.csv`` and ``published_others.csv``, the
figures as read from the papers. To: ``trace.csv``, ``others.csv`` and
``methods.csv`` in this folder.

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
    *("mean", "sd", "n_seeds", "note"),
)
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
SURVEY = "literature surveys (second hand)"
# (start of the source as transcribed, paper, table)
PAPERS = (
    ("github SynapCell-Dev", "SpecMoE (arXiv 2603.16739)", ""),
    ("paper notes of CodeBrain", "CodeBrain (ICLR 2026, arXiv 2506.09110)", ""),
    ("LUNA paper", "LUNA (NeurIPS 2025, arXiv 2510.22257)", ""),
    ("README of BraMT", "BraMT (README)", ""),
    ("NeuroLM (ICLR 2025)", "NeuroLM (ICLR 2025)", "NeurIPT 24"),
    ("EEGPT paper (NeurIPS 2024), quoted", "EEGPT (NeurIPS 2024)", "NeurIPT 24"),
    ("EEGPT paper (NeurIPS 2024) as quoted", "EEGPT (NeurIPS 2024)", ""),
    ("third-party public eval scripts", "CSBrain (arXiv 2506.23075)", ""),
    (
        "public literature survey notes quoting the CSBrain",
        "CSBrain (arXiv 2506.23075)",
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
    named = {row["method"] for row in trace + others} | set(MODEL_KEYS)
    methods = sorted(named, key=str.lower)
    _write(HERE / "trace.csv", COLUMNS, trace)
    _write(HERE / "others.csv", COLUMNS, others)
    keys = [{"method": m, "model_key": MODEL_KEYS.get(m, "")} for m in methods]
    _write(HERE / "methods.csv", ("method", "model_key"), keys)
    counts = f"{len(trace)} + {len(others)} figures, {len(methods)} methods"
    sys.stdout.write(counts + "\n")


def _trace_row(row: dict[str, str]) -> dict[str, str]:
    remarks = _remarks(row["note"])
    if row["orig_scale"] == "percent":
        remarks.append("printed in percent")
    return {
        "paper": "Trace (arXiv 2605.11380)",
        "table": row["table"],
        "dataset": DATASETS[row["dataset"]],
        "method": row["method"],
        "variant": row["variant"],
        "metric": row["metric"],
        "mean": _fraction(row["mean"]),
        "sd": _fraction(row["std"]),
        "n_seeds": "5",
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
        "note": "; ".join(dict.fromkeys(remarks)),
    }


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
