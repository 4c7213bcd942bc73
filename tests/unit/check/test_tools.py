"""Check the tools for connector authors: scaffold, preview, save a test, compare and report."""

from __future__ import annotations

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.check import check
from gateway.check.report_formats import format_findings
from gateway.cli import app
from gateway.config.publishing_needs import NEEDS
from gateway.harmonise.tables.compiled_tables import Tables

HERE = Path(__file__).parent
TABLES = Tables.load(HERE.parents[2] / "mappings")
RUN = CliRunner()

AWARD = """<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><t:r xmlns:t="urn:example:good">
<t:award kind="D" changed="2026-03-01T12:00:00Z"><t:id>42</t:id><t:title lang="nb">Fagbrev i tømrerfaget</t:title><t:person>01019912345</t:person>
<t:name>Kari Nordmann</t:name><t:date>28.02.2026</t:date><t:school>School of Crafts</t:school><t:grade>5,5</t:grade></t:award></t:r></s:Body></s:Envelope>"""


@pytest.fixture
def connector(tmp_path: Path) -> Path:
    shutil.copy(HERE / "good.wsdl", tmp_path)
    (tmp_path / "reply.xml").write_text(AWARD)
    return Path(shutil.copy(HERE / "good.yaml", tmp_path))


def test_preview_masks_personal_values(connector: Path) -> None:
    shown = RUN.invoke(
        app, ["preview", str(connector), "--sample", str(connector.parent / "reply.xml")]
    )
    assert shown.exit_code == 0, shown.output
    assert "42 kind award: accepted" in shown.output
    assert "title.nb = Fagbrev i tømrerfaget" in shown.output
    assert "holder.pseudonym = (personal)" in shown.output
    assert "assessment.grade = (personal)" in shown.output
    assert "01019912345" not in shown.output


def test_live_preview_shows_requests_and_masks_persons(
    connector: Path,
) -> None:
    asked: list[str] = []

    class Registry(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.rfile.read(int(self.headers["content-length"])).decode())
            more = "true" if len(asked) == 1 else "false"
            body = AWARD.replace("</t:r>", f"<t:more>{more}</t:more></t:r>").encode()
            self.send_response(200)
            self.send_header("content-type", "text/xml; charset=utf-8")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    (connector.parent / "secrets/good").mkdir(parents=True)
    (connector.parent / "secrets/good/password").write_text("hunter2")
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/soap"
        connector.write_text(connector.read_text().replace("https://registry.example/soap", url))
        shown = RUN.invoke(
            app,
            ["preview", str(connector), "--raw", "--why", "--limit", "1"],
            env={"GATEWAY_SECRETS_DIR": str(connector.parent / "secrets")},
        )
        server.shutdown()
    assert shown.exit_code == 0, shown.output
    assert len(asked) == 1, "one page is enough for one record"
    assert f"POST {url} (ListAwards) → 200 text/xml" in shown.output
    assert "Fagbrev i tømrerfaget</t:title>" in shown.output
    assert "assessment.grade" in shown.output
    for hidden in ("01019912345", "Kari", "Nordmann", "hunter2"):
        assert hidden not in shown.output


def test_failed_preview_exits_with_its_code(connector: Path) -> None:
    missing = RUN.invoke(
        app,
        ["preview", str(connector)],
        env={"GATEWAY_SECRETS_DIR": str(connector.parent / "none")},
    )
    assert getattr(missing.exception, "exit_code", 1) == 2
    assert "is missing: write it to" in str(missing.exception)


def test_preview_states_when_levels_are_not_checked(connector: Path) -> None:
    done = RUN.invoke(
        app, ["check", str(connector)], env={"GATEWAY_MAPPINGS": str(connector.parent / "none")}
    )
    assert "levels and credits were not checked; set GATEWAY_MAPPINGS" in done.output
    assert "not checked" not in RUN.invoke(app, ["check", str(connector)]).output


def test_saved_test_passes_without_personal_data(connector: Path) -> None:
    saved = RUN.invoke(
        app,
        ["preview", str(connector), "--sample", str(connector.parent / "reply.xml"), "--save-test"],
    )
    assert saved.exit_code == 0, saved.output
    text = connector.read_text()
    assert "TODO say what it shows" in text
    assert "01019912345" not in text.split("TODO say what it shows")[1]
    assert "Nordmann" not in text
    assert "Fagbrev i tømrerfaget" in text
    assert [
        str(finding) for finding in check(connector, TABLES) if finding.severity == "error"
    ] == []


def test_diff_lists_changed_records(connector: Path) -> None:
    other = connector.parent / "new.yaml"
    other.write_text(connector.read_text().replace('"t:school[1]"', '"@kind"'))
    same = RUN.invoke(
        app,
        ["diff", str(connector), str(connector), "--sample", str(connector.parent / "reply.xml")],
    )
    assert (same.exit_code, same.output) == (0, "no record changes\n")
    changed = RUN.invoke(
        app, ["diff", str(connector), str(other), "--sample", str(connector.parent / "reply.xml")]
    )
    assert changed.exit_code == 1
    assert "awarding_body.name.en: School of Crafts → D" in changed.output


@pytest.mark.parametrize(
    ("protocol", "options"),
    [
        (
            "rest",
            {
                "--sample": '{"page": 1, "items": [{"awardId": "a", "name": "A"}, {"awardId": "b", "name": "B"}]}'
            },
        ),
        (
            "rest",
            {
                "--sample": "<r xmlns='urn:x'><a><id>1</id><name>A</name></a><a><id>2</id><name>B</name></a></r>"
            },
        ),
        (
            "rest",
            {
                "--openapi": '{"openapi": "3.0.0", "servers": [{"url": "https://x.example/v1"}], "paths": {"/awards": {"get": {}}}}'
            },
        ),
        ("soap", {"--wsdl": (HERE / "good.wsdl").read_text()}),
        ("soap", {}),
        ("file", {}),
    ],
)
def test_new_file_passes_and_lists_open_decisions(
    tmp_path: Path, protocol: str, options: dict[str, str]
) -> None:
    arguments = ["new", "ie", protocol, "--name", "awards", "--out", str(tmp_path / "out")]
    for option, content in options.items():
        file = tmp_path / "input.wsdl"
        file.write_text(content)
        arguments += [option, str(file)]
    made = RUN.invoke(app, arguments)
    assert made.exit_code == 0, made.output
    findings = check(tmp_path / "out" / "ie-awards.yaml", TABLES)
    assert [str(finding) for finding in findings if finding.severity == "error"] == []
    assert "todo" in {finding.code for finding in findings}
    text = (tmp_path / "out" / "ie-awards.yaml").read_text()
    missing = [finding.message for finding in findings if finding.code == "unpublished"]
    assert len(missing) == len(NEEDS["qualification"]) - 1, "the scaffold fills the title alone"
    for need in NEEDS["qualification"][1:]:
        assert f"# TODO {need.write[0]}" in text, "the file says what publishing still needs"
    again = RUN.invoke(app, arguments)
    assert again.exception is not None
    assert "already exists" in str(again.exception)


def test_findings_are_written_in_every_format(connector: Path) -> None:
    connector.write_text(connector.read_text().replace("every: 15m", "evry: 15m"))
    findings = check(connector, TABLES)
    text = format_findings(findings, "text").splitlines()
    assert text[0].startswith(f"{connector}:21:5: unknown-key: streams.awards.evry:")
    assert text[1].endswith("    evry: 15m")
    assert text[2].index("^") == text[1].index("evry")
    assert json.loads(format_findings(findings, "json"))[0]["line"] == 21
    assert format_findings(findings, "github").startswith(
        f"::error file={connector},line=21,col=5,title=unknown-key::"
    )
    sarif = json.loads(format_findings(findings, "sarif"))
    assert sarif["version"] == "2.1.0"
    assert sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"] == {
        "startLine": 21,
        "startColumn": 5,
    }


def test_check_exit_code_reflects_errors(connector: Path) -> None:
    assert RUN.invoke(app, ["check", str(connector)]).exit_code == 0
    connector.write_text(connector.read_text().replace("every: 15m", "evry: 15m"))
    assert RUN.invoke(app, ["check", str(connector)]).exit_code == 1


def test_preview_prints_json_without_personal_values(connector: Path) -> None:
    shown = RUN.invoke(
        app,
        ["preview", str(connector), "--sample", str(connector.parent / "reply.xml"), "--json"],
    )
    assert shown.exit_code == 0, shown.output
    [page] = json.loads(shown.output)
    fields = {field["field"]: field["value"] for field in page["fields"]}
    assert "Fagbrev i tømrerfaget" in fields["title"]
    assert fields["holder.pseudonym"] == "(personal, not shown)"
    assert "01019912345" not in shown.output
    assert "Kari" not in shown.output


def test_preview_does_not_mix_json_and_a_new_test(connector: Path) -> None:
    before = connector.read_text()
    refused = RUN.invoke(app, ["preview", str(connector), "--json", "--save-test"])
    assert "give one of them" in str(refused.exception)
    assert connector.read_text() == before


def test_diff_prints_json(connector: Path) -> None:
    sample = ["--sample", str(connector.parent / "reply.xml")]
    same = RUN.invoke(app, ["diff", str(connector), str(connector), *sample, "--json"])
    assert (same.exit_code, json.loads(same.output)) == (0, [])


def test_check_prints_json(connector: Path) -> None:
    (connector.parent / "broken.yaml").write_text("language: [")
    shown = RUN.invoke(app, ["check", "--json", str(connector.parent)])
    assert shown.exit_code == 1
    assert {Path(finding["file"]).name for finding in json.loads(shown.output)} >= {"broken.yaml"}
