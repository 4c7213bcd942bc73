"""Check that each bad input of the table ends as README.md in this folder says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile import hostile_table
from tests.hostile.bad_inputs import BadInput
from tests.support.connector_files import GatewayFolder

ROOT = Path(__file__).parents[2]
ROWS = hostile_table.rows()


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.attempt], ids=lambda row: f"{row.number:02}-{row.name}"
)
def test_bad_input_ends_as_the_table_states(row: BadInput, tmp_path: Path):
    assert row.attempt is not None
    assert row.attempt(GatewayFolder(tmp_path)) == row.ends


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.elsewhere], ids=lambda row: f"{row.number:02}-{row.name}"
)
def test_tests_named_in_the_table_exist(row: BadInput):
    for named in row.elsewhere.split(", "):
        path, _, name = named.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text(), named


def test_table_has_every_number():
    assert {row.number for row in ROWS} == set(range(1, 96))
    assert all(row.attempt or row.elsewhere or row.gap for row in ROWS)


def test_table_page_is_up_to_date():
    assert hostile_table.README.read_text() == hostile_table.written(), "run `make hostile`"
