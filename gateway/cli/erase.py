"""``gateway erase``: remove a record or a person from every topic permanently, and undo it."""

from __future__ import annotations

import asyncio
import getpass
import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

if TYPE_CHECKING:
    from gateway.operations.erase import ErasureReceipt, RemainingRecords
    from gateway.operations.erasure_request import ErasureRequest
    from gateway.pipeline.loaded_config import LoadedConfig
    from gateway.settings import Settings


def erase(
    connector: Annotated[
        str, typer.Argument(help="Name of the connector. Omit it with --person.")
    ] = "",
    native_id: Annotated[
        str,
        typer.Argument(
            help="Id of the record in the registry, also where the gateway hashes it, "
            "or - to read it from standard input."
        ),
    ] = "",
    person: Annotated[
        bool,
        typer.Option(
            "--person",
            help="Erase every record of a person. "
            "Standard input has one identifier on each line, as KIND VALUE.",
        ),
    ] = False,
    reason: Annotated[
        str,
        typer.Option(help="Reason for the receipt, such as a case number. Give no personal data."),
    ] = "",
    by: Annotated[
        str, typer.Option(help="Name of the requester.  [default: the user of this machine]")
    ] = "",
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Erase nothing. Read every topic from its beginning and report remaining records.",
        ),
    ] = False,
    even_if_unknown: Annotated[
        bool,
        typer.Option(
            "--even-if-unknown",
            help="Keep later records away also for an identifier that no record has.",
        ),
    ] = False,
    undo: Annotated[
        bool,
        typer.Option(
            "--undo",
            help="Undo an erasure. The gateway publishes the records again "
            "when a registry sends them.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    as_json: Annotated[  # noqa: ARG001 - other commands have it, so that people expect it
        bool, typer.Option("--json", help="Changes nothing: the receipt is always JSON.")
    ] = False,
) -> None:
    """Remove a record or a person from every topic permanently, and print the receipt as JSON.

    Give identifiers of persons on standard input, because the process list and the shell history
    show the command line.
    """
    from gateway.cli.runtime import load_settings
    from gateway.errors import UsageError
    from gateway.observability import logs
    from gateway.operations import erase as erasing
    from gateway.operations.erasure_request import unknown_id_text
    from gateway.operations.undo_erasure import undo_erasure
    from gateway.pipeline.loaded_config import load_config

    if sum((verify, undo, even_if_unknown)) > 1:
        raise UsageError("give only one of --verify, --undo and --even-if-unknown")
    settings = load_settings()
    logs.configure(settings)
    config = load_config(settings, None if person else [connector] if connector else [])
    request = _build_request(settings, config, connector, native_id, person=person)
    if verify:
        _verify(settings, config, request)
        return
    if not reason.strip():
        raise UsageError(
            "--reason is missing: give a text for the receipt, such as --reason 'case 2026-114'"
        )
    if not yes:
        _confirm(request, undo=undo)
    signed = {"reason": reason.strip(), "by": by or getpass.getuser()}
    if undo:
        receipt = _run(settings, undo_erasure(settings, config, request, **signed))
    else:
        receipt = _run(
            settings,
            erasing.erase(settings, config, request, **signed, even_if_unknown=even_if_unknown),
        )
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(receipt), indent=2).decode() + "\n")
    if receipt.state == "nothing found":
        raise UsageError(unknown_id_text(config, request, receipt.unknown_lines))
    if remark := _REMARKS.get(receipt.state):
        print(remark, file=sys.stderr)


_REMARKS = {
    "suppressed": "no record has this identifier now; "
    "the gateway drops such a record when a registry sends it",
    "undone": "the gateway publishes these records again when a registry sends them; "
    "to read a past period now, use `gateway backfill`",
}


def _build_request(
    settings: Settings, config: LoadedConfig, connector: str, native_id: str, *, person: bool
) -> ErasureRequest:
    from gateway.errors import UsageError
    from gateway.fetch.secrets import FileSecrets
    from gateway.operations.erasure_request import request_for_person, request_for_record

    if person:
        if connector or native_id:
            raise UsageError("--person takes identifiers from standard input and no arguments")
        lines = [line.split(maxsplit=1) for line in sys.stdin.read().splitlines() if line.strip()]
        if any(len(words) != 2 for words in lines):  # noqa: PLR2004
            raise UsageError(
                "expected KIND VALUE on each line of standard input, "
                "such as: esi urn:schac:personalUniqueCode:int:esi:…"
            )
        return request_for_person(
            settings, config, [(kind, value.strip()) for kind, value in lines]
        )
    if not connector or not native_id:
        raise UsageError("give CONNECTOR NATIVE_ID, or --person")
    record_id = sys.stdin.readline().rstrip("\r\n") if native_id == "-" else native_id
    if not record_id.strip():
        raise UsageError("standard input has no native id; write one on each line")
    secrets = FileSecrets(settings.secrets_dir)
    return request_for_record(settings, config, connector, record_id, secrets)


def _confirm(request: ErasureRequest, *, undo: bool) -> None:
    from gateway.errors import UsageError

    if not sys.stdin.isatty():
        raise UsageError("standard input is no terminal: confirm with --yes")
    what = "one record" if request.kind == "record" else "every record of this person"
    connectors = ", ".join(request.connectors)
    typer.confirm(
        f"Undo the erasure of {what} of {connectors}, so that it can be published again?"
        if undo
        else f"Erase {what} of {connectors} from every topic permanently?",
        abort=True,
    )


def _run(settings: Settings, work: Coroutine[Any, Any, ErasureReceipt]) -> ErasureReceipt:
    from gateway.errors import Fenced, RetryLater, Unavailable
    from gateway.kafka import topic_admin
    from gateway.pipeline import key_check

    async def check_and_work() -> ErasureReceipt:
        try:
            await topic_admin.verify_topics(settings)
            await key_check.check_keys(settings)
            return await work
        finally:
            work.close()

    try:
        return asyncio.run(check_and_work())
    except RetryLater as error:
        raise Unavailable(
            "the command is not finished: the gateway publishes no new record of an erasure, "
            f"but the topics of the platforms wait for a stage; {error}; then run this again"
        ) from None
    except Fenced as error:
        raise Unavailable(
            "the command is not finished: a worker took a stream back before each write; "
            f"{error}; run this again"
        ) from None


def _verify(settings: Settings, config: LoadedConfig, request: ErasureRequest) -> None:
    from gateway.operations import erase as erasing

    remaining: list[RemainingRecords] = asyncio.run(
        erasing.find_remaining(settings, config, request)
    )
    for topic in remaining:
        print(
            f"{topic.topic}: readers still receive {topic.live}, "
            f"the next compaction removes {topic.earlier}"
        )
    if any(topic.live for topic in remaining):
        print("NOT ERASED")
        raise typer.Exit(1)
    if remaining:
        print(
            "erased for every reader; Kafka deletes the bytes within seven days, "
            "after a later record has closed the segment; run this again then"
        )
    else:
        print("no topic contains a record of this request")


def register(app: typer.Typer) -> None:
    """Add this module's command to the command line."""
    app.command("erase")(erase)
