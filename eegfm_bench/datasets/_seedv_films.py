"""What SEED-V publishes beside its recordings: channels, films, days.

From: the set's own tables, and its file names. To: ``seedv`` and its twin.
"""

from __future__ import annotations

from dataclasses import dataclass

RATE_HZ = 1000
N_FILMS = 15

# The order of the publisher's channels once the other four are taken out.
CHANNELS = (
    *("Fp1", "Fpz", "Fp2", "AF3", "AF4", "F7", "F5", "F3", "F1", "Fz", "F2", "F4"),
    *("F6", "F8", "FT7", "FC5", "FC3", "FC1", "FCz", "FC2", "FC4", "FC6", "FT8"),
    *("T7", "C5", "C3", "C1", "Cz", "C2", "C4", "C6", "T8", "TP7", "CP5", "CP3"),
    *("CP1", "CPz", "CP2", "CP4", "CP6", "TP8", "P7", "P5", "P3", "P1", "Pz", "P2"),
    *("P4", "P6", "P8", "PO7", "PO5", "PO3", "POz", "PO4", "PO6", "PO8", "CB1"),
    *("O1", "Oz", "O2", "CB2"),
)
NOT_USED = ("M1", "M2", "VEO", "HEO")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """When a session's films begin and end (whole seconds), and what they arouse."""

    starts_s: tuple[int, ...]
    ends_s: tuple[int, ...]
    labels: tuple[int, ...]


# As published with the recordings: trial_start_end_timestamp.txt, and the labels of
# emotion_label_and_stimuli_order.xlsx.
_LATER = (2, 1, 3, 0, 4, 4, 0, 3, 2, 1, 3, 4, 1, 2, 0)
SESSIONS = {
    "1": Session(
        starts_s=(
            *(30, 132, 287, 555, 773, 982, 1271, 1628, 1730, 2025, 2227, 2435),
            *(2667, 2932, 3204),
        ),
        ends_s=(
            *(102, 228, 524, 742, 920, 1240, 1568, 1697, 1994, 2166, 2401, 2607),
            *(2901, 3172, 3359),
        ),
        labels=(4, 1, 3, 2, 0) * 3,
    ),
    "2": Session(
        starts_s=(
            *(30, 299, 548, 646, 836, 1000, 1091, 1392, 1657, 1809, 1966, 2186),
            *(2333, 2490, 2741),
        ),
        ends_s=(
            *(267, 488, 614, 773, 967, 1059, 1331, 1622, 1777, 1908, 2153, 2302),
            *(2428, 2709, 2817),
        ),
        labels=_LATER,
    ),
    "3": Session(
        starts_s=(
            *(30, 353, 478, 674, 825, 908, 1200, 1346, 1451, 1711, 2055, 2307),
            *(2457, 2726, 2888),
        ),
        ends_s=(
            *(321, 418, 643, 764, 877, 1147, 1284, 1418, 1679, 1996, 2275, 2425),
            *(2664, 2857, 3066),
        ),
        labels=_LATER,
    ),
}

# When the published sessions were recorded, subjects 1 to 16.
DAYS = {
    "1": (
        *("20180804", "20180416", "20180414", "20180414", "20180719", "20180713"),
        *("20180411", "20180717", "20180724", "20180507", "20180510", "20180515"),
        *("20180720", "20180420", "20180724", "20180805"),
    ),
    "2": (
        *("20180810", "20180419", "20180419", "20180417", "20180728", "20180731"),
        *("20180418", "20180802", "20180804", "20180524", "20180508", "20180508"),
        *("20180806", "20180423", "20180807", "20180815"),
    ),
    "3": (
        *("20180808", "20180425", "20180424", "20180501", "20180723", "20180802"),
        *("20180422", "20180726", "20180728", "20180626", "20180522", "20180517"),
        *("20180725", "20180427", "20180730", "20180813"),
    ),
}

# The one with a broken header, and how the publisher's mended copy of it is named.
BROKEN, REPAIRED = "7_1_20180411", "_repaired"
