"""What an operator asks to erase: one record, or everything that names a person."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from gateway.errors import UsageError
from gateway.fetch.native_ids import describe_native_id, possible_native_ids
from gateway.fetch.secrets import Secrets
from gateway.harmonise.data_subjects import identifier_kinds
from gateway.harmonise.pseudonyms import pseudonymiser
from gateway.messages.suppression import SuppressionKind, suppression_id
from gateway.pipeline.loaded_config import LoadedConfig
from gateway.pseudonym_keys import SUPPRESSION_AUDIENCE, load_keys
from gateway.settings import Settings
from gateway.similar_name import did_you_mean


@dataclass(frozen=True, slots=True)
class ErasureRequest:
    """A request to erase one record, or everything that names a person."""

    kind: SuppressionKind
    connectors: tuple[str, ...]
    suppression_ids: tuple[tuple[str, ...], ...]
    """The suppression ids in groups, one group for each identifier. A group has one id for each
    key, the current key first."""
    native_ids: Mapping[str, Collection[str]] = field(default_factory=dict, repr=False)
    """The ids that the record may have, by stream; see
    :func:`~gateway.fetch.native_ids.possible_native_ids`."""
    plain_identifiers: tuple[str, ...] = field(default=(), repr=False)
    """The identifiers as they were entered. They are searched for and never written."""
    ids_by_line: tuple[frozenset[str], ...] = ()
    """The suppression ids of each identifier of a person, in the order of the lines."""

    @property
    def all_native_ids(self) -> frozenset[str]:
        """The ids that the record may have in any stream."""
        return frozenset(native_id for ids in self.native_ids.values() for native_id in ids)


def request_for_record(
    settings: Settings, config: LoadedConfig, connector: str, native_id: str, secrets: Secrets
) -> ErasureRequest:
    """Return a request to erase one record of a connector.

    ``native_id`` is the registry's own id, or its hash in a stream that hashes ids. Raises
    :class:`~gateway.errors.UsageError` if the connector does not exist, or if the secret of the
    hashes is missing.
    """
    if connector not in config.connectors:
        raise UsageError(
            f"unknown connector {connector}{did_you_mean(connector, config.connectors)}; "
            f"there are: {', '.join(config.connectors)}"
        )
    native_ids = possible_native_ids(config.connectors[connector], native_id, secrets)
    keys = load_keys(settings).for_audience(SUPPRESSION_AUDIENCE)
    suppression_ids = tuple(
        tuple(suppression_id(key, connector, possible_id) for key in keys)
        for possible_id in dict.fromkeys(id_ for ids in native_ids.values() for id_ in ids)
    )
    return ErasureRequest("record", (connector,), suppression_ids, native_ids, (native_id.strip(),))


def request_for_person(
    settings: Settings, config: LoadedConfig, identifiers: Iterable[tuple[str, str]]
) -> ErasureRequest:
    """Return a request to erase everything that names a person.

    ``identifiers`` are pairs of a kind and a value. A kind is ``esi`` or the value of
    ``pseudonym:`` in a connector. Raises :class:`~gateway.errors.UsageError` for an unknown kind,
    or without identifiers.
    """
    kinds = identifier_kinds(config.connectors.values())
    keys = load_keys(settings).for_audience(SUPPRESSION_AUDIENCE)
    suppression_ids: list[tuple[str, ...]] = []
    ids_by_line = []
    plain_identifiers = []
    for kind, value in identifiers:
        countries = sorted(country for country, name in kinds if name == kind)
        if not countries:
            names = ", ".join(sorted({name for _, name in kinds})) or "none"
            raise UsageError(
                f"no connector finds persons by {kind!r}; the kinds of identifiers are: {names}"
            )
        plain_identifiers.append(value)
        groups = [
            tuple(pseudonymiser(key, country, kind)(value) for key in keys) for country in countries
        ]
        suppression_ids += groups
        ids_by_line.append(frozenset(id_ for group in groups for id_ in group))
    if not suppression_ids:
        raise UsageError("give at least one identifier, one a line: KIND VALUE")
    return ErasureRequest(
        "person",
        tuple(config.connectors),
        tuple(suppression_ids),
        plain_identifiers=tuple(plain_identifiers),
        ids_by_line=tuple(ids_by_line),
    )


def unknown_id_text(
    config: LoadedConfig, request: ErasureRequest, unknown_lines: Iterable[int] = ()
) -> str:
    """Return the message about a request for an unknown record or person.

    ``unknown_lines`` are the lines of standard input whose identifier no record has.
    """
    if request.kind == "person":
        lines = ", ".join(map(str, unknown_lines))
        return (
            f"no record names a person by the identifier of line {lines}, so nothing was erased or "
            "suppressed; correct or remove each of these lines, or add --even-if-unknown to keep "
            "away later records with these identifiers"
        )
    name = request.connectors[0]
    connector = config.connectors[name]
    hashed = any(stream.id_key for stream in connector.streams.values())
    return (
        f"{name}: no record was ever received with this id, so nothing was erased or suppressed; "
        f"expected {describe_native_id(connector)}"
        + (", or its keyed hash, which is the key on the topics of the gateway" if hashed else "")
        + "; --even-if-unknown keeps a later record with this id away"
    )
