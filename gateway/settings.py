"""Read the settings from the environment. No other module of the gateway reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

Port = Annotated[int, Field(ge=0, le=65_535)]
"""A TCP port. 0 means any free port."""
SHIPPED = Path(__file__).with_name("shipped")
"""The tables, the demo connectors and the schemas in an installed package. A clone has none."""


def _read_key(path: Path) -> str:
    """Return the key in a file without the end of its line."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text; expected a key in base64") from None
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read: {error.strerror}; expected a file with a key in base64"
        ) from None
    key = text.removesuffix("\n").removesuffix("\r")
    if not key.strip():
        raise ValueError(f"{path} is empty; expected a key in base64")
    return key


def _check_key_file(path: Path | None) -> Path | None:
    if path is not None:
        _read_key(path)
    return path


KeyFile = Annotated[Path | None, AfterValidator(_check_key_file)]
"""A file with a key. It replaces the setting of the same name without ``_FILE``."""


class Settings(BaseSettings):
    """Settings of one gateway process.

    Every field is ``GATEWAY_<NAME>`` in the environment, or the name in its ``validation_alias``.
    """

    model_config = SettingsConfigDict(
        env_prefix="GATEWAY_",
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
        populate_by_name=True,
    )

    kafka_bootstrap: str = ""
    """``host:port[,host:port]`` of a Kafka cluster.

    Empty means the local broker, which ``gateway kafka start`` runs.
    """
    kafka_security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = (
        "SCRAM-SHA-512"
    )
    kafka_username: str = ""
    kafka_password: SecretStr = SecretStr("")
    kafka_password_file: Path | None = None
    """A file with the password, as an alternative. The gateway reads it for each connection."""
    kafka_token_file: Path | None = None
    """A file with the token for OAUTHBEARER.

    The gateway reads the file for each connection, so you renew the token by writing the file.
    """
    kafka_ca_file: Path | None = None
    kafka_cert_file: Path | None = None
    kafka_key_file: Path | None = None
    raw_retention_days: int = Field(0, ge=0, validation_alias="GATEWAY_RAW_DAYS")
    """Days for which Kafka keeps a raw record, or 0 to keep it until it is replaced or deleted.

    The gateway cannot harmonise older records again.
    """
    kafka_replication: int = 1
    """Replication factor of the topics that ``gateway topics apply`` creates.

    Use 3 on a production cluster.
    """

    compression: Literal["zstd", "none"] = "zstd"
    """How the gateway compresses records on the topics that platforms read.

    A reader needs a client that knows zstd, such as Java 2.1 or librdkafka 1.0. Use ``none`` while
    an older client reads.
    """
    stop_after_rejected: int = Field(100, ge=0)
    """A stream stops after this many rejected records in a row. 0 means that it never stops."""

    instance: str = ""
    """A name of this worker that stays the same after a restart, such as a StatefulSet's pod name.

    The worker's partitions wait some time for its return. Give each worker its own name, because
    two workers with one name replace each other in turn.
    """
    registry_environment: Literal["production", "acceptance"] = Field(
        "production", validation_alias="GATEWAY_STAGE"
    )
    """The stage, which selects the ``url`` of each connector."""
    elm_catalogue_version: Literal["3.1", "3.3"] = Field(
        "3.1", validation_alias="GATEWAY_LOQ_VERSION"
    )
    """Version of the European Learning Model for catalogue entries.

    Official SHACL shapes are available for 3.1 only.
    """
    connectors: Path = Path("connectors")
    mappings: Path = Path("mappings")
    """The folder of the mapping tables.

    If it is not set and there is no folder ``mappings``, the gateway uses the tables of its
    package.
    """
    secrets_dir: Path = Path("secrets")
    """The folder of the secrets.

    ``{secret: name}`` means the file ``<secrets_dir>/<name>``. The gateway reads it again when it
    changes.
    """
    data_dir: Path = Path(".gateway")
    """The folder with the data and logs of the local broker."""
    jar_cache: Path = Path("~/.cache/qualification-gateway")
    """The folder with the jars of the local broker. All brokers of one user share it."""
    jar_mirror: str = ""
    """URL of a Maven repository that supplies the jars, instead of the default one."""
    pseudonym_key_file: KeyFile = None
    """A file with the pseudonym key, as an alternative. The gateway reads it at its start."""
    pseudonym_key: SecretStr = Field(SecretStr(""), validate_default=True)
    """At least 32 bytes in base64.

    The gateway derives a key for each audience from it, and uses these keys for pseudonyms of data
    subjects.
    """
    pseudonym_key_previous_file: KeyFile = None
    """A file with the previous pseudonym key, as an alternative."""
    pseudonym_key_previous: SecretStr = Field(SecretStr(""), validate_default=True)
    """The previous pseudonym key, during its replacement.

    When the gateway publishes a record again, it removes the documents under the previous key.
    """
    permanent_key_file: KeyFile = None
    """A file with the permanent key, as an alternative."""
    permanent_key: SecretStr = Field(SecretStr(""), validate_default=True)
    """The key for values that must never change. Empty means the pseudonym key.

    It protects the ids of credentials and the entries that suppress erased records. Before you
    replace the pseudonym key for the first time, set this key to the one in use.
    """
    receive_host: str = "127.0.0.1"
    """The address that registries call.

    It is open only while this worker owns a push connector.
    """
    receive_port: Port = 9465
    receive_cert_file: Path | None = None
    """The certificate of the push port, with its chain, in PEM. Without one, the port has no TLS.

    The gateway reads a renewed file at the next connection.
    """
    receive_key_file: Path | None = None
    """The key of the certificate in PEM, without a password.

    Leave it empty if the file of the certificate contains the key.
    """
    receive_peers: str = ""
    """Receive addresses of the other workers, such as ``http://gateway-receive:9465``.

    Separate them with commas. A name means all its addresses. The worker forwards a call to them
    when another worker owns the connector.
    """
    metrics_host: str = "127.0.0.1"
    metrics_port: Port = 9464
    health_token: SecretStr = SecretStr("")
    """The token for explanations, topics and unmapped values on the health port, 16 characters or
    more.

    A caller shows it as a Bearer token, or as the password of any user. Without a token, the health
    port shows none of them.
    """
    health_token_file: Path | None = None
    """A file with the token, as an alternative. The gateway reads it for each call."""
    health_hosts: str = ""
    """Further names under which people open the status page, separated by commas.

    IP addresses, ``localhost`` and the name of the machine are always known.
    """
    runbooks_url: str = ""
    """The address at which you publish the folder ``deploy/runbooks``.

    The status page links to it. Without it, the worker serves the runbooks itself.
    """
    traces_endpoint: str = Field("", validation_alias="GATEWAY_TRACES")
    """The address for spans, such as ``http://collector:4318/v1/traces`` (OTLP over HTTP).

    Empty means no spans. The setting needs the extra ``otel``.
    """
    log_format: Literal["auto", "json", "console"] = "auto"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @model_validator(mode="before")
    @classmethod
    def _use_shipped_tables(cls, values: dict[str, Any]) -> dict[str, Any]:
        shipped = SHIPPED / "mappings"
        if "mappings" in values or Path("mappings").exists() or not shipped.exists():
            return values
        return values | {"mappings": shipped}

    @field_validator("pseudonym_key", "pseudonym_key_previous", "permanent_key")
    @classmethod
    def _use_key_file(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        path = info.data.get(f"{info.field_name}_file")
        if path is None:
            return value
        if value.get_secret_value():
            name = f"GATEWAY_{info.field_name}".upper()
            raise ValueError(f"{name} and {name}_FILE are both set; unset one of them")
        return SecretStr(_read_key(path))

    @field_validator("runbooks_url")
    @classmethod
    def _check_runbooks_url(cls, value: str) -> str:
        if value and not value.startswith(("https://", "http://")):
            raise ValueError("expected an address, such as https://wiki.example.net/gateway")
        return value

    @field_validator("receive_peers")
    @classmethod
    def _check_peers(cls, value: str) -> str:
        for address in filter(None, map(str.strip, value.split(","))):
            try:
                parts = urlsplit(address)
                valid = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
            except ValueError:
                valid = False
            if not valid:
                raise ValueError("expected addresses such as http://gateway-receive:9465")
        return value
