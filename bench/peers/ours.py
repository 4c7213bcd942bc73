"""Our side of the comparison: the gateway's own stage, with its own connector, tables, harmoniser and renderer; nothing is left out."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from pydantic import SecretStr

from gateway.pipeline.harmonise_stage import Stage
from gateway.pipeline.loaded_config import load_fleet
from gateway.pipeline.record_processor import Deliver
from gateway.settings import Settings

KEY = "a key for measuring only, never for people"
JOB = Path(__file__).parent / "job"


def deliver(settings: Settings) -> Deliver:
    """Return what a worker would make of the job's connector."""
    fleet = load_fleet(settings.model_copy(update={"connectors": JOB, "pseudonym_key": SecretStr(KEY)}))
    return Deliver(fleet.harmonisers.get, KEY.encode())


async def run(bootstrap: str, topic: str, group: str) -> None:
    """Work until asked to stop."""
    settings = Settings(kafka_bootstrap=bootstrap, stage="acceptance")
    process = deliver(settings)
    stage = Stage(settings, process, process.shrink, topic=topic, group=group)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stage.stop)
    await stage.run()


if __name__ == "__main__":
    import uvloop

    uvloop.run(run(*sys.argv[1:]))
