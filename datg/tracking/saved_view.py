"""The page of MLflow that answers which trial is best: a saved view, with its columns, filter and order.

MLflow's pages (3.15 and newer) keep such views as tags of an experiment, and open the one that an address names. Older pages show
all runs of the experiment at the same address.
"""

import base64
import json
import time
import zlib

VIEW_TAG = "mlflow.sharedViewState."  # ends with the view's key
FIRST = ["tags.`outcome`", "metrics.`objective`", "metrics.`val/ci95`", "metrics.`test/accuracy`"]  # columns


def saved_view(search: str, params: list[str], before: str | None) -> str | None:
    """Return the tag that holds the view of a search's trials, best first; None if it stands there ``before``.

    Args:
        search: its name, which all of its runs have as a tag.
        params: names of the parameters that are shown.
        before: the tag as it is; None if there is none.
    """
    state = {
        "searchFilter": f"tags.search = '{search}' and tags.`mlflow.parentRunId` != ''",
        "orderByKey": "metrics.`objective`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [*FIRST, *(f"params.`{name}`" for name in params)],
        "viewMaximized": True,
        "runListHidden": False,
    }
    packed = "deflate;" + base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    if before is not None and json.loads(before).get("state") == packed:
        return None
    now = int(time.time() * 1000)
    return json.dumps({"name": search, "createdAt": now, "updatedAt": now, "state": packed})


def page(experiment: str, key: str) -> str:
    """Return the part of an address, after that of the server, that opens a saved view."""
    return f"/#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={key}"
