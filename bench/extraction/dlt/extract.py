"""Extract the programmes with dlt. Arguments: port, number of records, mode.

``iterate`` reads the resource. ``files`` writes the records to dlt's own files, as a pipeline does.
The script prints CPU microseconds for each record.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time

os.environ |= {"RUNTIME__LOG_LEVEL": "ERROR", "RUNTIME__DLTHUB_TELEMETRY": "false"}

import dlt
from dlt.sources.rest_api import rest_api_source

PAGE = 1_000


def main(port: str, size: str, mode: str) -> None:
    """Print the cost of a record after the first page."""
    source = rest_api_source(
        {
            "client": {"base_url": f"http://127.0.0.1:{port}/"},
            "resources": [
                {
                    "name": "programmes",
                    "primary_key": "programmeId",
                    "endpoint": {
                        "path": "programmes",
                        "data_selector": "items",
                        "paginator": {
                            "type": "page_number",
                            "base_page": 1,
                            "has_more_path": "more",
                            "total_path": None,
                        },
                    },
                }
            ],
        }
    )
    if mode == "iterate":
        started = count = 0
        for count, _ in enumerate(source.resources["programmes"], 1):
            if count == PAGE:
                started = time.process_time_ns()
        spent, measured = time.process_time_ns() - started, count - PAGE
    else:
        with tempfile.TemporaryDirectory() as folder:
            pipeline = dlt.pipeline("bench", destination="filesystem", pipelines_dir=folder)
            started = time.process_time_ns()
            pipeline.extract(source)
            spent, count = time.process_time_ns() - started, int(size)
        measured = count
    if count != int(size):
        raise SystemExit(f"dlt read {count} of {size} records")
    print(spent / measured / 1e3)


if __name__ == "__main__":
    main(*sys.argv[1:])
