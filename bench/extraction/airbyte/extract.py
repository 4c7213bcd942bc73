"""Extract the programmes with the Airbyte CDK. Arguments: port, number of records, mode.

``read`` yields messages. ``say`` also writes them as JSON, as the protocol of Airbyte does. The
script prints CPU microseconds for each record.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path

from airbyte_cdk.entrypoint import AirbyteEntrypoint
from airbyte_cdk.models import ConfiguredAirbyteCatalogSerializer, Type
from airbyte_cdk.sources.declarative.concurrent_declarative_source import (
    ConcurrentDeclarativeSource,
)

PAGE = 1_000
ANY_OBJECT = {"type": "object", "properties": {}, "additionalProperties": True}


def manifest(port: str) -> dict[str, object]:
    """Return the declaration of the source."""
    requester = {
        "type": "HttpRequester",
        "url_base": f"http://127.0.0.1:{port}",
        "path": "/programmes",
        "http_method": "GET",
    }
    selector = {
        "type": "RecordSelector",
        "extractor": {"type": "DpathExtractor", "field_path": ["items"]},
    }
    paginator = {
        "type": "DefaultPaginator",
        "page_token_option": {
            "type": "RequestOption",
            "inject_into": "request_parameter",
            "field_name": "page",
        },
        "pagination_strategy": {
            "type": "PageIncrement",
            "start_from_page": 1,
            "page_size": PAGE,
            "inject_on_first_request": True,
        },
    }
    stream = {
        "type": "DeclarativeStream",
        "name": "programmes",
        "primary_key": ["programmeId"],
        "retriever": {
            "type": "SimpleRetriever",
            "requester": requester,
            "record_selector": selector,
            "paginator": paginator,
        },
        "schema_loader": {"type": "InlineSchemaLoader", "schema": ANY_OBJECT},
    }
    return {
        "version": "6.0.0",
        "type": "DeclarativeSource",
        "check": {"type": "CheckStream", "stream_names": ["programmes"]},
        "streams": [stream],
        "spec": {
            "type": "Spec",
            "connection_specification": {"type": "object", "properties": {}},
        },
    }


def main(port: str, size: str, mode: str) -> None:
    """Print the cost of a record after the first page."""
    logging.disable(logging.CRITICAL)
    catalog = ConfiguredAirbyteCatalogSerializer.load(
        {
            "streams": [
                {
                    "stream": {
                        "name": "programmes",
                        "json_schema": {},
                        "supported_sync_modes": ["full_refresh"],
                    },
                    "sync_mode": "full_refresh",
                    "destination_sync_mode": "overwrite",
                }
            ]
        }
    )
    source = ConcurrentDeclarativeSource(
        catalog=catalog, config={}, state=None, source_config=manifest(port)
    )
    started = count = 0
    with Path(os.devnull).open("w") as output:
        for message in source.read(logging.getLogger("bench"), {}, catalog, None):
            if message.type != Type.RECORD:
                continue
            if mode == "say":
                output.write(AirbyteEntrypoint.airbyte_message_to_string(message))
                output.write("\n")
            count += 1
            if count == PAGE:
                started = time.process_time_ns()
    if count != int(size):
        raise SystemExit(f"the Airbyte CDK read {count} of {size} records")
    print((time.process_time_ns() - started) / (count - PAGE) / 1e3)


if __name__ == "__main__":
    main(*sys.argv[1:])
