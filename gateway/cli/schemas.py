"""``gateway schema``, ``export`` and ``validate``: schemas, exports and checks of documents."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.command_group import CommandGroup
from gateway.errors import StorageError, UsageError
from gateway.printable import one_line

export_app = typer.Typer(
    cls=CommandGroup, help="Write files for other registers.", no_args_is_help=True
)


def schema_files() -> dict[str, str]:
    """Return the text of each generated topic file in ``schemas/``, by file name."""
    from gateway.messages import asyncapi
    from gateway.messages.notification import Notification
    from gateway.messages.rejection import Rejection
    from gateway.messages.topics import NOTIFICATIONS, REJECTIONS
    from gateway.render.json_schemas import PROVENANCE, VERSION, schemas, structure

    topic_schemas = schemas() | {
        REJECTIONS.name: structure(
            REJECTIONS.name, "Why a record was rejected; no payload", Rejection
        ),
        NOTIFICATIONS.name: structure(
            NOTIFICATIONS.name, "What happened to a connector, and who is to be told", Notification
        ),
    }
    files = {
        f"{name}.schema.json": json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
        for name, schema in topic_schemas.items()
    }
    return files | {
        "asyncapi.yaml": asyncapi.document(VERSION, topic_schemas.keys() - {PROVENANCE}, PROVENANCE)
    }


def schema(
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing. Exit with code 1 if a file is out of date."),
    ] = False,
    folder: Annotated[Path, typer.Option("--dir", help="Folder of the schemas.")] = Path("schemas"),
) -> None:
    """Write the JSON Schema of the value of each topic, and asyncapi.yaml."""
    stale = []
    for name, text in schema_files().items():
        path = folder / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path)
        if not check:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            except OSError as error:
                raise StorageError(
                    f"{path}: cannot be written ({error.strerror}); give another folder with --dir"
                ) from None
    for path in stale:
        print(
            f"{path}: "
            + ("out of date; run `gateway schema` and review the change" if check else "written")
        )
    if check and stale:
        raise typer.Exit(1)
    if not stale:
        print(f"{folder}: {len(schema_files())} files are up to date")


@export_app.command("qdr")
def export_qdr(
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("qdr.xml"),
    source: Annotated[
        list[Path] | None, typer.Option("--from", help="JSON file to read instead of the topic.")
    ] = None,
    kind: Annotated[
        str,
        typer.Option(
            help="qualifications or opportunities. The register requires a data set for each."
        ),
    ] = "qualifications",
) -> None:
    """Write the LOQ XML data set that the Qualification Dataset Register pulls."""
    from gateway.messages.topics import OPPORTUNITIES, QUALIFICATIONS
    from gateway.render.qdr_xml import dataset

    topics = {"qualifications": QUALIFICATIONS.name, "opportunities": OPPORTUNITIES.name}
    if kind not in topics:
        raise UsageError(f"--kind: no {kind}; expected one of {', '.join(topics)}")
    documents = (
        [document for path in source for _, document in _documents_in_file(path)]
        if source
        else list(_on_topic(topics[kind]).values())
    )
    xml, omitted = dataset(documents)
    try:
        out.write_bytes(xml)
    except OSError as error:
        raise StorageError(f"{out}: cannot be written ({error.strerror})") from None
    for entry in omitted:
        print(one_line(f"omitted {entry.iri}: {entry.reason}"))
    print(f"{out}: {len(documents) - len(omitted)} of {len(documents)} entries, LOQ XML 3.1.0")
    if omitted:
        raise typer.Exit(1)


def validate(
    sources: Annotated[
        str,
        typer.Argument(metavar="FILE|TOPIC", help="A JSON file, a JSON Lines file, or a topic."),
    ],
    shapes: Annotated[
        Path | None,
        typer.Option(
            envvar="GATEWAY_SHAPES",
            help="Folder with the official shapes (shacl/) and contexts (context/).",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check documents against the published schemas, and against the official shapes if available.

    The exit code is 1 if a document does not conform.
    """
    from gateway.check.published_documents import DocumentValidator

    validator = DocumentValidator(shapes)
    count = failed = 0
    listed: list[dict[str, str]] = []
    for place, document in _documents(sources):
        findings = validator(document, sources)
        count += 1
        failed += bool(findings)
        for text in findings:
            if as_json:
                listed.append({"document": place, "finding": text})
            else:
                print(one_line(f"{place}: {text}"))
    if not count:
        raise UsageError(f"{sources}: nothing to validate; it contains no document")
    if as_json:
        facts = {"documents": count, "failed": failed, "checked_by": list(validator.judges)}
        print(json.dumps(facts | {"findings": listed}, ensure_ascii=False, indent=1))
    else:
        checked_by = ", ".join(validator.judges)
        print(f"{count} documents, {failed} with findings; checked by {checked_by}")
    if not as_json and not validator.has_shapes:
        print("the official shapes are not available: give their folder with --shapes")
    if failed:
        raise typer.Exit(1)


def _documents(sources: str) -> Iterator[tuple[str, Any]]:
    path = Path(sources)
    if path.exists():
        yield from _documents_in_file(path)
        return
    from gateway.messages.topics import TOPICS

    names = {topic.name for topic in TOPICS}
    if sources not in names:
        raise UsageError(
            f"{sources}: neither a file nor a topic; the topics are {', '.join(sorted(names))}"
        )
    for key, document in _on_topic(sources).items():
        yield f"{sources} {key}", document


def _documents_in_file(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        whole = json.loads(text)
    except json.JSONDecodeError:
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield f"{path}:{number}", _parsed(path, number, line)
        return
    for place, document in enumerate(whole, 1) if isinstance(whole, list) else [(1, whole)]:
        yield (f"{path}#{place}" if isinstance(whole, list) else str(path)), document


def _parsed(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise UsageError(
            f"{path}:{number}:{error.colno}: not JSON; "
            "expected one document, an array, or one document on each line"
        ) from None


def _on_topic(topic: str) -> dict[str, Any]:
    """Return the newest document of each key. A key with a newer tombstone has none."""
    from gateway.cli.runtime import load_settings
    from gateway.kafka.topic_reader import read_topic
    from gateway.kafka.unreadable_records import skip_unreadable

    async def collect() -> dict[str, Any]:
        documents: dict[str, Any] = {}
        async for record in read_topic(load_settings(), topic):
            key = (record.key or b"").decode()
            if record.value is None:
                documents.pop(key, None)
            else:
                with skip_unreadable(record):
                    documents[key] = json.loads(record.value)
        return documents

    return asyncio.run(collect())


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.command("schema")(schema)
    app.command("validate")(validate)
    app.add_typer(export_app, name="export")


__all__ = ["register", "schema_files"]
