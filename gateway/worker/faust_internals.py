"""Use the private parts of Faust that the gateway cannot do without.

Faust creates folders for tables, which the gateway does not have. They would have a name that
another user of the machine can take first.

Neither Faust nor aiokafka reports that the group coordinator answered a heartbeat. The lease of a
worker depends on these answers, so this module replaces a private method. The versions of both
libraries are pinned. A unit test fails if one of the private names disappears.
"""

from __future__ import annotations

import time
from typing import Any

from gateway.fetch.http.lease import Lease


def renew_lease_on_heartbeat(app: Any, lease: Lease) -> None:
    """Renew ``lease`` with each heartbeat that the group coordinator answers.

    The renewal counts from the time at which the heartbeat was sent. ``app`` is a Faust app whose
    consumer has started. A second call for the same consumer has no effect.
    """
    coordinator = group_coordinator(app.consumer)
    if hasattr(coordinator, "gateway_lease"):
        return
    send_heartbeat = coordinator._do_heartbeat  # noqa: SLF001 - see above

    async def send_and_renew() -> bool:
        sent = time.monotonic()
        answered: bool = await send_heartbeat()
        if answered:
            lease.renew(sent)
        return answered

    coordinator.gateway_lease = lease
    coordinator._do_heartbeat = send_and_renew  # noqa: SLF001 - see above


def group_coordinator(consumer: Any) -> Any:
    """Return the aiokafka object that sends the heartbeats of a Faust consumer."""
    return consumer._thread._consumer._coordinator  # noqa: SLF001 - see above


def create_no_folders(app: Any) -> None:
    """Make a Faust app start without the folders for its tables."""
    app._create_directories = lambda: None  # noqa: SLF001 - see above
