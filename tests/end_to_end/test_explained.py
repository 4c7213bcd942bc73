"""Check the page that explains one record: a plain form, no script and masked personal data."""

from __future__ import annotations

import re
import urllib.error
import urllib.parse
import urllib.request

import pytest
from lxml import html

from tests.end_to_end.conftest import Site
from tests.support.operator_commands import raw, until

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.timeout(400),
    pytest.mark.parametrize("site", [40], indirect=True),
]


TOKEN = "a token for tests only"


def get(url: str, token: str = TOKEN) -> tuple[int, str]:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_status_page_form_explains_a_record_and_hides_persons(site: Site):
    site.run(GATEWAY_HEALTH_TOKEN=TOKEN)
    until(lambda: raw(site, "demo-soap") == 40 and raw(site, "demo-rest") == 40)
    url = re.search(r'"metrics": "(http[^"]+)"', site.log())[1]
    form = html.fromstring(get(url)[1]).forms[0]
    assert (form.method, form.action) == ("GET", "/explain")
    assert form.inputs["connector"].value_options == ["demo-rest", "demo-soap"]
    assert all(label.xpath(".//input | .//select") for label in form.xpath(".//label"))

    degree = next(
        record for record in site.read("gateway.raw.v1") if record.key.startswith(b"demo-soap|D")
    )
    native_id = degree.key.decode().partition("|")[2]
    asked = urllib.parse.urlencode({"connector": "demo-soap", "id": native_id})
    status, page = get(f"{url}/explain?{asked}")
    text = html.fromstring(page).xpath("string(//pre)")
    assert status == 200
    assert native_id not in text
    assert f"gateway.raw.v1-{degree.partition}@{degree.offset}" in text
    assert "eqf_level" in text
    persons = {
        found
        for name in ("familyName", "givenName", "birthDate", "nationalNumber", "esi")
        for found in re.findall(rf"<(?:\w+:)?{name}>([^<]{{4,}})<", degree.value.decode())
    }
    assert persons, degree.value
    assert not [value for value in persons if value in page]

    status, page = get(f"{url}/explain?connector=demo-soap&id=%3Cscript%3Ealert(1)%3C/script%3E")
    assert status == 404
    assert "holds no record" in page
    assert "<script" not in page
    assert get(f"{url}/explain?connector=../secrets&id=1")[0] == 404
