"""Anybody's tables: what is read, and everything that is refused, with its rows."""

import json

import numpy as np
import pytest

from analysis import table
from analysis.columns import TABLES
from analysis.table import Needs

GRID = [(n, d) for n in (10**8, 2 * 10**8, 4 * 10**8) for d in (10**9, 4 * 10**9)]


def rows(**columns):
    """A small grid with N, D, loss and further columns."""
    found = [{"N": n, "D": d, "loss": 2 + 1e9 / n / d**0.1} for n, d in GRID]
    return [row | {name: values[index] for name, values in columns.items()} for index, row in enumerate(found)]


def csv(folder, found, name="mine.csv"):
    path = folder / name
    lines = [",".join(found[0]), *(",".join("" if cell is None else str(cell) for cell in r.values()) for r in found)]
    path.write_text("\n".join(lines) + "\n")
    return path


def refused(folder, found, said, columns=None, needs=None):
    with pytest.raises(ValueError, match=said) as error:
        table.read(csv(folder, found), columns or {}, needs or {})
    assert "\n" not in str(error.value) and "mine.csv" in str(error.value)


def test_a_table_becomes_ours_with_columns_under_any_name(tmp_path):
    found = [
        {
            "params": row["N"],
            "seen": row["D"],
            "val/loss": row["loss"],
            "unique": row["D"] // 4,
            "acc": 0.6,
            "model": "m",
        }
        for row in rows()
    ]
    names = table.mapping("N=params, D=seen,loss=val/loss,U=unique,blimp=acc,family=model")
    read = table.read(csv(tmp_path, found), names, {"repeats": Needs(columns=("loss", "U"), rows=6)})
    runs, scores = read.tables.runs, read.tables.scores
    assert {*TABLES["runs"], "loss"} == set(runs.columns) and {*TABLES["scores"], "loss"} == set(scores.columns)
    assert (read.column, set(runs["family"]), runs["name"][2]) == ("loss", {"m"}, "row 3")
    assert (runs["epochs"] == 4).all() and (runs["flops_6n"] == [6.0 * n * d for n, d in GRID]).all()
    assert runs["loss"].tolist() == [row["loss"] for row in rows()]  # digit by digit
    assert set(scores["eval"]) == {"blimp"} and (scores["value"] == 0.6).all()
    assert scores["loss"].tolist() == runs["loss"].tolist()
    assert read.conventions["N"] == "params" and read.conventions["C"] == "6ND"


def test_json_lines_say_the_same_as_a_csv(tmp_path):
    found = rows(blimp=[0.5, 0.52, None, 0.55, 0.6, 0.61])
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in found))  # no newline at the end
    lines = table.read(path, {"blimp": "blimp"}, {}).tables
    cells = table.read(csv(tmp_path, found), {"blimp": "blimp"}, {}).tables
    assert lines.runs.equals(cells.runs) and lines.scores.equals(cells.scores)
    assert len(lines.scores) == 5 and set(lines.runs["family"]) == {"mine"}  # the file's stem; a run without a score


def test_our_own_names_need_no_mapping_and_spreadsheets_are_read(tmp_path):
    path = tmp_path / "sheet.csv"
    path.write_text("params_total,tokens,nats_per_token\n1e8,1e9,2.5\n2e8,1e9,2.4\n", encoding="utf-8-sig")
    read = table.read(path, {}, {})
    assert read.column == "nats_per_token" and read.tables.runs["nats_per_token"].tolist() == [2.5, 2.4]


def test_flops_of_huge_runs_do_not_overflow(tmp_path):
    found = [{"N": 10**12, "D": 10**14, "loss": 1.5}]
    assert table.read(csv(tmp_path, found), {}, {}).tables.runs["flops_6n"][0] == 6e26


def test_tokens_seen_bound_the_distinct_ones(tmp_path):
    runs = table.read(csv(tmp_path, rows(U=[2 * 10**9] * 6)), {}, {}).tables.runs
    assert runs["epochs"].tolist() == [1, 2] * 3 and runs["unique_tokens"].max() == 2e9


def test_flops_given_are_kept_where_they_are_another_convention(tmp_path):
    exact = [6.0 * n * d for n, d in GRID]
    rounded = table.read(csv(tmp_path, rows(C=[f"{c:.3g}" for c in exact])), {}, {})
    assert rounded.tables.runs["flops_6n"].tolist() == exact
    more = table.read(csv(tmp_path, rows(C=[1.3 * c for c in exact])), {}, {})
    assert more.tables.runs["flops_6n"].tolist() == [1.3 * c for c in exact]
    assert more.conventions["C"] == "as given, not 6ND"
    refused(tmp_path, rows(C=exact[:4] + [1.3 * c for c in exact[4:]]), r"C is 6ND in rows 1, 2, 3, 4 .*rows 5, 6")


@pytest.mark.parametrize("cell", ["nan", "", "inf", "0", "-1", "1.3B"])
@pytest.mark.parametrize("what", ["N", "D", "loss"])
def test_rows_without_a_positive_number_are_named(tmp_path, what, cell):
    found = rows()
    found[1][what] = found[4][what] = cell
    refused(tmp_path, found, rf"{what} \(column {what}\) is no positive number in rows 2, 5: correct or delete")


def test_what_is_missing_is_said_with_what_there_is(tmp_path):
    found = [{"params": 1e8, "D": 1e9, "loss": 2.0}] * 3
    refused(tmp_path, found, "no column N; it has params, D, loss: name it with --map N=COLUMN")
    refused(tmp_path, found, "no column 'size' for N; it has params, D, loss", {"N": "size"})
    refused(tmp_path, [{"N": 1e8, "D": 1e9}], "no loss and no score")
    refused(tmp_path, rows(), "--map nonsense: no such column; it has N, D, loss", table.mapping("nonsense"))
    refused(tmp_path, rows(), "law repeats needs a U", needs={"repeats": Needs(columns=("loss", "U"))})
    refused(
        tmp_path,
        rows(),
        "needs a benchmark's accuracy; .* --map blimp=COLUMN",
        needs={"downstream": Needs(columns=("metric",))},
    )
    refused(tmp_path, rows()[:3], "3 rows, law parametric needs at least 5", needs={"parametric": Needs(rows=5)})


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            {"n_convention": ["total"] * 5 + ["non-embedding"]},
            "n_convention has several values .*row 6; total: rows 1",
        ),
        (
            {"loss_unit": ["token"] * 4 + ["unit"] * 2},
            "loss_unit has several .*token: rows 1, 2, 3, 4; unit: row",
        ),
        ({"n_convention": ["total"] * 5 + [""]}, "n_convention has several values .empty: row 6; total: rows 1"),
        ({"size": list("aabbcc"), "N": [100, 101, 200, 200, 400, 400]}, "size a has N from 100 .row 1. to 101 .row 2."),
    ],
)
def test_mixed_conventions_are_refused(tmp_path, columns, said):
    refused(tmp_path, rows(**columns), said)


def test_families_may_each_have_a_loss_of_their_own_and_sizes_may_differ_by_rounding(tmp_path):
    found = rows(
        family=["speech"] * 3 + ["text"] * 3,
        loss_unit=["unit"] * 3 + ["token"] * 3,
        size=["a", "a", "b", "b", "c", "c"],
        N=[1e8, 1.0001e8, 2e8, 2e8, 4e8, 8e8],
    )
    read = table.read(csv(tmp_path, found), {}, {})
    assert len(read.tables.runs) == 6
    units = {family: read.conventions_of(family).get("loss_unit") for family in ("speech", "text", "speech-text")}
    assert units == {"speech": "unit", "text": "token", "speech-text": None}


def test_how_parameters_and_losses_are_counted_is_kept(tmp_path):
    told = table.read(csv(tmp_path, rows(n_convention=["total"] * 6, loss_unit=["nats per unit"] * 6)), {}, {})
    assert told.conventions_of("mine").items() >= {"N": "N (total)", "loss_unit": "nats per unit"}.items()
    silent = table.read(csv(tmp_path, rows(n_convention=[""] * 6, loss_unit=[""] * 6)), {}, {})
    assert silent.conventions_of("mine")["N"] == "N" and "loss_unit" not in silent.conventions_of("mine")


def test_per_cent_is_read_as_such_and_noted_or_refused_among_fractions(tmp_path):
    accuracy = [51.0, 52.5, 54.0, 53.0, 56.0, 60.0]
    names = {"blimp": "acc"}
    read = table.read(csv(tmp_path, rows(acc=accuracy)), names, {})
    assert read.tables.scores["value"].tolist() == [value / 100 for value in accuracy]
    assert read.conventions["read_as_per_cent"] == "blimp"
    mixed = [0.51, 0.525, 0.54, 53.0, 0.56, 0.6]
    refused(
        tmp_path, rows(acc=mixed), r"blimp \(column acc\) mixes per cent and fractions: row 4 unlike the rest", names
    )
    for odd, row in ((1.2, 3), (1.5, 3), (51.0, 3)):
        few = [0.51, 0.525, odd, 0.53, 0.56, 0.6]
        refused(tmp_path, rows(acc=few), f"mixes per cent and fractions: row {row} unlike the rest", names)
    refused(tmp_path, rows(acc=[51.0, 52.0, 1.2, 53.0, 0.9, 60.0]), "fractions: rows 3, 5 unlike the rest", names)
    refused(tmp_path, rows(acc=[1.1, 1.2, 1.3, 1.4, 0.9, 0.9]), "fractions: rows 1, 2, 3, 4, 5, 6 unlike", names)
    refused(tmp_path, rows(acc=[0.5] * 5 + [-0.1]), "no accuracy in row 6", names)
    refused(tmp_path, rows(acc=[0.5] * 5 + [101]), "no accuracy in row 6", names)


def test_chance_is_a_fraction_of_every_row(tmp_path):
    found = rows(acc=[0.3] * 6, chance=[0.25] * 6)
    assert (table.read(csv(tmp_path, found), {"arc": "acc"}, {}).tables.scores["chance"] == 0.25).all()
    refused(tmp_path, rows(acc=[0.3] * 6, chance=[25] * 6), "chance is no fraction below 1", {"arc": "acc"})


def test_runs_of_one_name_are_told_apart(tmp_path):
    read = table.read(csv(tmp_path, rows(name=list("aabcde"))), {}, {})
    assert read.tables.runs["name"].tolist() == ["a (row 1)", "a (row 2)", "b", "c", "d", "e"]
    assert read.conventions["names"] == "shared by 2 rows, so numbered"
    assert "names" not in table.read(csv(tmp_path, rows(name=list("abcdef"))), {}, {}).conventions


@pytest.mark.parametrize("text", ["", "N,D,loss\n", "[1, 2]\n", '{"N": 1}\n7\n', "N,D\n1,2,3,4\n1,2\n1,2,3\n", "\x00"])
def test_a_file_that_is_no_table_is_one_line(tmp_path, text):
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(ValueError, match=r"mine\.csv") as error:
        table.read(tmp_path / "mine.csv", {}, {})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"N": 1, "D": 2, "loss": 3}]', "JSON array: write its objects one a line"),
        ("N;D;loss\n1;2;3\n", "separated by ';': separate them by commas"),
        ("N\tD\tloss\n1\t2\t3\n", "separated by .*: separate them by commas"),
    ],
)
def test_tables_of_another_form_are_told_ours(tmp_path, text, said):
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(ValueError, match=said):
        table.read(tmp_path / "mine.csv", {}, {})


@pytest.mark.parametrize("text", ["N=a,N=b", "=a", "N=a,=b"])
def test_a_mapping_names_everything_once(text):
    with pytest.raises(ValueError, match="every name once"):
        table.mapping(text)
    assert table.mapping("N=a, blimp") == {"N": "a", "blimp": "blimp"}


def test_our_own_tables_are_held_to_the_same(tables):
    for family in tables.runs["family"].unique():
        table.checked(tables.runs, family)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("flops_6n", np.inf, "flops_6n is no positive number"),
        (
            "val_store",
            "units-other",
            "different tokens or stores mixed .*units-other, vocabulary 65: units/300k",
        ),
        ("vocabulary", 500, "different tokens or stores mixed .*vocabulary 500"),
        ("tokenizer", "unigram", "different tokens or stores mixed .*unigram tokens"),
        ("params_total", 23_000, r"size w32 has N from 22720 .* to 23000 \(units/300k/w32\)"),
    ],
)
def test_runs_of_ours_that_do_not_belong_together_are_named(tables, column, value, said):
    runs = tables.runs.astype({column: object})
    first = runs.index[runs["name"] == "units/300k/w32"][0]
    runs.loc[first, column] = value
    with pytest.raises(ValueError, match=said):
        table.checked(runs, "units")


def test_padded_vocabularies_of_one_published_tokenizer_are_one(tables):
    runs = tables.runs[tables.runs["family"] == "text"].assign(tokenizer="pretrained")
    padded = runs.assign(vocabulary=50304 + 128 * (np.arange(len(runs)) % 2))
    table.checked(padded, "text")
    with pytest.raises(ValueError, match="different tokens or stores mixed"):
        table.checked(padded.assign(tokenizer="text"), "text")


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -1.0])
def test_runs_that_diverged_are_those_without_a_loss_that_others_have(tables, value):
    runs = tables.runs.reset_index(drop=True)
    runs.loc[3, "nats_per_token"] = value
    assert np.flatnonzero(table.diverged(runs, "nats_per_token")).tolist() == [3]
    assert not table.diverged(tables.runs, "nats_per_second").any()  # text has none
