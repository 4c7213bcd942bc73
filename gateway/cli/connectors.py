"""Commands on connector files: ``new``, ``check``, ``preview``, ``diff``, ``language``.

They need no Kafka, except ``diff`` for mapping tables.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.printable import one_line
from gateway.settings import SHIPPED, Settings
from gateway.similar_name import did_you_mean, unknown_stream


class OutputFormat(StrEnum):
    """The output format of ``gateway check``."""

    text = "text"
    json = "json"
    github = "github"
    sarif = "sarif"


def load_tables() -> Any:
    """Return the mapping tables of this deployment, or ``None`` if there are none."""
    from gateway.harmonise.tables.compiled_tables import Tables

    mappings = Settings().mappings
    return Tables.load(mappings) if mappings.is_dir() and any(mappings.glob("*.yaml")) else None


def connector_files_in(paths: list[Path]) -> list[Path]:
    """Return the given files, and the connector files in the given folders.

    Raises :class:`~gateway.errors.UsageError` if there are none.
    """
    from gateway.errors import UsageError

    files = [
        file
        for path in paths
        for file in (sorted(path.glob("*.yaml")) if path.is_dir() else [path])
    ]
    if not files:
        raise UsageError(
            f"no connector file in {', '.join(map(str, paths))}; `gateway new` writes one"
        )
    return files


def split_paths(paths: list[Path]) -> tuple[list[Path], list[Path]]:
    """Return the folders of mapping tables, and the other paths."""
    from gateway.check.mapping_tables import is_mapping_folder

    return [path for path in paths if is_mapping_folder(path)], [
        path for path in paths if not is_mapping_folder(path)
    ]


def _count_by_severity(findings: list[Any]) -> str:
    counts = Counter(finding.severity for finding in findings)
    parts = [
        f"{counts[severity]} {severity}{'s' * (counts[severity] != 1)}"
        for severity in ("error", "warning", "note")
        if counts[severity]
    ]
    return ", ".join(parts) or "no findings"


def default_paths() -> list[Path]:
    """Return the folder of connectors, or without one the files that the package contains."""
    settings = Settings()
    if settings.connectors.exists() or "connectors" in settings.model_fields_set:
        return [settings.connectors]
    return [
        folder for folder in (SHIPPED / "connectors", SHIPPED / "mappings") if folder.exists()
    ] or [settings.connectors]


def check(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Connector files, folders of connector files, or folders of mapping tables."
            "  [default: GATEWAY_CONNECTORS]"
        ),
    ] = None,
    form: Annotated[
        OutputFormat, typer.Option("--format", help="Format of the findings.")
    ] = OutputFormat.text,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Treat warnings as errors.")] = False,
) -> None:
    """Check connector files with their inline tests, and mapping tables.

    The exit code is 1 if there is an error.
    """
    from gateway.check import check as check_file
    from gateway.check.mapping_tables import check_mappings
    from gateway.check.report_formats import format_findings

    form = OutputFormat.json if as_json else form
    mappings, connectors = split_paths(paths or default_paths())
    files = connector_files_in(connectors) if connectors else []
    tables = load_tables()
    findings = [finding for folder in mappings for finding in check_mappings(folder)]
    findings += [finding for file in files for finding in check_file(file, tables)]
    files += [file for folder in mappings for file in folder.glob("*.yaml")]
    if findings or form is not OutputFormat.text:
        print(format_findings(findings, form.value))
    bad = [
        finding
        for finding in findings
        if finding.severity == "error" or (strict and finding.severity == "warning")
    ]
    if form is OutputFormat.text:
        number = "1 file" if len(files) == 1 else f"{len(files)} files"
        print(f"{number} checked: {_count_by_severity(findings)}")
        if tables is None and files:
            print(
                f"no mapping tables in {Settings().mappings}: "
                "levels and credits were not checked; set GATEWAY_MAPPINGS"
            )
    if bad:
        raise typer.Exit(1)


Sample = Annotated[
    list[Path] | None,
    typer.Option(
        "--sample",
        help="A saved reply. Several replies answer the requests in order. "
        "NAME=FILE is the reply for the join NAME.",
    ),
]
Stream = Annotated[
    str | None, typer.Option("--stream", help="Name of the stream.  [default: the first]")
]
Limit = Annotated[
    int, typer.Option("--limit", min=1, max=1000, help="Show no more than this number of records.")
]

PROTOCOLS = ("rest", "soap", "file")
_PREVIEW_KEY = b"the key of previews, never of a gateway"


def _stream_of(connector: Any, stream: str | None) -> str:
    from gateway.errors import UsageError

    if stream is not None and stream not in connector.streams:
        raise UsageError(unknown_stream(connector.connector, stream, connector.streams))
    return stream or next(iter(connector.streams))


def _preview_records(
    file: Path,
    stream: str | None,
    sample: list[Path] | None,
    limit: int,
    *,
    show_requests: bool = True,
) -> Any:
    import asyncio

    from gateway.check import preview as previewing
    from gateway.check.push_preview import read_messages
    from gateway.check.sample_replies import sample_client
    from gateway.config.loading import load_connector
    from gateway.fetch.registry_client import RegistryClient
    from gateway.fetch.secrets import FileSecrets
    from gateway.harmonise.harmoniser import Harmoniser

    settings = Settings()
    connector = load_connector(file)
    name = _stream_of(connector, stream)
    harmonise = Harmoniser(connector, load_tables(), pseudonym_key=_PREVIEW_KEY)
    if connector.push is not None:
        raws = read_messages(connector, connector.push, sample or [])
        mine = [raw for raw in raws if stream is None or raw.stream == name]
        items = [previewing.preview_record(connector, raw, harmonise) for raw in mine[:limit]]
        return previewing.Preview(items, len(sample or []))
    client: RegistryClient
    without: tuple[str, ...] = ()
    if sample:
        connector, client, without = sample_client(connector, name, sample)
    else:
        client = RegistryClient(
            connector, FileSecrets(settings.secrets_dir), settings.registry_environment
        )
        if show_requests:
            client.on_exchange = lambda *exchange: print(previewing.format_exchange(*exchange))
    shown = asyncio.run(previewing.preview_records(connector, name, client, harmonise, limit))
    shown.joins_without_sample = without
    return shown


def _print_explanations(
    file: Path, stream: str | None, sample: list[Path] | None, limit: int
) -> None:
    """Print the explanation of each record as JSON. Personal values are hidden."""
    from gateway.config.loading import load_connector
    from gateway.harmonise.explanation import explain

    connector, tables = load_connector(file), load_tables()
    items = _preview_records(file, stream, sample, limit, show_requests=False).items
    pages = [
        explain(connector, item.raw, item.outcome, tables=tables, topics=item.topics).to_dict()
        for item in items
        if item.raw.body is not None
    ]
    print(json.dumps(pages, ensure_ascii=False, indent=1))


def _save_first_record(file: Path, connector: Any, items: list[Any]) -> None:
    """Add the first record with content to the connector file as a test."""
    from gateway.check import save_test as saving

    raw_record = next((item.raw for item in items if item.raw.body is not None), None)
    if raw_record is None:
        print("no test written: no record with content was read; raise --limit")
        return
    line = saving.save_test(file, connector, raw_record.stream, raw_record, load_tables())
    print(f"test written: {file}:{line}; read it before you commit it")


def _preview_notes(connector: Any, stream: str, shown: Any) -> Iterator[str]:
    """Yield the number of records, and the remarks and warnings about them."""
    from gateway.check.preview_remarks import remarks
    from gateway.check.repeated_ids import contradictory_ids, describe_contradiction

    if shown.items:
        yield f"{len(shown.items)} {'record' if len(shown.items) == 1 else 'records'}"
    yield from remarks(connector, stream, shown)
    raws = [item.raw for item in shown.items]
    for native_id in contradictory_ids(connector.streams[stream], raws):
        yield f"warning: {describe_contradiction(native_id)}"


def preview(
    file: Annotated[Path, typer.Argument(help="Connector file.")],
    stream: Stream = None,
    sample: Sample = None,
    limit: Limit = 5,
    *,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw",
            help="Show also each raw record, with personal values replaced.",
        ),
    ] = False,
    why: Annotated[
        bool,
        typer.Option(
            "--why", help="Show the rule, the source value and the table row of each field."
        ),
    ] = False,
    document: Annotated[
        bool,
        typer.Option(
            "--document",
            help="Show also each document as it would be published, with personal values masked.",
        ),
    ] = False,
    save_test: Annotated[
        bool,
        typer.Option(
            "--save-test",
            help="Add the first record with content to the file as a test, "
            "with personal values replaced.",
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the explanation of each record as JSON.")
    ] = False,
) -> None:
    """Show the harmonised records of a saved reply or of the registry.

    Publishes nothing and masks personal values.
    """
    from gateway.check import preview as previewing
    from gateway.check import save_test as saving
    from gateway.config.loading import load_connector
    from gateway.errors import UsageError
    from gateway.harmonise.explanation import explain

    if as_json:
        if save_test:
            raise UsageError("--save-test writes a test, --json prints records; give one of them")
        _print_explanations(file, stream, sample, limit)
        return
    shown = _preview_records(file, stream, sample, limit)
    items = shown.items
    connector = load_connector(file)
    for item in items:
        if raw:
            print("\n".join(saving.raw_lines(connector, item.raw, load_tables())))
        if why and item.raw.body is not None:
            page = explain(
                connector, item.raw, item.outcome, tables=load_tables(), topics=item.topics
            )
            print(page.to_text())
        else:
            print("\n".join(map(one_line, previewing.format_record(item))))
        if document:
            print("\n".join(map(one_line, previewing.format_documents(item))))
    for line in _preview_notes(connector, _stream_of(connector, stream), shown):
        print(line)
    if save_test:
        _save_first_record(file, connector, items)


def diff(
    old: Annotated[
        str,
        typer.Argument(
            help="The old connector file. "
            "Or the only argument: a country or connector whose mapping tables changed."
        ),
    ],
    new: Annotated[Path | None, typer.Argument(help="The new connector file.")] = None,
    stream: Stream = None,
    sample: Sample = None,
    limit: Limit = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the records that a change of a connector or of mapping tables affects.

    Compares two connector files on a saved reply or on the registry. Compares mapping tables on
    the raw topic. The exit code is 1 if a record changes.
    """
    from gateway.check import preview as previewing
    from gateway.cli.streams import print_changes

    if new is None:
        if print_changes(old, as_json=as_json):
            raise typer.Exit(1)
        return
    changes = list(
        previewing.differences(
            *(
                _preview_records(path, stream, sample, limit, show_requests=not as_json).items
                for path in (Path(old), new)
            )
        )
    )
    if as_json:
        print(json.dumps(changes, ensure_ascii=False, indent=1))
    else:
        print("\n".join(map(one_line, changes)) if changes else "no record changes")
    if changes:
        raise typer.Exit(1)


def new(
    country: Annotated[str, typer.Argument(help="ISO 3166-1 code of the country, such as IE.")],
    protocol: Annotated[str, typer.Argument(help="rest, soap or file.")],
    name: Annotated[
        str, typer.Option("--name", help="Name of the registry, in lower case.")
    ] = "registry",
    sample: Annotated[
        Path | None,
        typer.Option(
            "--sample",
            help="A saved reply. The command guesses records and fields from it.",
        ),
    ] = None,
    wsdl: Annotated[
        Path | None,
        typer.Option("--wsdl", help="A WSDL. The connector file is written next to it."),
    ] = None,
    openapi: Annotated[
        Path | None,
        typer.Option("--openapi", help="An OpenAPI file with the address and the paths."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the new file.  [default: GATEWAY_CONNECTORS]"),
    ] = None,
) -> None:
    """Write a first connector file. TODO marks guesses and gaps."""
    from gateway.check.scaffold import ScaffoldAnswers, write_connector
    from gateway.errors import UsageError

    if protocol not in PROTOCOLS:
        raise UsageError(
            f"no protocol {protocol!r}{did_you_mean(protocol, PROTOCOLS)}; "
            "expected rest, soap or file (connectors/README.md describes push)"
        )
    answers = ScaffoldAnswers(country.upper(), protocol, name, sample, wsdl, openapi)
    path = write_connector(answers, out or Settings().connectors)
    print(f"{path} written; search it for TODO, then: gateway check {path}")


def language(
    *,
    check_only: Annotated[
        bool,
        typer.Option("--check", help="Write nothing. Exit with code 1 if a file is out of date."),
    ] = False,
) -> None:
    """Generate connectors/README.md and schemas/connector.schema.json from the code."""
    from gateway.config.reference_docs import json_schema, to_markdown
    from gateway.config.yaml.document import read_or_raise
    from gateway.errors import StorageError

    folder = Settings().connectors
    sources = folder / "language"
    needs = read_or_raise(sources / "needs.yaml").value
    try:
        introduction = (sources / "introduction.md").read_text(encoding="utf-8")
        stale = []
        generated = {
            folder / "README.md": to_markdown(introduction, needs),
            folder.parent / "schemas" / "connector.schema.json": json_schema(needs),
        }
        for path, text in generated.items():
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                stale.append(path)
                if not check_only:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"{error.filename}: {error.strerror}; "
            "run this in the repository, or set GATEWAY_CONNECTORS"
        ) from None
    for path in stale:
        print(f"{path}: {'out of date; run `gateway language`' if check_only else 'written'}")
    if not stale:
        print("up to date")
    elif check_only:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.command("check")(check)
    app.command("new")(new)
    app.command("preview")(preview)
    app.command("diff")(diff)
    app.command("language")(language)
