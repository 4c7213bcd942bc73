"""Check the two limits that no row of the table reaches.

One is a record that is too large. The other is a WSDL file that refers to a file outside its
folder.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.fetch.soap.envelope import Wsdl
from gateway.harmonise.values import payload

DEFINITIONS = '<definitions xmlns="http://schemas.xmlsoap.org/wsdl/">{}</definitions>'


@pytest.mark.parametrize("read", [payload.json_value, payload.xml_element])
def test_record_over_twenty_megabytes_is_refused(read):
    with pytest.raises(payload.PayloadError) as caught:
        read(b" " * (payload.MAX_BYTES + 1))
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize(
    "place",
    [
        "../outside.wsdl",
        "file:///etc/hostname",
        "http://127.0.0.1:9/absent.wsdl",
        "ftp://127.0.0.1/x.wsdl",
    ],
)
def test_wsdl_imports_only_files_in_its_folder(tmp_path: Path, place: str):
    (tmp_path / "outside.wsdl").write_text(DEFINITIONS.format(""))
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "x.wsdl").write_text(
        DEFINITIONS.format(f'<import namespace="urn:o" location="{place}"/>')
    )
    with pytest.raises(ConfigError, match="not in the folder of the WSDL"):
        Wsdl(inside / "x.wsdl", None, None)
