"""Start a real Prometheus without data, with the rules of ``deploy/``, and query it."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
RULES = yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())
ALERTS = {
    rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule
}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONG_LIMIT = re.compile(r"(?<=> )(300|86400)\b")


def get(url: str) -> str:
    """Return the text at an address, also of an error, or nothing without an answer."""
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return str(reply.read().decode())
    except urllib.error.HTTPError as error:
        return error.read().decode()
    except OSError:
        return ""


def shorten(expression: str, factor: int) -> str:
    """Divide each range, each offset and each limit of minutes or days by ``factor``."""

    def divide(seconds: float) -> str:
        return f"{max(1, round(seconds / factor))}"

    expression = re.sub(
        r"(\[|offset )(\d+)([smhd])\b",
        lambda found: found[1] + divide(int(found[2]) * _UNITS[found[3]]) + "s",
        expression,
    )
    return _LONG_LIMIT.sub(lambda found: divide(int(found[1])), expression)


def quick_rules(factor: int = 1) -> dict[str, Any]:
    """Return the rules without ``for``, evaluated each second, with ranges divided by ``factor``."""
    rules = copy.deepcopy(RULES)
    for group in rules["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            rule["expr"] = shorten(rule["expr"], factor)
            if "alert" in rule:
                rule["for"] = "0s"
    return dict(rules)


class Prometheus:
    """A running Prometheus."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.process: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(
        cls, folder: Path, web: int, targets: Iterable[int], rules: dict[str, Any], every: str
    ) -> Prometheus:
        """Start a server that scrapes these ports of this machine."""
        folder.mkdir(exist_ok=True)
        (folder / "rules.yml").write_text(yaml.safe_dump(rules))
        addresses = [f"127.0.0.1:{port}" for port in targets]
        config = {
            "global": {
                "scrape_interval": every,
                "scrape_timeout": every,
                "evaluation_interval": every,
            },
            "rule_files": ["rules.yml"],
            "scrape_configs": [{"job_name": "gateway", "static_configs": [{"targets": addresses}]}],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        found = cls(f"http://127.0.0.1:{web}")
        found.process = subprocess.Popen(
            [
                "prometheus", f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{web}", "--log.level=error",
            ]
        )  # fmt: skip
        return found

    def stop(self) -> None:
        """End the server."""
        if self.process:
            self.process.terminate()
            self.process.wait(20)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of an instant query."""
        answer = self._get(f"query?{urllib.parse.urlencode({'query': expression})}")
        assert answer.get("status", "success") == "success", (expression, answer)
        return list(answer.get("data", {}).get("result", []))

    def _get(self, path: str) -> dict[str, Any]:
        """Return an answer of the API, or nothing while the server starts."""
        text = get(f"{self.base}/api/v1/{path}")
        return dict(json.loads(text)) if text.startswith("{") else {}

    def number(self, expression: str) -> float:
        """Return the value of the first sample, or NaN."""
        found = self.query(expression)
        return float(found[0]["value"][1]) if found else float("nan")

    def alerts(self, state: str = "firing") -> list[dict[str, str]]:
        """Return the labels of the alerts in a state."""
        found = self._get("alerts").get("data", {}).get("alerts", [])
        return [one["labels"] for one in found if one["state"] == state]

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        return {labels["alertname"] for labels in self.alerts()}

    def wait_until_up(self, seconds: float = 60) -> None:
        """Wait until the server has scraped a target."""
        deadline = time.monotonic() + seconds
        while not self.query("up == 1"):
            assert time.monotonic() < deadline, f"nothing was scraped within {seconds} s"
            time.sleep(0.2)
