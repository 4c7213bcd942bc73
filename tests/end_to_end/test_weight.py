"""Check that a harmonising process stays small and loads no library that it does not use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LARGEST_MB = 200
NEEDLESS = ("zeep", "rdflib", "pyshacl", "jsonschema", "signxml", "hypothesis")
"""Libraries for SOAP requests, validation, signatures and tests: none has a part in a record's way."""

HARMONISING = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
from pydantic import SecretStr
import gateway.worker.worker
from gateway.pipeline.record_processor import RecordProcessor
from gateway.pipeline.loaded_config import load_config
from gateway.messages.cloudevents import encode_raw_headers
from gateway.records import RawRecord
from gateway.settings import Settings
from gateway.pipeline.harmonise_stage import tune_garbage_collector

fleet = load_config(Settings().model_copy(update={"pseudonym_key": SecretStr("k" * 40)}))
deliver = RecordProcessor(fleet.harmonisers.get, b"k" * 40)
tune_garbage_collector()
accepted, loaded = 0, set(sys.modules)
for turn in range(100):
    results = []
    for name, connector in fleet.connectors.items():
        for stream_name, stream in connector.streams.items():
            for number, test in enumerate(stream.tests):
                text = isinstance(test.given, str)
                body = test.given.encode() if text else json.dumps(test.given, default=str).encode()
                kind = "application/xml" if text else "application/json"
                raw = RawRecord(connector=name, stream=stream_name, native_id=f"{turn}-{number}", body=body, media_type=kind)
                record = SimpleNamespace(key=raw.key.encode(), value=body, headers=encode_raw_headers(raw), timestamp=0, topic="t", partition=0, offset=0)
                results.append(deliver(record))
    accepted += sum(result.outcome == "accepted" for result in results)
print(json.dumps({
    "connectors": len(fleet.connectors),
    "accepted": accepted,
    "loaded": [name for name in NEEDLESS if name in loaded],
    "mb": int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024,  # ru_maxrss would be at least the parent's
}))
"""


def test_harmonising_all_connectors_stays_within_memory_limit():
    program = f"NEEDLESS = {NEEDLESS!r}\n{HARMONISING}"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["connectors"] >= 17
    assert found["accepted"] > 1_000
    assert found["loaded"] == []
    assert found["mb"] < LARGEST_MB, found
    print(found)
