"""Unpack the bytes of a reply: gzip, base64 and ZIP archives.

A reply passes through ``[unzip | gunzip | base64] -> xml | json | csv``. A text inside a document
can itself be a document, so it can pass through the same steps again. Every step limits its output
and refuses malformed input.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import lzma
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator

from gateway.combining_marks import has_too_many_marks
from gateway.errors import RetryLater, StreamHalted
from gateway.fetch import charset, xml_parser
from gateway.fetch.http.body import CHUNK, Decompressor, ReplyBody, Spool

MAX_ENTRIES = 10_000
_DIRECTORY_ENTRY = b"PK\x01\x02"
_URL_ALPHABET = bytes.maketrans(b"-_", b"+/")
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,
    ValueError,
    OSError,
    RuntimeError,
    OverflowError,
)
"""The errors that the standard library raises for a damaged archive."""


def gunzip(body: ReplyBody, limit: int, where: str) -> ReplyBody:
    """Return the content of a gzip body.

    Raise ``INCOMPLETE_BODY`` when the data stops early. A wrong checksum is also an error.
    """
    inflater, spool = Decompressor("gzip"), Spool(limit, "LIMIT_DECODED", where=where)
    for piece in body.chunks():
        for part in inflater.feed(piece):
            spool.write(part)
    if not inflater.complete:
        spool.discard()
        raise RetryLater(
            "INCOMPLETE_BODY",
            f"{where}: the gzip data stops before its end; the gateway tries again",
        )
    return spool.body(proved=True)


def decode_base64(body: ReplyBody, limit: int, where: str) -> ReplyBody:
    """Return the bytes that a base64 text encodes.

    White space is allowed. Any other foreign character raises ``BASE64_MALFORMED``.
    """
    spool = Spool(limit, "LIMIT_DECODED", where=where)
    waiting = b""
    try:
        for piece in body.chunks():
            waiting += piece.translate(_URL_ALPHABET, b" \t\r\n")
            # The last characters wait for what follows, because they may be the end of the text.
            end = max(len(waiting) - 4, 0) // 4 * 4
            if b"=" in waiting[:end]:
                raise binascii.Error("text after the end")  # noqa: TRY301
            spool.write(base64.b64decode(waiting[:end], validate=True))
            waiting = waiting[end:]
        spool.write(base64.b64decode(waiting + b"=" * (-len(waiting) % 4), validate=True))
    except (binascii.Error, ValueError):
        spool.discard()
        raise RetryLater(
            "BASE64_MALFORMED",
            f"{where}: the content is not base64; correct `decode`, or ask the registry",
        ) from None
    return spool.body(proved=body.is_complete)


def unzip(
    body: ReplyBody,
    patterns: tuple[str, ...],
    limit: int,
    where: str,
    names_encoding: str | None = None,
) -> Iterator[tuple[str, ReplyBody]]:
    """Yield the files of a ZIP archive whose names match a pattern, in the order of the archive.

    ``names_encoding`` is the encoding of names that the archive does not mark as UTF-8.

    No file is written to disk under its name in the archive. Raise ``FILE_MISSING`` when a pattern
    matches no file, because an incomplete export must not pass for an empty one.
    """
    if not body.size:
        raise RetryLater("EMPTY_BODY", f"{where}: the reply has no content")
    codec = (
        charset.configured_encoding(b"", names_encoding, where).codec if names_encoding else None
    )
    _require_few_entries(body, where)
    body.file.seek(0)
    try:
        archive = zipfile.ZipFile(body.file, metadata_encoding=codec)
    except UnicodeDecodeError:
        raise StreamHalted(
            "ENCODING",
            f"{where}: a file name in the archive is not valid {codec}; "
            "correct `encoding:` of the zip step",
        ) from None
    except _DAMAGED:
        xml_parser.reject_empty_or_html(body, where)
        raise RetryLater(
            "ZIP_MALFORMED",
            f"{where}: the reply is not a complete ZIP archive; "
            "correct `decode` if it is no archive at all",
        ) from None
    # is_dir() fails for an empty name, so the code tests the end of the name itself.
    entries = [entry for entry in archive.infolist() if not entry.filename.endswith("/")]
    for pattern in patterns:
        if not any(_matches(entry.filename, pattern) for entry in entries):
            raise RetryLater(
                "FILE_MISSING",
                f"{where}: the archive has no file that matches {pattern!r}; "
                "correct the pattern under `decode`",
            )
    remaining = limit
    for entry in entries:
        if any(_matches(entry.filename, pattern) for pattern in patterns):
            file = _extract(archive, entry, remaining, where)
            remaining -= file.size
            yield entry.filename, file


def _require_few_entries(body: ReplyBody, where: str) -> None:
    """Raise ``LIMIT_DECODED`` for too many entries, before the archive's directory is read."""
    entries, before = 0, b""
    for piece in body.chunks():
        entries += (before + piece).count(_DIRECTORY_ENTRY)
        before = piece[1 - len(_DIRECTORY_ENTRY) :]
    if entries > MAX_ENTRIES:
        raise StreamHalted(
            "LIMIT_DECODED",
            f"{where}: the archive has more than {MAX_ENTRIES} files; request smaller periods",
        )


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limit: int, where: str) -> ReplyBody:
    if entry.flag_bits & 1:
        raise StreamHalted(
            "ZIP_ENCRYPTED",
            f"{where}: a file in the archive is encrypted, which the gateway cannot read; "
            "ask the registry for an open one",
        )
    spool = Spool(limit, "LIMIT_DECODED", where=where)
    try:
        with archive.open(entry) as file:
            while piece := file.read(CHUNK):
                spool.write(piece)
    except _DAMAGED:
        spool.discard()
        raise RetryLater(
            "ZIP_MALFORMED", f"{where}: a file in the archive is damaged; the gateway tries again"
        ) from None
    return spool.body(proved=True)


def _matches(name: str, pattern: str) -> bool:
    # Some archivers write an accent as a character of its own.
    if not has_too_many_marks(name):
        name, pattern = unicodedata.normalize("NFC", name), unicodedata.normalize("NFC", pattern)
    base = name.rsplit("/", 1)[-1]
    return not base.startswith(".") and (
        fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(base, pattern)
    )


__all__ = ["MAX_ENTRIES", "decode_base64", "gunzip", "unzip"]
