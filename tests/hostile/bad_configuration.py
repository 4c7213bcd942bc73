"""Rows 1 to 36: files a person wrote wrongly."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from tests.hostile.bad_inputs import bad, told
from tests.support.certificates import AUTHORITY, SERVER, make
from tests.support.connector_files import GOOD, MAPPING, GatewayFolder, line_of, one
from tests.support.forked_process import apart


def mapping(
    desk: GatewayFolder, *changes: tuple[str, str], words: str = "", line: int | None = None
) -> str:
    """Start a worker with one mapping file that is right but for the changes."""
    text = MAPPING
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    desk.write(GOOD)
    for file in desk.mappings.glob("*.yaml"):
        file.unlink()
    desk.write(text, "no.yaml", desk.mappings)
    ended = desk.run()
    if not ended.startswith("exit 3"):
        done = desk.gateway("check", str(desk.mappings))
        desk.said = done.out.splitlines()
        codes = [said.split(": ")[1] for said in desk.said if said.startswith(str(desk.mappings))]
        ended = f"check exits {done.code}: {', '.join(sorted(set(codes)))}"
    desk.has(words, line)
    return ended


@bad(
    1,
    "a connector file, or a folder of them, that is not there",
    "exit 3: missing-file, and check exits 1: missing-file",
)
def missing_file(desk: GatewayFolder) -> str:
    run = desk.gateway("run", GATEWAY_CONNECTORS=str(desk.folder / "nowhere"))
    desk.has(f"{desk.folder}/nowhere: missing-file: no such file or folder|GATEWAY_CONNECTORS")
    check = desk.gateway("check", str(desk.folder / "nowhere.yaml"))
    assert "nowhere.yaml: missing-file:" in check.out, check.out
    return f"exit {run.code}: missing-file, and check exits {check.code}: missing-file"


@bad(2, "an empty file; one of comments only", "exit 3: empty")
def empty_file(desk: GatewayFolder) -> str:
    ended = []
    for text in ("", "# nothing here\n"):
        desk.write(text)
        ended.append(desk.run())
        desk.has("test.yaml|gateway new")
    return one(ended)


@bad(3, "a directory, a FIFO and /dev/zero where a file is expected", "exit 3: not-a-file")
def not_a_file(desk: GatewayFolder) -> str:
    ended = []
    place = desk.connectors / "test.yaml"
    for make_it, undo in (
        (place.mkdir, place.rmdir),
        (lambda: os.mkfifo(place), place.unlink),
        (lambda: place.symlink_to("/dev/zero"), place.unlink),
    ):
        make_it()
        ended.append(desk.run())
        desk.has("test.yaml|not a regular file")
        undo()
    return one(ended)


@bad(4, "a byte that is not UTF-8", "exit 3: not-utf-8")
def not_utf8(desk: GatewayFolder) -> str:
    desk.write(GOOD.encode().replace(b"A registry", b"A r\xe9gistry"))
    ended = desk.run()
    desk.has("save the file as UTF-8", line_of(GOOD, "A registry"))
    return ended


def accepted(desk: GatewayFolder, text: str | bytes) -> str:
    done = desk.gateway("check", str(desk.write(text)))
    return f"exit {done.code}, {done.out.strip().split(': ')[-1]}"


@bad(5, "a byte order mark", "exit 0, no findings")
def byte_order_mark(desk: GatewayFolder) -> str:
    return accepted(desk, b"\xef\xbb\xbf" + GOOD.encode())


@bad(6, "lines that end in CR LF", "exit 0, no findings")
def carriage_returns(desk: GatewayFolder) -> str:
    return accepted(desk, GOOD.replace("\n", "\r\n"))


@bad(7, "a tab as indentation", "exit 3: tab")
def tab(desk: GatewayFolder) -> str:
    return desk.refused(
        ("  limits:", "\tlimits:"), words="two spaces", line=line_of(GOOD, "  limits:")
    )


@bad(8, "a key given twice", "exit 3: duplicate-key")
def duplicate_key(desk: GatewayFolder) -> str:
    first = line_of(GOOD, "title:")
    return desk.refused(
        ("owner:", "title: Twice\nowner:"), words=f"the first is in line {first}", line=first + 1
    )


@bad(9, "an unknown key, `recrods`", "exit 3: unknown-key")
def unknown_key(desk: GatewayFolder) -> str:
    return desk.refused(
        ("records:", "recrods:"), words="did you mean 'records'", line=line_of(GOOD, "records:")
    )


@bad(10, "a wrong type: `concurrency: 50x`", "exit 3: wrong-type")
def wrong_type(desk: GatewayFolder) -> str:
    return desk.refused(
        ("timeout: 10s", "concurrency: 50x"), words="expected", line=line_of(GOOD, "limits:")
    )


@bad(11, "`country: NO` without quotes, and `NO` as a key", "exit 0, no findings")
def norway(desk: GatewayFolder) -> str:
    return accepted(
        desk,
        GOOD.replace('"NO"', "NO")
        .replace("{D: diploma", "{NO: diploma")
        .replace("kind: D,", "kind: NO,"),
    )


@bad(12, "a code with a leading zero, `06`", "exit 3: leading-zero")
def leading_zero(desk: GatewayFolder) -> str:
    return desk.refused(
        ("{D: diploma", "{06: diploma"), words='write "06"', line=line_of(GOOD, "{D: diploma")
    )


@bad(13, "a country that is none: `EL`, `XX`, `ZZ-AB`; `UK` for GB", "exit 3: bad-value")
def unknown_country(desk: GatewayFolder) -> str:
    ended = []
    for code, hint in (("EL", "GR"), ("XX", "ISO 3166"), ("ZZ-AB", "ISO 3166"), ("UK", "GB")):
        ended.append(desk.refused(('"NO"', f'"{code}"'), words=hint, line=3))
    return one(ended)


@bad(
    14,
    "an EQF level of 9, 0, -1, 5.5 or NaN in a table",
    "exit 3: less-than-equal; exit 3: greater-than-equal; exit 3: wrong-type; exit 3: odd-number",
)
def eqf_level(desk: GatewayFolder) -> str:
    line = line_of(MAPPING, "eqf: 6")
    return one(
        [
            mapping(desk, ("eqf: 6", f"eqf: {level}"), line=line)
            for level in ("9", "0", "-1", "5.5", ".nan")
        ]
    )


@bad(
    15,
    "a gap or an overlap in ranges of grades",
    "exit 3: unknown-key",
    differs="there are no ranges of grades: a grade is never converted, a scale is a list of its values",
)
def grade_ranges(desk: GatewayFolder) -> str:
    return mapping(
        desk,
        (
            "values: [A, B, C, D, E, F]",
            "ranges: [{from: 1, to: 4, ects: A}, {from: 3, to: 6, ects: B}]",
        ),
        words="ranges",
    )


@bad(16, "a rule for a target that does not exist", "exit 3: unknown-field")
def unknown_target(desk: GatewayFolder) -> str:
    return desk.refused(
        ("title.en: title", "titel.en: title"),
        words="did you mean 'title",
        line=line_of(GOOD, "title.en"),
    )


@bad(
    17,
    "a row that ends before it begins; two rows for one level on one day",
    "exit 3: bad-value; check exits 1: overlap",
)
def dates_of_rows(desk: GatewayFolder) -> str:
    first, second = line_of(MAPPING, "eqf: 6"), line_of(MAPPING, "eqf: 7")
    return one(
        [
            mapping(
                desk,
                ("eqf: 6", "eqf: 6, from: 2020-01-01, until: 2019-01-01"),
                words="before",
                line=first,
            ),
            mapping(
                desk,
                ('level: "7", eqf: 7', 'level: "6", eqf: 7'),
                words=f"in line {first}",
                line=second,
            ),
        ]
    )


@bad(18, "an ECTS ratio of 0, -1 or 1e9", "exit 3: bad-value; exit 3: odd-number")
def ratio(desk: GatewayFolder) -> str:
    return one(
        [
            mapping(desk, ("ects: 1", f"ects: {value}"), line=line_of(MAPPING, "ects: 1"))
            for value in ("0", "-1", "1e9", "1000000000")
        ]
    )


@bad(
    19,
    "an alias cycle, an alias bomb, 600 levels of indentation, 200,000 brackets, braces, dashes",
    "alias, anchor; alias, anchor, more-findings; too-deep: each below 0.5 s of CPU and 64 MB",
)
def bombs(desk: GatewayFolder) -> str:
    from gateway.config.yaml import document

    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(20)
    )
    deep = (
        "".join(f"{'  ' * n}a:\n" for n in range(600)),
        "[" * 200_000,
        "[x, " * 100_000,
        "{a: " * 100_000,
        "- " * 100_000,
    )
    inputs = ["a: &a [*a]\n", bomb, *deep]
    ended = []
    for text in inputs:
        path = desk.write(text)
        done = apart(
            lambda path=path: sorted(
                {finding.code for finding in document.read_yaml(path).findings}
            )
        )
        assert done.code == 0, done.err
        assert done.cpu < 0.5, (text[:20], done.cpu)
        assert done.grown < 64, done.grown
        ended.append(", ".join(sorted(done.out.strip("[]").replace('"', "").split(", "))))
    return one(ended) + ": each below 0.5 s of CPU and 64 MB"


@bad(20, "a tag that makes an object: `!!python/object/apply:os.system`", "exit 3: tag")
def tags(desk: GatewayFolder) -> str:
    return desk.refused(
        ("title: A registry for tests", "title: !!python/object/apply:os.system ['touch here']"),
        words="remove it",
        line=4,
    )


@bad(21, "two documents in one file", "exit 3: several-documents")
def two_documents(desk: GatewayFolder) -> str:
    desk.write(GOOD + "---\nlanguage: 1\n")
    ended = desk.run()
    desk.has("one document", GOOD.count("\n") + 1)
    return ended


@bad(22, "a control or a bidirectional character in a key", "exit 3: control-character")
def invisible(desk: GatewayFolder) -> str:
    ended = []
    for character, name in (("\u202e", "U+202E"), ("\x07", "U+0007"), ("\u200b", "U+200B")):
        ended.append(
            desk.refused(
                ("{D: diploma", f'{{"D{character}": diploma'),
                words=name,
                line=line_of(GOOD, "{D: diploma"),
            )
        )
    return one(ended)


@bad(
    23,
    "a regular expression that backtracks for ever, `(a+)+$`; one that needs backtracking",
    "no match in 0.1 s of CPU; exit 3: bad-value",
)
def catastrophe(desk: GatewayFolder) -> str:
    from gateway.harmonise.values.casts import regular_expression
    from gateway.harmonise.values.text import CastError

    convert, started = regular_expression("(a+)+x?(a+)+$"), time.process_time()
    try:
        convert("a" * 999 + "!")
        ended = "a match"
    except CastError as error:
        ended = error.reason.replace("_", " ")
    assert time.process_time() - started < 0.1
    more = desk.refused(
        ("title.en: title", 'title.en: {from: title, as: {match: "(a)(?=b)\\\\1"}}'),
        words="RE2",
        line=line_of(GOOD, "title.en"),
    )
    return f"{ended} in 0.1 s of CPU; {more}"


@bad(24, "a secret written into the file", "exit 3: literal-secret")
def literal_secret(desk: GatewayFolder) -> str:
    return desk.refused(
        ("{secret: test/token}", "CANARY-SECRET"),
        words="write {secret: NAME}",
        line=line_of(GOOD, "secret:"),
    )


@bad(
    25,
    "a secret that everybody may read, mode 0644, outside a container's root",
    "exit 3: file-mode",
)
def open_secret(_desk: GatewayFolder) -> str:
    with (
        tempfile.TemporaryDirectory() as folder
    ):  # pytest's own folders are closed to others: there a mode opens nothing
        desk = GatewayFolder(Path(folder))
        for part in (desk.connectors, desk.mappings, desk.folder):
            part.chmod(0o755)
        desk.write(GOOD)
        secret = desk.secret(mode=0o644)
        for part in secret.relative_to(desk.folder).parents:
            (desk.folder / part).chmod(0o755)
        done = desk.gateway("run", before=lambda: os.setuid(65534) if os.getuid() == 0 else None)
        desk.has("test/token|file-mode|chmod 600")
        return f"exit {done.code}: file-mode"


@bad(
    26,
    "a variable of the environment that is not set, `${HOST}`, in a title or a text: a file has no variables, set or not",
    "exit 3: variable",
)
def variables(desk: GatewayFolder) -> str:
    return one(
        [
            desk.refused(
                (old, new),
                words="variable: |${HOST} is not replaced|write the value",
                line=line_of(GOOD, old),
            )
            for old, new in (
                ("A registry for tests", "A registry of ${HOST}"),
                ("registry.example/api", "${HOST}/api"),
                ("id: id", 'id: "${HOST}"'),
            )
        ]
    )


URLS = (
    "http://registry.example", "https://user:CANARY@registry.example", "file:///etc/passwd", "https://169.254.169.254/latest",
    "http://127.0.0.1@evil.example", "http://127.0.0.1.evil.example", "https://r\u0435gistry.example", "https://[fe80::1]/", "https://0.0.0.0/",
    "https://metadata.google.internal/x y",
)  # fmt: skip


@bad(
    27,
    "addresses: http to another machine, user:pass@, file://, 169.254.169.254, `127.0.0.1@evil`, look-alike letters, and five more",
    "exit 3: bad-text; exit 3: bad-value; exit 3: insecure-url",
)
def addresses(desk: GatewayFolder) -> str:
    line = line_of(GOOD, "url:")
    return one(sorted({desk.refused(("https://registry.example", url), line=line) for url in URLS}))


@bad(
    28,
    "port 0 or 70000 in a file; 70000 or `x` in the environment, where 0 is any free port",
    "exit 3: bad-value; exit 3",
)
def ports(desk: GatewayFolder) -> str:
    line = line_of(GOOD, "url:")
    ended = [
        desk.refused(("registry.example", f"registry.example:{port}"), words="port", line=line)
        for port in ("0", "70000")
    ]
    desk.write(GOOD)
    desk.secret()
    for port in ("70000", "x"):
        done = desk.gateway("run", GATEWAY_METRICS_PORT=port)
        desk.has("GATEWAY_METRICS_PORT")
        ended.append(f"exit {done.code}")
    return one(ended)


@bad(29, "a page size of 0, -1, 10^9", "exit 3: greater-than-equal; exit 3: less-than-equal")
def page_size(desk: GatewayFolder) -> str:
    line = line_of(GOOD, "paging:")
    return one(
        [
            desk.refused(("start: 1", f"start: 1, size: {size}"), line=line)
            for size in ("0", "-1", "1000000000")
        ]
    )


@bad(30, "a timeout of 0, `inf`, a hundred years or 5,000 digits", "exit 3: bad-value")
def timeout(desk: GatewayFolder) -> str:
    line = line_of(GOOD, "limits:")
    return one(
        [
            desk.refused(("timeout: 10s", f"timeout: {value}"), line=line)
            for value in ("0s", "inf", "36500d", "-1s", "9" * 12 + "d", "9" * 5000 + "d")
        ]
    )


@bad(
    31,
    "two files that say they are one connector, and would share its transactional id",
    "exit 3: wrong-name",
)
def two_of_one_name(desk: GatewayFolder) -> str:
    desk.write(GOOD, "other.yaml")
    desk.write(GOOD)
    desk.run()
    desk.has("connector not loaded|other.yaml|test")
    ended = desk.run("other", "test")
    desk.has("other.yaml|test")
    return ended


@bad(
    32,
    "names that would make bad topics or ids: `a b`, `..`, 250 characters, `a.b`, which the metrics of Kafka take for `a_b`",
    "exit 3: bad-text; exit 3: string-too-long",
)
def names(desk: GatewayFolder) -> str:
    return one(
        [
            desk.refused(("connector: test", f'connector: "{name}"'), line=2)
            for name in ("a b", "..", "a" * 250, "a.b")
        ]
    )


@bad(
    33,
    "weaker guarantees: `acks: 1`, `isolation: read_uncommitted`",
    "exit 3: unknown-key",
)
def weaker(desk: GatewayFolder) -> str:
    from gateway.settings import Settings

    assert not {name for name in Settings.model_fields if "acks" in name or "isolation" in name}
    line = line_of(GOOD, "limits:")
    return one(
        [desk.refused(("timeout: 10s", f"{word}: 1"), line=line) for word in ("acks", "isolation")]
    )


@bad(
    34,
    "our own TLS certificate, towards Kafka or a registry, expired; of another key; a locked key without its password; no certificate",
    "exit 3: tls-material, names file and date; of a registry: TLS_MATERIAL, names connector and date",
    differs="a registry's client certificate halts that registry only: one that expired must not keep all the others from starting",
    elsewhere="tests/unit/fetch/test_tls.py::test_unusable_tls_material_is_named_not_shown",
)
def own_certificate(desk: GatewayFolder) -> str:
    from gateway.errors import StreamHalted
    from gateway.fetch.http import tls

    expired = make("gateway", AUTHORITY, days=-1)
    lock = serialization.BestAvailableEncryption(b"CANARY")
    locked = SERVER.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock
    )
    desk.write(GOOD)
    desk.secret()
    ended = []
    for certificate, key, words in (
        (
            expired.pem,
            expired.key_pem,
            f"expired on {expired.certificate.not_valid_after_utc:%Y-%m-%d}",
        ),
        (SERVER.pem, AUTHORITY.key_pem, "does not belong to"),
        (SERVER.pem, locked, "password"),
        (b"", SERVER.key_pem, ""),
    ):
        ended.append(to_kafka(desk, certificate, key, words) + ", names file and date")
        try:
            tls.client_context("fi-x", certificate=certificate, key=key)
        except StreamHalted as error:
            assert words in str(error), error
            assert "fi-x" in str(error)
            assert "CANARY" not in str(error)
            ended.append(f"of a registry: {error.reason}, names connector and date")
    return one(ended)


def to_kafka(desk: GatewayFolder, certificate: bytes, key: bytes, words: str) -> str:
    """Start a worker with its own certificate towards Kafka; it must end before it connects, and with one line."""
    own, other = (
        desk.write(certificate, "own.pem", desk.folder),
        desk.write(key, "own.key", desk.folder),
    )
    given = {
        "GATEWAY_KAFKA_CERT_FILE": str(own),
        "GATEWAY_KAFKA_KEY_FILE": str(other),
        "GATEWAY_KAFKA_SECURITY": "SSL",
    }
    done = desk.gateway("run", **given)
    desk.has(f"{desk.folder}/own.|tls-material|{words}")
    assert len(desk.said) == 1, desk.said
    return f"exit {done.code}: tls-material"


told(
    35,
    "older_tables",
    "mapping tables older than those that ran before",
    "each record carries the digest and the rows of the tables it was judged by",
    differs=(
        "tables have no version number that could go down: they are dated rows. `gateway renormalise --dry-run` lists what other tables would publish differently, "
        "and the metric gateway_config_info and alert ConfigsDiffer tell of workers with different files"
    ),
    elsewhere="tests/end_to_end/test_renormalise.py::test_renormalise_republishes_only_affected_records",
)


told(
    36,
    "half_written",
    "a file that is half written, or wrong, while the gateway runs",
    "what ran goes on running; gateway_config_reloads_total{outcome=refused} and a log line with the place",
    elsewhere=(
        "tests/end_to_end/test_reload.py::test_half_written_file_is_not_loaded, "
        "tests/end_to_end/test_reload.py::test_invalid_file_is_refused_once_with_its_position"
    ),
)
