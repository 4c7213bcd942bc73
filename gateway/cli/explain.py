"""``gateway explain``: show how the gateway made a record from a topic or a sample file."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gateway.errors import StorageError, UsageError
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.config.connector import Connector
    from gateway.records import RawRecord


def explain(
    connector: Annotated[str, typer.Argument(help="Connector file, or the name of a connector.")],
    record: Annotated[
        str,
        typer.Argument(help="Native id of a record on the raw topic. Omit it with --sample."),
    ] = "",
    sample: Annotated[
        Path | None,
        typer.Option(
            "--sample", help="File with one record of the registry; - reads standard input."
        ),
    ] = None,
    stream: Annotated[
        str | None, typer.Option("--stream", help="Stream of the sample.  [default: the only one]")
    ] = None,
    kind: Annotated[
        str, typer.Option("--kind", help="Kind of the sample, if the stream has kinds.")
    ] = "",
    mappings: Annotated[
        Path | None,
        typer.Option("--mappings", help="Folder of mapping tables.  [default: GATEWAY_MAPPINGS]"),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    code: Annotated[
        bool, typer.Option("--code", help="Print the generated Python code of --stream instead.")
    ] = False,
) -> None:
    """Explain each field of a record: rule, source value, table row and legal source.

    Hides personal data.
    """
    from gateway.cli.runtime import load_settings
    from gateway.config.loading import load_connector
    from gateway.config.split_streams import split_by_party
    from gateway.harmonise.tables.compiled_tables import Tables
    from gateway.operations.explain import explain_record, generated_code, read_stored_record
    from gateway.operations.provider import load_providers
    from gateway.pipeline.loaded_config import find_connector_file

    if not code and bool(record) == (sample is not None):
        raise UsageError("give either the native id of a record on the raw topic, or --sample FILE")
    path = Path(connector)
    loaded = load_connector(
        path if path.suffix else find_connector_file(Settings().connectors, connector)
    )
    if code:
        print(
            generated_code(
                loaded, _stream(loaded, stream), Tables.load(mappings or Settings().mappings)
            ),
            end="",
        )
        return
    providers = None
    if sample:
        raw, position = _explain_sample(loaded, sample, stream, kind)
    else:
        # The records on the topic carry the names of the split streams.
        loaded = split_by_party(loaded)
        settings = load_settings()
        raw, position = asyncio.run(read_stored_record(settings, loaded.connector, record))
        providers = asyncio.run(load_providers(settings))
    tables = Tables.load(mappings or Settings().mappings)
    page = explain_record(loaded, raw, tables, position, providers)
    if as_json:
        print(json.dumps(page.to_dict(), ensure_ascii=False, indent=2, default=str))
    else:
        print(page.to_text(), end="")


def _explain_sample(
    connector: Connector, sample: Path, stream: str | None, kind: str
) -> tuple[RawRecord, str]:
    from gateway.config.connector import payload_format
    from gateway.records import RawRecord

    name = _stream(connector, stream)
    try:
        body = sys.stdin.buffer.read() if str(sample) == "-" else sample.read_bytes()
    except OSError as error:
        raise StorageError(f"{sample}: cannot be read: {error.strerror}") from None
    xml = payload_format(connector, connector.streams[name]) == "xml"
    media_type: Literal["application/json", "application/xml"] = (
        "application/xml" if xml else "application/json"
    )
    raw = RawRecord(
        connector=connector.connector,
        stream=name,
        native_id="sample",
        kind=kind,
        body=body.strip(),
        media_type=media_type,
    )
    return raw, ""


def _stream(connector: Connector, stream: str | None) -> str:
    name = stream or next(iter(connector.streams))
    if name not in connector.streams or (stream is None and len(connector.streams) > 1):
        raise UsageError(f"--stream is one of {', '.join(connector.streams)}")
    return name


def register(app: typer.Typer) -> None:
    """Add this module's command to the command line."""
    app.command("explain")(explain)
