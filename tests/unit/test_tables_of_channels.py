"""A table of channels is taken over by names, whatever the order and number of rows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from eegfm_bench.models._labram_weights import places
from eegfm_bench.models._weights import Channels, rows_by_channel, rows_by_place
from eegfm_bench.models.labram import positions

# Of LaBraM's table: the class token's row and the published ones.
KNOWN = 129


def table(n_rows: int, start: float) -> Tensor:
    """Rows that say where they come from: start, start + 1 and so on."""
    return start + torch.arange(float(n_rows))[:, None].expand(n_rows, 2)


def test_rows_follow_the_names_and_others_keep_their_start() -> None:
    theirs, ours = table(3, 0), table(4, 100)
    channels = Channels(
        ours=("P4-O2", "Fz", "T5-O1", "Fp1-F7"), theirs=("FP1-F7", "P7-O1", "P4-O2")
    )
    found = rows_by_channel(theirs, ours, channels)
    assert found is not None
    assert found.tensor[:, 0].tolist() == [2, 101, 1, 0]
    assert found.how == "rows by channel, 1 started anew: Fz"


def test_rows_of_the_same_channels_are_the_files_without_a_remark() -> None:
    theirs = table(2, 0)
    channels = Channels(ours=("T3", "cz"), theirs=("T7", "Cz"))
    found = rows_by_channel(theirs, table(2, 100), channels)
    assert found is not None
    assert found.tensor is theirs
    assert found.how == ""


def test_as_many_rows_in_another_order_are_not_taken_as_they_lie() -> None:
    channels = Channels(ours=("C3", "C4"), theirs=("C4", "C3"))
    found = rows_by_channel(table(2, 0), table(2, 100), channels)
    assert found is not None
    assert found.tensor[:, 0].tolist() == [1, 0]
    assert found.how == "rows by channel"


@pytest.mark.parametrize(
    ("n_theirs", "width", "names"),
    [(3, 2, ()), (2, 3, ("C3", "C4")), (2, 2, ("C3", "C4", "Cz"))],
    ids=["nobody names them", "another width", "more names than rows"],
)
def test_rows_that_nobody_can_place_do_not_fit(
    n_theirs: int, width: int, names: tuple[str, ...]
) -> None:
    theirs = table(n_theirs, 0)[:, :1].expand(-1, width)
    channels = Channels(ours=("C3", "C4"), theirs=names)
    assert rows_by_channel(theirs, table(2, 100), channels) is None


def test_rows_by_number_are_cut_or_filled_up() -> None:
    longer = rows_by_place(table(2, 0)[None], table(3, 100)[None])
    assert longer.tensor[0, :, 0].tolist() == [0, 1, 102]
    assert longer.how == "row 3 started anew"
    shorter = rows_by_place(table(5, 0)[None], table(3, 100)[None])
    assert shorter.tensor[0, :, 0].tolist() == [0, 1, 2]
    assert shorter.how == "rows 4 to 5 left out"


def placed(n_theirs: int, channels: Channels) -> tuple[list[float], str]:
    """LaBraM's own rows, and what is said of them; the published ones are checked."""
    ours = table(KNOWN + len(channels.ours), 1000)[None]
    found = places(table(n_theirs, 0)[None], ours, channels, positions)
    assert found is not None
    assert found.tensor[0, :KNOWN, 0].tolist() == list(range(KNOWN))
    return found.tensor[0, KNOWN:, 0].tolist(), found.how


def test_own_rows_start_anew_where_the_file_has_published_ones_alone() -> None:
    rows, how = placed(KNOWN, Channels(ours=("Cz", "E1")))
    assert rows == [1000 + KNOWN, 1001 + KNOWN]
    assert how == "published rows kept, of channels without one 1 started anew: E1"
    _, how = placed(KNOWN, Channels(ours=("Cz", "Pz")))
    assert "anew" not in how


def test_own_rows_follow_the_names_of_the_channels() -> None:
    channels = Channels(ours=("Cz", "E1", "E2"), theirs=("E2", "E3", "E1", "Cz"))
    rows, how = placed(KNOWN + 4, channels)
    assert rows[1:] == [KNOWN + 2, KNOWN]
    assert "anew" not in how


def test_own_rows_of_other_channels_start_anew_even_if_equally_many() -> None:
    channels = Channels(ours=("E1", "Cz"), theirs=("E2", "Cz"))
    rows, how = placed(KNOWN + 2, channels)
    assert rows[0] == 1000 + KNOWN
    assert how.endswith("1 started anew: E1")


def test_own_rows_without_names_are_taken_by_position_and_it_is_said() -> None:
    rows, how = placed(KNOWN + 2, Channels(ours=("Cz", "E1")))
    assert rows[1] == KNOWN + 1
    assert "nobody says" in how
    rows, how = placed(KNOWN + 3, Channels(ours=("Cz", "E1")))
    assert rows[1] == 1001 + KNOWN
    assert how.endswith("1 started anew: E1")


def test_a_table_without_all_published_rows_does_not_fit() -> None:
    ours, channels = table(KNOWN + 1, 0)[None], Channels(ours=("Cz",))
    assert places(table(128, 0)[None], ours, channels, positions) is None
