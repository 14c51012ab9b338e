"""TUEG's simulated twin: a few patients of a large hospital, in EDF.

From: a folder and a size. To: ``edf/<group>/<patient>/<session>/<montage>/`` as the
publisher lays it out, odd ones among them: less than 5 min, the montage that is
skipped, labels against linked ears, an electrode missing, 256 Hz, and stretches far
above 100 µV. Two patients are the twin of TUEV's, too: one trains, one validates there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eegfm_bench.datasets._twins import eeg
from eegfm_bench.datasets._twins.tuev import AWAKE, LAB, REFERENCE
from eegfm_bench.errors import SpecError

if TYPE_CHECKING:
    import edfio
    from numpy.typing import NDArray

TWIN = "tueg"
ELECTRODES = (
    *("Fp1", "Fp2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2", "F7", "F8"),
    *("T3", "T4", "T5", "T6", "Fz", "Cz", "Pz"),
)
# Quiet sleepers, next to TUEV's: most windows stay below 100 µV.
SLEEPERS = replace(
    LAB, gain=0.55, background_uv=4.0, blink_uv=9.0, noise_uv=1.5, line_uv=1.0
)
LOUD_UV = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One recording: whose, of which session and montage, and what is odd about it.

    ``loud_s`` are times at which the head moves.
    """

    patient: str
    session: str
    montage: str
    number: int = 0
    duration_s: int = 300
    rate_hz: float = 250.0
    suffix: str = "REF"
    lacks: str = ""
    loud_s: tuple[float, ...] = ()

    @property
    def path(self) -> Path:
        """Where the publisher puts it; groups are of a hundred patients or so."""
        name = f"{self.patient}_{self.session[:4]}_t{self.number:03d}.edf"
        group = "000" if self.patient < "aaaaaaff" else "001"
        return Path("edf", group, self.patient, self.session, self.montage, name)


AR, LE, AR_A, LE_A = "01_tcp_ar", "02_tcp_le", "03_tcp_ar_a", "04_tcp_le_a"
TOKENS = (
    # Windows begin at 60, 90 … 210 s.
    Token(patient="aaaaaaaa", session="s001_2015", montage=AR, loud_s=(75.0,)),
    Token(
        patient="aaaaaaaa", session="s001_2015", montage=AR, number=1, duration_s=120
    ),
    # Known from TUEV, where she trains.
    Token(patient="aaaaaaar", session="s002_2003", montage=LE, suffix="LE"),
    Token(
        patient="aaaaaabq",
        session="s001_2010",
        montage=AR_A,
        duration_s=340,
        rate_hz=256.0,
        loud_s=(100.0, 130.0, 20.0),
    ),
    Token(
        patient="aaaaaabq",
        session="s002_2011",
        montage=LE_A,
        duration_s=60,
        suffix="LE",
    ),
    # Known from TUEV, where he validates.
    Token(patient="aaaaaaoc", session="s001_2012", montage=AR),
    Token(
        patient="aaaaaaoc",
        session="s002_2012",
        montage=AR,
        duration_s=60,
        lacks="T5",
    ),
)


def simulate(folder: Path, size: str) -> None:
    """Write the twin.

    Raises
    ------
    SpecError
        If another size than ``"small"`` is asked for: nobody needs a terabyte.
    """
    if size != "small":
        raise SpecError(
            f"TUEG's twin has no size '{size}': it would be of terabytes. Choose "
            f"'small'."
        )
    for token in TOKENS:
        person = eeg.draw_person(ELECTRODES, eeg.randomness(TWIN, token.patient))
        rng = eeg.randomness(TWIN, str(token.path))
        lab = replace(SLEEPERS, rate_hz=token.rate_hz)
        x = eeg.record(
            ELECTRODES,
            REFERENCE,
            person,
            AWAKE,
            lab,
            duration_s=token.duration_s,
            rng=rng,
        )
        at_s = np.arange(x.shape[1]) / token.rate_hz
        for middle_s in token.loud_s:
            x += LOUD_UV * np.exp(-0.5 * ((at_s - middle_s) / 0.2) ** 2)
        _write_edf(folder / token.path, x, token)


def _write_edf(path: Path, x: NDArray[np.float64], token: Token) -> None:
    """Write EDF with the publisher's labels; x (C, T) in µV, 0.1 µV a step."""
    import edfio

    signals = [
        _signal(f"EEG {name.upper()}-{token.suffix}", row, token.rate_hz)
        for name, row in zip(ELECTRODES, x, strict=True)
        if name != token.lacks
    ]
    signals += [
        _signal(f"EEG A1-{token.suffix}", 0.1 * x[12], token.rate_hz),
        _signal("PHOTIC-REF", 0 * x[0], token.rate_hz),
        _signal("IBI", np.zeros(token.duration_s), 1, ""),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    edfio.Edf(
        signals,
        patient=edfio.Patient(
            code=token.patient,
            sex="F",
            birthdate=date(1950, 1, 1),
            name=token.patient,
            additional=(),
        ),
        recording=edfio.Recording(startdate=date(int(token.session[5:9]), 1, 1)),
        starttime=time(0, 0, 0),
        data_record_duration=1.0,
        annotations=(),
    ).write(path)


def _signal(
    label: str, x: NDArray[np.float64], rate_hz: float, unit: str = "uV"
) -> edfio.EdfSignal:
    import edfio

    return edfio.EdfSignal(
        np.clip(x, -3276.7, 3276.7),
        rate_hz,
        label=label,
        transducer_type="unknown",
        physical_dimension=unit,
        physical_range=(-3276.7, 3276.7),
        digital_range=(-32767, 32767),
    )
