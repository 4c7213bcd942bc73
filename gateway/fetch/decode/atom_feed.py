"""Put the entries of an Atom feed into the order of their changes."""

from __future__ import annotations

from datetime import UTC, datetime

from lxml import etree

from gateway.errors import RetryLater, StreamHalted

_ATOM = "{http://www.w3.org/2005/Atom}"


def sort_oldest_first(feed: etree._Element, where: str) -> None:
    """Sort the entries of an Atom feed by ``updated``, oldest first.

    Entries with equal times keep the reverse order of the feed, because a feed lists the newest
    entry first. Raise ``NOT_A_REGISTRY_RESPONSE`` or ``FEED_MALFORMED``.
    """
    if feed.tag != f"{_ATOM}feed":
        raise RetryLater(
            "NOT_A_REGISTRY_RESPONSE",
            f"{where}: the reply is no Atom feed; "
            "expected the element feed of Atom, so check the url and `paging`",
        )
    entries = feed.findall(f"{_ATOM}entry")
    stamped = [
        (parse_updated(entry.findtext(f"{_ATOM}updated")), entry) for entry in reversed(entries)
    ]
    for entry in entries:
        feed.remove(entry)
    feed.extend(entry for _, entry in sorted(stamped, key=lambda pair: pair[0]))


def parse_updated(text: str | None) -> datetime:
    """Return the time of an ``<updated>``. Without a zone it is in UTC.

    Raises ``FEED_MALFORMED`` for a text that is no time.
    """
    try:
        moment = datetime.fromisoformat((text or "").strip())
    except ValueError:
        raise StreamHalted(
            "FEED_MALFORMED",
            "an Atom entry has no valid <updated>; expected a time such as 2024-01-31T12:00:00Z",
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
