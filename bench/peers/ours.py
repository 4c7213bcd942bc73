"""Run the gateway's own stage with its connector, tables, harmoniser and renderer.

The comparison leaves out no part of the gateway's work.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from functools import cache
from pathlib import Path

from pydantic import SecretStr

from gateway.harmonise.harmoniser import Harmoniser
from gateway.pipeline.harmonise_stage import HarmoniseStage
from gateway.pipeline.loaded_config import load_config
from gateway.pipeline.record_processor import RecordProcessor
from gateway.records import Accepted, RawRecord, Rejected, Withheld
from gateway.settings import Settings

KEY = "a key for measuring only, never for people"
JOB = Path(__file__).parent / "job"


def deliver(settings: Settings) -> RecordProcessor:
    """Return the record processor of the job's connector."""
    fleet = load_config(
        settings.model_copy(update={"connectors": JOB, "pseudonym_key": SecretStr(KEY)})
    )
    return RecordProcessor(fleet.harmonisers.get, KEY.encode())


def harmonise(native_id: str, body: bytes) -> Accepted | Rejected | Withheld:
    """Return what the job's connector makes of one record."""
    raw = RawRecord(connector="bench-peers", stream="programmes", native_id=native_id, body=body)
    return _harmoniser()(raw)


@cache
def _harmoniser() -> Harmoniser:
    settings = Settings(connectors=JOB, pseudonym_key=SecretStr(KEY))
    return load_config(settings).harmonisers["bench-peers"]


async def run(bootstrap: str, topic: str, group: str) -> None:
    """Run until stopped."""
    settings = Settings(kafka_bootstrap=bootstrap, registry_environment="acceptance")
    process = deliver(settings)
    stage = HarmoniseStage(settings, process, process.reject_as_too_large, topic=topic, group=group)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stage.stop)
    await stage.run()


if __name__ == "__main__":
    import uvloop

    uvloop.run(run(*sys.argv[1:]))
