"""The page of MLflow that answers which trial is best: a saved view, with its columns, filter and order.

MLflow's pages (3.15 and newer) keep such views as tags of an experiment, and open the one that an address names. Older pages show
all runs of the experiment at the same address. The view holds its charts, too: which trial is best, then how it went, and novel
classes, which choose nothing, after both; MLflow puts charts of all other metrics below.
"""

import base64
import json
import time
import zlib
from typing import Any

VIEW_TAG = "mlflow.sharedViewState."  # ends with the view's key
FIRST = ["tags.`outcome`", "metrics.`objective`", "metrics.`val/ci95`", "metrics.`test/accuracy`"]  # columns

SECTIONS = {"best": "Which trial is best", "course": "How it went", "novel": "Novel classes, which choose nothing"}
BARS, LINES = 20, 20  # runs in a chart


def saved_view(search: str, runs: str, params: list[str], before: str | None) -> str | None:
    """Return the tag that holds the view of a search's trials, best first; None if it stands there ``before``.

    Args:
        search: its name.
        runs: the filter that all of its runs pass, and none of another search of the same name.
        params: names of the parameters that are shown.
        before: the tag as it is; None if there is none.
    """
    state = {
        "searchFilter": f"{runs} and tags.`mlflow.parentRunId` != ''",
        "orderByKey": "metrics.`objective`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [*FIRST, *(f"params.`{name}`" for name in params)],
        "viewMaximized": True,
        "runListHidden": False,
        "compareRunSections": [
            {"uuid": key, "name": name, "display": True, "isReordered": True} for key, name in SECTIONS.items()
        ],
        "compareRunCharts": _charts(params),
        "isAccordionReordered": True,  # as they stand here, not by the alphabet
    }
    packed = "deflate;" + base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    saved = {} if before is None else json.loads(before)
    if (saved.get("name"), saved.get("state")) == (search, packed):
        return None
    now = int(time.time() * 1000)
    return json.dumps({"name": search, "createdAt": now, "updatedAt": now, "state": packed})


def _charts(params: list[str]) -> list[dict[str, Any]]:
    parallel = {"selectedParams": params, "selectedMetrics": ["objective"], "showAllRuns": True}
    return [
        _chart("best", "PARALLEL", "parallel", runsCountToCompare=100, **parallel),
        _chart("best", "BAR", "objective", runsCountToCompare=BARS, metricKey="objective"),
        _line("val/accuracy"),
        _line("train/loss"),
        _chart("novel", "BAR", "test/accuracy", runsCountToCompare=BARS, metricKey="test/accuracy"),
    ]


def _line(metric: str) -> dict[str, Any]:
    axes = {"xAxisKey": "step", "scaleType": "linear", "xAxisScaleType": "linear", "lineSmoothness": 0, "range": {}}
    lines = {"metricKey": metric, "selectedMetricKeys": [metric], "yAxisKey": "metric", "yAxisExpressions": []}
    return _chart("course", "LINE", metric, runsCountToCompare=LINES, **lines, **axes)


def _chart(section: str, kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"uuid": name, "type": kind, "metricSectionId": section, "deleted": False, "isGenerated": False, **more}


def page(experiment: str, key: str) -> str:
    """Return the part of an address, after that of the server, that opens a saved view."""
    return f"/#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={key}"
