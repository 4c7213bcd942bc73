"""``gateway schema``, ``gateway export`` and ``gateway validate``: what is promised to subscribers, and whether it is kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.errors import StorageError, UsageError

export_app = typer.Typer(help="Write what other registers pull.", no_args_is_help=True)


def schema_files() -> dict[str, str]:
    """Return every generated file of ``schemas/`` that describes a topic, by name."""
    from gateway.messages import asyncapi
    from gateway.messages.notification import Notification
    from gateway.messages.rejection import Rejection
    from gateway.messages.topics import NOTIFICATIONS, REJECTIONS
    from gateway.render.json_schemas import PROVENANCE, VERSION, schemas, structure

    found = schemas() | {
        REJECTIONS.name: structure(
            REJECTIONS.name, "Why a record was rejected; no payload", Rejection
        ),
        NOTIFICATIONS.name: structure(
            NOTIFICATIONS.name, "What happened to a connector, and who is to be told", Notification
        ),
    }
    files = {
        f"{name}.schema.json": json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
        for name, schema in found.items()
    }
    return files | {
        "asyncapi.yaml": asyncapi.document(VERSION, found.keys() - {PROVENANCE}, PROVENANCE)
    }


def schema(
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Change nothing; exit with 1 when a file is not what would be written."
        ),
    ] = False,
    folder: Annotated[Path, typer.Option("--dir", help="Folder of the schemas.")] = Path("schemas"),
) -> None:
    """Write the JSON Schema of each topic's value and asyncapi.yaml."""
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
            f"{path}: {'differs from what the code says; run `gateway schema` and review the change' if check else 'written'}"
        )
    if check and stale:
        raise typer.Exit(1)
    if not stale:
        print(f"{folder}: {len(schema_files())} files are up to date")


@export_app.command("qdr")
def export_qdr(
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("qdr.xml"),
    source: Annotated[
        list[Path] | None, typer.Option("--from", help="JSON files instead of the topics.")
    ] = None,
    kind: Annotated[
        str,
        typer.Option(help="qualifications or opportunities; the register wants one data set each."),
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
    xml, left = dataset(documents)
    try:
        out.write_bytes(xml)
    except OSError as error:
        raise StorageError(f"{out}: cannot be written ({error.strerror})") from None
    for one in left:
        print(f"left out {one.iri}: {one.reason}")
    print(f"{out}: {len(documents) - len(left)} of {len(documents)} entries, LOQ XML 3.1.0")
    if left:
        raise typer.Exit(1)


def validate(
    sources: Annotated[
        str, typer.Argument(metavar="FILE|TOPIC", help="A JSON or JSON-lines file, or a topic.")
    ],
    shapes: Annotated[
        Path | None,
        typer.Option(
            envvar="GATEWAY_SHAPES",
            help="Folder with the official shapes (shacl/) and contexts (context/).",
        ),
    ] = None,
) -> None:
    """Hold documents against the published schemas, and against the official shapes when they are at hand."""
    from gateway.check.published_documents import DocumentValidator

    judge = DocumentValidator(shapes)
    count = failed = 0
    for place, document in _documents(sources):
        found = judge(document)
        count += 1
        failed += bool(found)
        for text in found:
            print(f"{place}: {text}")
    if not count:
        raise UsageError(f"{sources}: nothing to validate; an empty set conforms to everything")
    print(f"{count} documents, {failed} with findings; judged by {', '.join(judge.judges)}")
    if not judge.has_shapes:
        print("the official shapes are not at hand: give their folder with --shapes")
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
            f"{sources}: neither a file nor a topic; topics are {', '.join(sorted(names))}"
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
            f"{path}:{number}:{error.colno}: not JSON; expected one document, an array, or one document a line"
        ) from None


def _on_topic(topic: str) -> dict[str, Any]:
    """Return the newest document of each key; tombstones take theirs away."""
    from gateway.cli.runtime import load_settings
    from gateway.kafka.topic_reader import read_topic

    async def collect() -> dict[str, Any]:
        found: dict[str, Any] = {}
        async for record in read_topic(load_settings(), topic):
            key = record.key.decode()
            if record.value is None:
                found.pop(key, None)
            else:
                found[key] = json.loads(record.value)
        return found

    return asyncio.run(collect())


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.command("schema")(schema)
    app.command("validate")(validate)
    app.add_typer(export_app, name="export")


__all__ = ["register", "schema_files"]
