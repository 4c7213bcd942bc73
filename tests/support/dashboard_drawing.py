"""Draw a Grafana dashboard file as one HTML page with data from a Prometheus, without Grafana.

The module reads layout, units, thresholds, legends, stacking and table columns from the file. The
drawing therefore shows what the file declares.
"""

from __future__ import annotations

import json
import math
import urllib.parse
import urllib.request
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape

COLUMN, ROW, GAP = 56, 34, 8
PALETTE = (
    "#3d71d9",
    "#e0752d",
    "#56a64b",
    "#b877d9",
    "#e02f44",
    "#19a3a3",
    "#c4a000",
    "#8f3bb8",
    "#737a86",
    "#a35200",
)
NAMED = {
    "green": "#2f8f3e",
    "red": "#d02b3b",
    "orange": "#c9650f",
    "yellow": "#a88600",
    "blue": "#3d71d9",
    "text": "#1f2430",
}


@dataclass
class Prometheus:
    base: str
    end: float
    seconds: int
    step: int = 5
    variables: dict[str, str] = field(default_factory=dict)

    def _get(self, what: str, **words: object) -> list[dict]:
        with urllib.request.urlopen(
            f"{self.base}/api/v1/{what}?{urllib.parse.urlencode(words)}", timeout=30
        ) as reply:
            return json.load(reply)["data"]["result"]

    def filled(self, expression: str) -> str:
        for name, value in self.variables.items():
            expression = expression.replace(f"${name}", value)
        return expression

    def now(self, expression: str) -> list[dict]:
        return self._get("query", query=self.filled(expression), time=self.end)

    def over(self, expression: str) -> list[dict]:
        return self._get(
            "query_range",
            query=self.filled(expression),
            start=self.end - self.seconds,
            end=self.end,
            step=self.step,
        )


def number(value: float, unit: str | None) -> str:
    if math.isnan(value):
        return "–"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s":
        for size, name in (
            (86_400 * 365, "years"),
            (86_400, "days"),
            (3_600, "hours"),
            (60, "min"),
            (1, "s"),
        ):
            if abs(value) >= size * (1 if size < 86_400 else 1.5):
                return f"{value / size:.3g} {name}"
        return "0 s" if value == 0 else f"{value * 1000:.3g} ms"
    suffix = {"reqps": " req/s", "recps": " rec/s"}.get(unit or "", "")
    if abs(value) >= 10_000:
        return f"{value / 1000:.3g} K{suffix}"
    return f"{value:.3g}{suffix}" if abs(value) < 1000 else f"{value:.0f}{suffix}"


def label(template: str, labels: dict[str, str]) -> str:
    for name, value in labels.items():
        template = template.replace("{{" + name + "}}", value)
    return (
        template
        or ", ".join(f"{name}={value}" for name, value in labels.items() if name != "__name__")
        or "value"
    )


def colour(steps: list[dict], value: float) -> str:
    found = "text"
    for step in steps:
        if step["value"] is None or value >= step["value"]:
            found = step["color"]
    return NAMED.get(found, found)


def panel_data(panel: dict, prometheus: Prometheus) -> list[tuple[dict, list[dict]]]:
    """Return every target with its series: one moment for tables, the whole range otherwise."""
    ask = prometheus.now if panel["type"] == "table" else prometheus.over
    return [(target, ask(target["expr"])) for target in panel.get("targets", [])]


def is_empty(panel: dict, data: list[tuple[dict, list[dict]]]) -> bool:
    points = [
        value
        for _, series in data
        for one in series
        for _, value in one.get("values", [one.get("value", (0, "NaN"))])
    ]
    return panel["type"] != "row" and not [
        value for value in points if not math.isnan(float(value))
    ]


def stat(panel: dict, data: list) -> str:
    defaults = panel["fieldConfig"]["defaults"]
    values = [
        (float(x), float(y)) for _, series in data for one in series for x, y in one["values"]
    ]
    if not values:
        return '<div class="none">No data</div>'
    last = values[-1][1]
    steps = defaults.get("thresholds", {}).get("steps", [{"color": "blue", "value": None}])
    shade = colour(steps, last)
    width, height = panel["gridPos"]["w"] * COLUMN - GAP, 42
    path = line(
        values, values[0][0], values[-1][0], 0, max(y for _, y in values) or 1, width, height
    )
    area = f'<svg class="spark" width="{width}" height="{height}"><path d="{path} L{width},{height} L0,{height} Z" fill="{shade}" opacity=".13"/>'
    area += f'<path d="{path}" fill="none" stroke="{shade}" stroke-width="1.5" opacity=".7"/></svg>'
    return f'<div class="big" style="color:{shade}">{escape(number(last, defaults.get("unit")))}</div>{area}'


def line(
    points: list[tuple[float, float]],
    left: float,
    right: float,
    low: float,
    high: float,
    width: float,
    height: float,
) -> str:
    """Return an SVG path. A gap in the data is a gap in the line."""
    parts, pen = [], False
    for x, y in points:
        if math.isnan(y) or math.isinf(y):
            pen = False
            continue
        px, py = (
            (x - left) / max(right - left, 1) * width,
            height - (y - low) / max(high - low, 1e-12) * height,
        )
        parts.append(f"{'L' if pen else 'M'}{px:.1f},{py:.1f}")
        pen = True
    return " ".join(parts) or "M0,0"


def nice(high: float) -> tuple[float, float]:
    """Return a round maximum for an axis, and its step."""
    if high <= 0:
        return 1.0, 0.5
    power = 10 ** math.floor(math.log10(high / 4))
    step = next(power * one for one in (1, 2, 2.5, 5, 10) if power * one * 4 >= high)
    return step * math.ceil(high / step - 1e-9), step


def timeseries(panel: dict, data: list, prometheus: Prometheus) -> str:
    defaults, place = panel["fieldConfig"]["defaults"], panel["gridPos"]
    unit, stacked = defaults.get("unit"), defaults["custom"]["stacking"]["mode"] == "normal"
    named = [
        (
            label(target.get("legendFormat", ""), one["metric"]),
            [(float(x), float(y)) for x, y in one["values"]],
        )
        for target, series in data
        for one in series
    ]
    if not named:
        return '<div class="none">No data</div>'
    left, right = prometheus.end - prometheus.seconds, prometheus.end
    floor: dict[float, float] = defaultdict(float)
    drawn = []
    for name, points in named:
        shown = [(x, y + (floor[x] if stacked else 0)) for x, y in points]
        drawn.append((name, shown, [(x, floor[x]) for x, _ in points], points[-1][1]))
        if stacked:
            floor.update(shown)
    steps = (
        [one["value"] for one in defaults.get("thresholds", {}).get("steps", []) if one["value"]]
        if "thresholdsStyle" in defaults["custom"]
        else []
    )
    finite = [y for _, shown, _, _ in drawn for _, y in shown if math.isfinite(y)]
    top, step = nice(
        defaults.get("max")
        or max([*finite, *[one for one in steps if one <= 2 * max(finite, default=0)]], default=1)
    )
    width, height = place["w"] * COLUMN - GAP - 84, place["h"] * (ROW + GAP) - GAP - 110
    out = [f'<svg width="{width + 84}" height="{height + 34}"><g transform="translate(66,8)">']
    mark = 0.0
    while mark <= top + 1e-9:
        y = height - mark / top * height
        out.append(
            f'<line x1="0" x2="{width}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/><text x="-8" y="{y + 4:.1f}" class="tick" text-anchor="end">{escape(number(mark, unit))}</text>'
        )
        mark += step
    for part in range(1, 4 if place["w"] < 12 else 6):
        x = part / (4 if place["w"] < 12 else 6)
        when = datetime.fromtimestamp(left + x * (right - left), UTC).strftime("%H:%M:%S")
        out.append(
            f'<line x1="{x * width:.1f}" x2="{x * width:.1f}" y1="0" y2="{height}" class="grid"/><text x="{x * width:.1f}" y="{height + 18}" class="tick" text-anchor="middle">{when}</text>'
        )
    for limit in steps:
        if limit <= top:
            y = height - limit / top * height
            out.append(
                f'<line x1="0" x2="{width}" y1="{y:.1f}" y2="{y:.1f}" stroke="{NAMED["red"]}" stroke-dasharray="6 4"/>'
            )
    for index, (_, shown, under, _) in enumerate(drawn):
        shade = PALETTE[index % len(PALETTE)]
        path = line(shown, left, right, 0, top, width, height)
        if stacked and len(shown) > 1:
            back = line(under[::-1], left, right, 0, top, width, height).replace("M", "L", 1)
            out.append(f'<path d="{path} {back} Z" fill="{shade}" opacity=".25" stroke="none"/>')
        out.append(f'<path d="{path}" fill="none" stroke="{shade}" stroke-width="1.6"/>')
    out.append("</g></svg>")
    keys, room = [], 2 * width / 6.6  # two lines of about this number of letters
    for index, (name, _, _, last) in enumerate(drawn):
        room -= len(name) + len(number(last, unit)) + 6
        if room < 14:
            keys.append(f"<span>and {len(drawn) - index} more</span>")
            break
        keys.append(
            f'<span><i style="background:{PALETTE[index % len(PALETTE)]}"></i>{escape(name)} <b>{escape(number(last, unit))}</b></span>'
        )
    return "".join(out) + f'<div class="legend">{"".join(keys)}</div>'


def table(panel: dict, data: list) -> str:
    """Merge the rows of the targets by label and apply the transformations' column names."""
    organise = next(
        (one["options"] for one in panel.get("transformations", []) if one["id"] == "organize"), {}
    )
    renamed, hidden = (
        organise.get("renameByName", {}),
        {name for name, out in organise.get("excludeByName", {}).items() if out},
    )
    many = len(data) > 1
    rows: dict[tuple, dict[str, float]] = defaultdict(dict)
    columns: list[str] = []
    for target, series in data:
        value = f"Value #{target['refId']}" if many else "Value"
        columns.append(value)
        for one in series:
            labels = tuple(
                sorted(
                    (name, text)
                    for name, text in one["metric"].items()
                    if name != "__name__" and name not in hidden
                )
            )
            rows[labels][value] = float(one["value"][1])
    if not rows:
        return '<div class="none">No data</div>'
    names = sorted({name for labels in rows for name, _ in labels})
    looks = {one["matcher"]["options"]: {} for one in panel["fieldConfig"]["overrides"]}
    for one in panel["fieldConfig"]["overrides"]:
        looks[one["matcher"]["options"]].update(
            {found["id"]: found["value"] for found in one["properties"]}
        )
    most = int((panel["gridPos"]["h"] * (ROW + GAP) - 84) / 26)
    head = "".join(f"<th>{escape(renamed.get(name, name))}</th>" for name in names)
    head += "".join(
        f'<th class="n">{escape(renamed.get(one, one))}</th>'
        for one in columns
        if one not in hidden
    )
    body = []
    for labels, values in sorted(rows.items())[:most]:
        cells = [f"<td>{escape(dict(labels).get(name, ''))}</td>" for name in names]
        for one in columns:
            look = looks.get(renamed.get(one, one), {})
            value = values.get(one, math.nan)
            steps = look.get("thresholds", {}).get("steps")
            shade = (
                f' style="color:{colour(steps, value)}"' if steps and not math.isnan(value) else ""
            )
            cells.append(
                f'<td class="n"{shade}>{escape(number(value, look.get("unit", panel["fieldConfig"]["defaults"].get("unit"))))}</td>'
            )
        body.append(f"<tr>{''.join(cells)}</tr>")
    more = f'<div class="more">{len(rows) - most} more rows</div>' if len(rows) > most else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>{more}"


def page(board: dict, prometheus: Prometheus, about: str) -> tuple[str, list[str], int]:
    """Return the page, the titles of panels without data, and its height in pixels."""
    tiles, empty, bottom = [], [], 0
    for panel in board["panels"]:
        place, data = panel["gridPos"], panel_data(panel, prometheus)
        x, y = place["x"] * COLUMN, place["y"] * (ROW + GAP)
        width, height = place["w"] * COLUMN - GAP, place["h"] * (ROW + GAP) - GAP
        bottom = max(bottom, y + height)
        style = f"left:{x}px;top:{y}px;width:{width}px;height:{height}px"
        title = escape(panel["title"])
        if panel["type"] == "row":
            tiles.append(f'<h2 style="{style}">{title}</h2>')
            continue
        if is_empty(panel, data):
            empty.append(f"{board['title']} / {panel['title']}")
        drawn = {"stat": stat, "table": table}.get(panel["type"])
        inner = drawn(panel, data) if drawn else timeseries(panel, data, prometheus)
        tiles.append(
            f'<section class="{panel["type"]}" style="{style}"><h3>{title}</h3>{inner}</section>'
        )
    span = f"{datetime.fromtimestamp(prometheus.end - prometheus.seconds, UTC):%d %B %Y, %H:%M} to {datetime.fromtimestamp(prometheus.end, UTC):%H:%M} UTC"
    chosen = " · ".join(
        f"{name}: {'all' if value == '.*' else value}"
        for name, value in prometheus.variables.items()
    )
    head = f"<header><h1>{escape(board['title'])}</h1><p>{escape(span)}{' · ' if chosen else ''}{escape(chosen)}</p><p class='how'>{escape(about)}</p></header>"
    text = f"<!doctype html><meta charset=utf-8><title>{escape(board['title'])}</title><style>{STYLE}</style>{head}<main style='height:{bottom}px'>{''.join(tiles)}</main>"
    return text, empty, bottom + 150


STYLE = f"""
*{{box-sizing:border-box}} body{{margin:0;padding:20px 24px;width:{24 * COLUMN + 40}px;background:#eef0f4;color:#1f2430;font:13px/1.4 'DejaVu Sans',Arial,sans-serif}}
header{{height:92px}} h1{{font-size:21px;margin:0 0 2px}} header p{{margin:0;color:#4a5060}} .how{{font-size:11.5px;color:#6a7080!important;margin-top:4px!important}}
main{{position:relative}} section,h2{{position:absolute}} section{{background:#fff;border:1px solid #d9dce3;border-radius:3px;padding:8px 10px;overflow:hidden}}
h2{{font-size:14px;margin:0;display:flex;align-items:center}} h3{{font-size:12.5px;font-weight:600;margin:0 0 4px;white-space:nowrap;overflow:hidden;text-overflow:ellipsis}}
.big{{font-size:32px;font-weight:600;text-align:center;margin-top:8px;position:relative;z-index:1}} .spark{{position:absolute;left:0;bottom:0}}
.none{{color:#8a90a0;position:absolute;inset:0;display:flex;align-items:center;justify-content:center;font-size:14px}}
.grid{{stroke:#e6e8ee}} .tick{{fill:#6a7080;font-size:10.5px}} .legend{{display:flex;flex-wrap:wrap;gap:2px 14px;font-size:11px;padding-left:8px;max-height:36px;overflow:hidden}}
.legend i{{display:inline-block;width:12px;height:3px;margin-right:5px;vertical-align:middle}} .legend b{{font-weight:600;color:#4a5060}}
table{{border-collapse:collapse;width:100%;font-size:12px}} th{{text-align:left;color:#4a5060;font-weight:600}} th,td{{padding:3px 10px 3px 2px;border-bottom:1px solid #eceef2;height:26px;white-space:nowrap}} .n{{text-align:right}}
.more{{color:#6a7080;font-size:11px;padding-top:4px}}
"""
