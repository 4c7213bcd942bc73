"""Settings from the environment (``GATEWAY_*``). Nothing else in the gateway reads the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

Port = Annotated[int, Field(ge=0, le=65_535)]
"""0 is any port that is free."""


class Settings(BaseSettings):
    """Settings of one gateway process. Every field is ``GATEWAY_<NAME>`` in the environment, or the name in its ``validation_alias``."""

    model_config = SettingsConfigDict(
        env_prefix="GATEWAY_",
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
        populate_by_name=True,
    )

    kafka_bootstrap: str = ""
    """``host:port[,host:port]`` of a Kafka cluster; empty means the broker that ``gateway kafka start`` runs here."""
    kafka_security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = (
        "SCRAM-SHA-512"
    )
    kafka_username: str = ""
    kafka_password: SecretStr = SecretStr("")
    kafka_password_file: Path | None = None
    """A file with the password instead, read anew for each connection."""
    kafka_token_file: Path | None = None
    """The token for OAUTHBEARER, read anew for each connection; whoever renews the file renews the token."""
    kafka_ca_file: Path | None = None
    kafka_cert_file: Path | None = None
    kafka_key_file: Path | None = None
    raw_retention_days: int = Field(0, ge=0, validation_alias="GATEWAY_RAW_DAYS")
    """Longest time a raw record is kept; 0 keeps it until it is replaced or deleted. What is older cannot be harmonised again."""
    kafka_replication: int = 1
    """Replication factor of the topics that ``gateway topics apply`` creates; 3 on a real cluster."""

    stop_after_rejected: int = Field(100, ge=0)
    """After so many rejected records in a row a stream stops; 0 never stops one."""

    instance: str = ""
    """A name of this worker that survives its restarts, such as a StatefulSet's pod name: its partitions wait a while for it.
    Two workers of one name would take turns: give each its own."""
    registry_environment: Literal["production", "acceptance"] = Field(
        "production", validation_alias="GATEWAY_STAGE"
    )
    """Which ``url`` of each connector is called."""
    elm_catalogue_version: Literal["3.1", "3.3"] = Field(
        "3.1", validation_alias="GATEWAY_LOQ_VERSION"
    )
    """Version of the European Learning Model that catalogue entries are written in; official shapes could be had for 3.1 only."""
    connectors: Path = Path("connectors")
    mappings: Path = Path("mappings")
    secrets_dir: Path = Path("secrets")
    """A secret ``{secret: name}`` is the file ``<secrets_dir>/<name>``, re-read when it changes."""
    data_dir: Path = Path(".gateway")
    """The local broker's data and logs."""
    jar_cache: Path = Path("~/.cache/qualification-gateway")
    """Where the local broker's jars are kept, for every broker of this user."""
    jar_mirror: str = ""
    """URL of a Maven repository to fetch them from instead of the usual one."""
    pseudonym_key: SecretStr = SecretStr("")
    """At least 32 bytes in base64; holders are pseudonymised with keys derived from it, one per audience."""
    pseudonym_key_previous: SecretStr = SecretStr("")
    """The key of before, while it is being replaced: what was published under it is taken away as records are published anew."""
    permanent_key: SecretStr = SecretStr("")
    """Key of what must never change, the ids of credentials and the entries that keep erased records from coming back; the pseudonym key
    when not set. Set it to the pseudonym key in use before that one is replaced for the first time."""
    receive_host: str = "127.0.0.1"
    """Where registries that call us are answered; open only while this worker owns a push connector."""
    receive_port: Port = 9465
    receive_peers: str = ""
    """Where the other workers receive, such as ``http://gateway-receive:9465``, comma-separated; a name stands for all its addresses.
    A call for a connector that another worker owns is passed on to them."""
    metrics_host: str = "127.0.0.1"
    metrics_port: Port = 9464
    traces_endpoint: str = Field("", validation_alias="GATEWAY_TRACES")
    """Where spans go, such as ``http://collector:4318/v1/traces`` (OTLP over HTTP); empty makes none. Needs the extra ``otel``."""
    log_format: Literal["auto", "json", "console"] = "auto"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
