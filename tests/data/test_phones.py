"""The oracle scheme: stress dropped, pauses merged, unknown symbols known as such."""

import pytest

from data.phones import Phones, learn_inventory

SPOKEN = [(0.0, "t"), (0.1, "ˈɑː"), (0.2, "m"), (0.3, ""), (0.4, ""), (0.5, "ˌɑː")]


def test_ids_and_times(tmp_path):
    learn_inventory(tmp_path / "p.json", [SPOKEN], 10)
    ids, starts = Phones(tmp_path / "p.json").encode([*SPOKEN, (0.6, "ʒ")])
    assert list(starts) == [0.0, 0.1, 0.2, 0.3, 0.5, 0.6]
    assert ids[1] == ids[4] and ids[5] == 0 and len(set(ids)) == 5
    assert all(0 < number <= 4 for number in ids[:5])


def test_an_inventory_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ValueError, match="4 phone symbols and 2 special ids do not fit a vocabulary of 5"):
        learn_inventory(tmp_path / "p.json", [SPOKEN], 5)
