"""``gateway erase``: take a record or a person off every topic, and keep them off."""

from __future__ import annotations

import asyncio
import getpass
import sys
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

if TYPE_CHECKING:
    from gateway.operations.erase import ErasureReceipt, ErasureRequest, RemainingRecords
    from gateway.pipeline.loaded_config import LoadedConfig
    from gateway.settings import Settings


def erase(
    connector: Annotated[
        str, typer.Argument(help="Name of the connector; not with --person.")
    ] = "",
    native_id: Annotated[
        str,
        typer.Argument(
            help="The registry's own id of the record, or - to read it from standard input."
        ),
    ] = "",
    person: Annotated[
        bool,
        typer.Option(
            "--person",
            help="Everything that names a person: identifiers from standard input, one a line: KIND VALUE.",
        ),
    ] = False,
    reason: Annotated[
        str,
        typer.Option(
            help="Why, such as a case number; stands in the receipt, so nothing personal."
        ),
    ] = "",
    by: Annotated[str, typer.Option(help="Who asks  [default: this machine's user]")] = "",
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Erase nothing: say what is left, on every topic from its beginning."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Take a record, or a person, off every topic for good; prints the receipt as JSON.

    An identifier on the command line stands in the process list and the shell's history: give it on standard input.
    """
    from gateway.cli.runtime import load_settings
    from gateway.errors import UsageError
    from gateway.observability import logs
    from gateway.pipeline.loaded_config import load_config

    settings = load_settings()
    logs.configure(settings)
    fleet = load_config(settings, None if person else [connector] if connector else [])
    request = _build_request(settings, fleet, connector, native_id, person=person)
    if verify:
        _verify(settings, fleet, request)
        return
    if not reason.strip():
        raise UsageError(
            "--reason is missing: it stands in the receipt, such as --reason 'case 2026-114'"
        )
    if not yes:
        _confirm(request)
    receipt = _erase(settings, fleet, request, reason.strip(), by or getpass.getuser())
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(receipt), indent=2).decode() + "\n")


def _build_request(
    settings: Settings, fleet: LoadedConfig, connector: str, native_id: str, *, person: bool
) -> ErasureRequest:
    from gateway.errors import UsageError
    from gateway.operations import erase as erasing

    if person:
        if connector or native_id:
            raise UsageError("--person takes identifiers from standard input and no arguments")
        lines = [line.split(maxsplit=1) for line in sys.stdin.read().splitlines() if line.strip()]
        if any(len(words) != 2 for words in lines):  # noqa: PLR2004
            raise UsageError(
                "an identifier is one line: KIND VALUE, such as: esi urn:schac:personalUniqueCode:int:esi:…"
            )
        return erasing.request_for_person(
            settings, fleet, [(kind, value.strip()) for kind, value in lines]
        )
    if not connector or not native_id:
        raise UsageError("say which record: gateway erase CONNECTOR NATIVE_ID, or --person")
    found = sys.stdin.readline().rstrip("\r\n") if native_id == "-" else native_id
    if not found:
        raise UsageError("no native id on standard input")
    return erasing.request_for_record(settings, fleet, connector, found)


def _confirm(request: ErasureRequest) -> None:
    from gateway.errors import UsageError

    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked here: confirm with --yes")
    what = "one record" if request.kind == "record" else "everything that names this person"
    typer.confirm(
        f"Erase {what} of {', '.join(request.connectors)} from every topic, for good?", abort=True
    )


def _erase(
    settings: Settings, fleet: LoadedConfig, request: ErasureRequest, reason: str, by: str
) -> ErasureReceipt:
    from gateway.errors import Fenced, RetryLater, Unavailable
    from gateway.kafka import topic_admin
    from gateway.operations import erase as erasing

    async def work() -> ErasureReceipt:
        await topic_admin.verify_topics(settings)
        return await erasing.erase(settings, fleet, request, reason=reason, by=by)

    try:
        return asyncio.run(work())
    except RetryLater as error:
        raise Unavailable(
            f"not finished: nothing comes back, but the platforms' topics wait for a stage; {error}; then run this again"
        ) from None
    except Fenced as error:
        raise Unavailable(
            f"not finished: a stream was taken back each time before it could be written; {error}; run this again"
        ) from None


def _verify(settings: Settings, fleet: LoadedConfig, request: ErasureRequest) -> None:
    from gateway.operations import erase as erasing

    left: list[RemainingRecords] = asyncio.run(erasing.find_remaining(settings, fleet, request))
    for one in left:
        print(
            f"{one.topic}: {one.live} that readers still get, {one.earlier} that the next compaction takes"
        )
    if any(one.live for one in left):
        print("NOT ERASED")
        raise typer.Exit(1)
    if left:
        print(
            "erased for every reader; the bytes go within seven days, once a later record has closed the segment: run this again then"
        )
    else:
        print("nothing is left on any topic")


def register(app: typer.Typer) -> None:
    """Add this module's command to the command line."""
    app.command("erase")(erase)
