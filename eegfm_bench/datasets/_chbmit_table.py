"""CHB-MIT's file table: which recordings the protocols use, how long, which seizures.

From: the public parameter table of BIOT and CBraMod (same ranges in both), and the
publisher's headers and summaries. To: ``chbmit``, its twin, its tests.

The ranges leave out cases 12, 13 and 17 and, inside the others, chb02_16+, chb24_02
and chb24_22. A recording's windows are cut from its own header and its case's own
summary; lengths and seizures here serve the full-size twin and the tests.

Sources: PhysioNet ``chbmit/1.0.0`` RECORDS; durations from the sidecars of NEMAR
nm000110, equal to the EDF sizes; seizures from the summaries' transcriptions.
chb24_21 follows the summary, 2804 s: its ``.seizures`` file says 2404 s.
"""

from __future__ import annotations

# Numbers of the recordings of each case: "3-5:600" are _03, _04 and _05 of 600 s;
# without a length it is 3600 s. 605 recordings.
RECORDINGS: dict[str, str] = {
    "chb01": "1-19 20:2663 21-25 26:2325 27:600 29-34 36-43 46",
    "chb02": "1-15 16:959 17-35",
    "chb03": "1-19 20:3606 21-38",
    "chb04": (
        "1:14398 2-4:14400 5:9536 6:14400 7:7496 8-10:14400 11:4832 12:14420 "
        "13:14398 14:14418 15-16:14400 17:13732 18:14425 19:14400 21-22:14400 "
        "23:10684 24:14406 25-26:14400 27:14427 28:14423 29:14403 30-36:14400 "
        "37:5613 38-41:14400 42:5823 43:14400"
    ),
    "chb05": "1:3610 2-39",
    "chb06": (
        "1:14427 2-3:14400 4:13261 5-10:14400 12-15:14400 16:3030 17:14400 "
        "18:7928 24:14400"
    ),
    "chb07": (
        "1:14411 2-5:14400 6:4920 7:4660 8-12:14400 13:3726 14-17:14400 "
        "18:12060 19:14411"
    ),
    "chb08": "2-5 10-24 29:3623",
    "chb09": (
        "1:8023 2:14399 3:14400 4:14415 5:14400 6:14399 7-12:14400 13:14405 "
        "14:14411 15:14421 16:13591 17:974 18:14400 19:5700"
    ),
    "chb10": (
        "1:7220 2-8:7200 12-19:7200 20:7212 21-22:7200 27:7218 28:7200 "
        "30:7213 31:7221 38:7200 89:7200"
    ),
    "chb11": "1:3598 2-19 24-27 53-56 58 60-63 82 92 99:2859",
    "chb14": "1-4 6-7 11-14 16-20 22 24-27 29-30 32 37 39 42",
    "chb15": (
        "1:3602 2-17 19-20 22 26 28-33 35 37 40 45-46 49:3625 50-51 52:3609 54 61-63"
    ),
    "chb16": "1-19",
    "chb18": "1:3611 2-30 31:2274 32-36",
    "chb19": "1-27 28:3612 29 30:3334",
    "chb20": (
        "1:3606 2-8 11-15 16:3469 17 21:3618 22:742 23:2964 25-31 34 59-60 68:2167"
    ),
    "chb21": "1-15 16:3599 17-19 20:2990 21-33",
    "chb22": "1-10 11:3611 15-30 38 51 54 77",
    "chb23": (
        "6:7486 7:2560 8:10342 9:14426 10:14400 16:14400 17:12587 19:14400 20:5009"
    ),
    "chb24": "1 3-21",
}

# "3:2996-3036" is a seizure of chbNN_03 from 2996 to 3036 s. 142 seizures.
SEIZURES: dict[str, str] = {
    "chb01": (
        "3:2996-3036 4:1467-1494 15:1732-1772 16:1015-1066 18:1720-1810 "
        "21:327-420 26:1862-1963"
    ),
    "chb02": "16:130-212 19:3369-3378",
    "chb03": (
        "1:362-414 2:731-796 3:432-501 4:2162-2214 34:1982-2029 35:2592-2656 "
        "36:1725-1778"
    ),
    "chb04": "5:7804-7853 8:6446-6557 28:1679-1781 28:3782-3898",
    "chb05": "6:417-532 13:1086-1196 16:2317-2413 17:2451-2571 22:2348-2465",
    "chb06": (
        "1:1724-1738 1:7461-7476 1:13525-13540 4:327-347 4:6211-6231 "
        "9:12500-12516 10:10833-10845 13:506-519 18:7799-7811 24:9387-9403"
    ),
    "chb07": "12:4920-5006 13:3285-3381 19:13688-13831",
    "chb08": "2:2670-2841 5:2856-3046 11:2988-3122 13:2417-2577 21:2083-2347",
    "chb09": "6:12231-12295 8:2951-3030 8:9196-9267 19:5299-5361",
    "chb10": (
        "12:6313-6348 20:6888-6958 27:2382-2447 30:3021-3079 31:3801-3877 "
        "38:4618-4707 89:1383-1437"
    ),
    "chb11": "82:298-320 92:2695-2727 99:1454-2206",
    "chb14": (
        "3:1986-2000 4:1372-1392 4:2817-2839 6:1911-1925 11:1838-1879 "
        "17:3239-3259 18:1039-1061 27:2833-2849"
    ),
    "chb15": (
        "6:272-397 10:1082-1113 15:1591-1748 17:1925-1960 20:607-662 "
        "22:760-965 28:876-1066 31:1751-1871 40:834-894 40:2378-2497 "
        "40:3362-3425 46:3322-3429 49:1108-1248 52:778-849 54:263-318 "
        "54:843-1020 54:1524-1595 54:2179-2250 54:3428-3460 62:751-859"
    ),
    "chb16": (
        "10:2290-2299 11:1120-1129 14:1854-1868 16:1214-1220 17:227-236 "
        "17:1694-1700 17:2162-2170 17:3290-3298 18:627-635 18:1909-1916"
    ),
    "chb18": (
        "29:3477-3527 30:541-571 31:2087-2155 32:1908-1963 35:2196-2264 36:463-509"
    ),
    "chb19": "28:299-377 29:2964-3041 30:3159-3240",
    "chb20": (
        "12:94-123 13:1440-1470 13:2498-2537 14:1971-2009 15:390-425 "
        "15:1689-1738 16:2226-2261 68:1393-1432"
    ),
    "chb21": "19:1288-1344 20:2627-2677 21:2003-2084 22:2553-2565",
    "chb22": "20:3367-3425 25:3139-3213 38:1263-1335",
    "chb23": (
        "6:3962-4075 8:325-345 8:5104-5151 9:2589-2660 9:6885-6947 "
        "9:8505-8532 9:9580-9664"
    ),
    "chb24": (
        "1:480-505 1:2451-2476 3:231-260 3:2883-2908 4:1088-1120 4:1411-1438 "
        "4:1745-1764 6:1229-1253 7:38-60 9:1745-1764 11:3527-3597 "
        "13:3288-3304 14:1939-1966 15:3552-3569 17:3515-3581 21:2804-2872"
    ),
}

USUAL_S = 3600


def durations_s() -> dict[str, int]:
    """Return the length in seconds of each of the 605 recordings, in order.

    Examples
    --------
    >>> lengths_s = durations_s()
    >>> len(lengths_s), lengths_s["chb01_26"], sum(lengths_s.values())
    (605, 2325, 3250576)
    """
    lengths_s = {}
    for case, words in RECORDINGS.items():
        for word in words.split():
            numbers, _, seconds = word.partition(":")
            first, _, last = numbers.partition("-")
            for n in range(int(first), int(last or first) + 1):
                lengths_s[f"{case}_{n:02d}"] = int(seconds or USUAL_S)
    return lengths_s


def recordings_of(case: str) -> tuple[str, ...]:
    """Return the names of the recordings of one case."""
    return tuple(name for name in _NAMES if name.startswith(f"{case}_"))


def seizures_s() -> dict[str, tuple[tuple[int, int], ...]]:
    """Return start and end in seconds of the seizures of each recording with any.

    Examples
    --------
    >>> seizures_s()["chb24_21"]
    ((2804, 2872),)
    """
    found: dict[str, tuple[tuple[int, int], ...]] = {}
    for case, words in SEIZURES.items():
        for word in words.split():
            number, _, times = word.partition(":")
            start, _, end = times.partition("-")
            name = f"{case}_{int(number):02d}"
            found[name] = (*found.get(name, ()), (int(start), int(end)))
    return found


_NAMES = tuple(durations_s())
