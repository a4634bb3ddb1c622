"""The figures of a report, as Plotly's; what tells trials apart is a symbol or a dash as well as a colour."""

import datetime
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import optuna
import plotly.graph_objects as go
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from datg.report.page.importances import Importance
from datg.trial.records import DONE, TrialRecord

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

VALIDATION = "validation accuracy"
SYMBOLS = {
    "finished": "circle",
    "pruned": "x-thin-open",
    "collapsed": "triangle-down",
    "diverged": "square-open",
    "error": "square-open",
    "failed": "square-open",
    "": "circle-open",
}
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
BLUE, RED, GREY, GREEN = "#1f5fa8", "#b3261e", "#8a8f98", "#2a7f3f"
COLOURS = (BLUE, RED, GREEN, "#8452a3", "#b8860b", "#008b8b", GREY)
HEIGHT = 340
EDGE = 0.05  # of a range, left free beside its ends
MOST_CURVES = 200  # more are drawn grey and without names


def styled(figure: go.Figure, *, height: int = HEIGHT, **layout: Any) -> go.Figure:
    """Give a figure the look of the page."""
    figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 60, "r": 20, "t": 40, "b": 50},
        font={"family": "system-ui, sans-serif", "size": 13},
        legend={"orientation": "h", "y": -0.25},
        **layout,
    )
    return figure


def best_so_far(searches: Sequence[tuple[str, list[TrialRecord]]], *, by_hours: bool = False) -> go.Figure | None:
    """Draw the best validation so far over trials, or over hours, a line a search; trials are points.

    None where no trial has ended with a score.
    """
    figure = go.Figure()
    for index, (name, records) in enumerate(searches):
        ended = sorted(
            (record for record in records if record.objective is not None and record.ended),
            key=lambda r: r.ended or 0.0,
        )
        if not ended:
            continue
        began = min(record.began or 0.0 for record in ended)
        places = [((record.ended or 0.0) - began) / 3600 if by_hours else n for n, record in enumerate(ended, 1)]
        best, top = [], 0.0
        for record in ended:
            top = max(top, record.objective or 0.0) if record.state == DONE else top
            best.append(top or None)
        colour = COLOURS[index % len(COLOURS)]
        figure.add_scatter(
            x=places,
            y=best,
            mode="lines",
            line={"shape": "hv", "color": colour, "dash": DASHES[index % len(DASHES)]},
            name=f"{name}: best of the finished" if name else "best of the finished",
        )
        figure.add_scatter(
            x=places,
            y=[record.objective for record in ended],
            mode="markers",
            marker={"symbol": [SYMBOLS[record.outcome] for record in ended], "color": colour, "size": 8},
            text=[_hover(record) for record in ended],
            hovertemplate="%{text}<extra></extra>",
            name=f"{name}: trials" if name else "trials",
        )
    if not figure.data:
        return None
    axis = "hours since the first trial began" if by_hours else "trials ended"
    return styled(figure, xaxis_title=axis, yaxis_title=VALIDATION)


def learning_curves(records: list[TrialRecord], names: list[str], best: str = "") -> go.Figure | None:
    """Draw validation accuracy as it was over iterations, a line a trial; the best one is thick.

    Args:
        records: trials.
        names: what each is called.
        best: the name of the best.
    """
    figure = go.Figure()
    for index, (record, name) in enumerate(zip(records, names, strict=True)):
        if not record.reports:
            continue
        is_best, many = name == best, len(records) > MOST_CURVES
        colour = RED if is_best else GREY if best or many else COLOURS[index % len(COLOURS)]
        dash = "solid" if is_best or many else DASHES[index % len(DASHES)]
        figure.add_scatter(
            x=[entry.iteration for entry in record.reports],
            y=[entry.accuracy for entry in record.reports],
            mode="lines+markers" if is_best or len(record.reports) == 1 else "lines",
            line={"color": colour, "width": 3 if is_best else 1, "dash": dash},
            name=f"{name} (best)" if is_best else name,
            showlegend=is_best or not best,
            hovertemplate=f"{name}: %{{y:.4f}} at %{{x}}<extra></extra>",
        )
    return styled(figure, xaxis_title="iteration", yaxis_title=VALIDATION) if figure.data else None


def timeline(rows: list[tuple[str, str, TrialRecord]], now: float | None) -> go.Figure | None:
    """Draw from when to when each trial ran, by worker; patterns tell outcomes.

    Args:
        rows: worker, name and record of each trial that has been validated.
        now: seconds since 1970, the end of what still runs; None where nothing does, and a trial ends with its last validation.
    """
    patterns = {"finished": "", "collapsed": "\\", "pruned": "/", "": "."}
    figure = go.Figure()
    for outcome in dict.fromkeys(record.outcome for _, _, record in rows):
        chosen = [row for row in rows if row[2].outcome == outcome]
        starts = [record.began or 0.0 for _, _, record in chosen]
        ends = [record.ended or now or record.reports[-1].time for _, _, record in chosen]
        figure.add_bar(
            y=[worker for worker, _, _ in chosen],
            base=[_when(start) for start in starts],
            x=[(end - start) * 1000 for start, end in zip(starts, ends, strict=True)],
            orientation="h",
            text=[name for _, name, _ in chosen],
            textposition="inside",
            insidetextanchor="middle",
            hovertext=[_hover(record) for _, _, record in chosen],
            hovertemplate="%{hovertext}<extra></extra>",
            marker={
                "pattern": {"shape": patterns.get(outcome, "x")},
                "color": "#9db8d9",
                "line": {"color": "#fff", "width": 1},
            },
            name=outcome or ("interrupted" if now is None else "running"),
        )
    if not figure.data:
        return None
    height = 120 + 34 * len({worker for worker, _, _ in rows})
    return styled(figure, height=height, barmode="overlay", xaxis={"type": "date", "automargin": True})


def importance_bars(found: list[Importance]) -> go.Figure | None:
    """Draw importances with their intervals, the largest on top."""
    if not found:
        return None
    rows = found[::-1]
    figure = go.Figure(
        go.Bar(
            x=[row.share for row in rows],
            y=[short(row.key) for row in rows],
            orientation="h",
            marker_color="#9db8d9",
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [max(0.0, row.high - row.share) for row in rows],
                "arrayminus": [max(0.0, row.share - row.low) for row in rows],
                "color": "#333",
            },
            hovertemplate="%{y}: %{x:.2f}<extra></extra>",
        )
    )
    return styled(
        figure, height=110 + 30 * len(rows), xaxis_title="share, with the 95 % interval by bootstrap over trials"
    )


def slice_of(
    key: str, distribution: "BaseDistribution", records: list[TrialRecord], best: TrialRecord | None, own: Any
) -> go.Figure:
    """Draw validation accuracy over one setting on its own scale; the axis is its range.

    Args:
        key: dotted.
        distribution: its range.
        records: trials with a score.
        best: is marked.
        own: the value that the configuration has without a search, a dashed line.
    """
    shown = [record for record in records if record.objective is not None]
    choices = isinstance(distribution, CategoricalDistribution)
    values = [str(record.searched[key]) if choices else record.searched[key] for record in shown]
    figure = go.Figure(
        go.Scatter(
            x=values,
            y=[record.objective for record in shown],
            mode="markers",
            marker={
                "symbol": ["star" if record is best else SYMBOLS[record.outcome] for record in shown],
                "size": [15 if record is best else 8 for record in shown],
                "color": [RED if record is best else BLUE for record in shown],
            },
            text=[_hover(record) for record in shown],
            hovertemplate="%{text}<extra></extra>",
        )
    )
    if own is not None or choices:
        figure.add_vline(x=str(own) if choices else own, line_dash="dash", line_color=GREY)
    styled(figure, height=260, xaxis_title=short(key), yaxis_title=VALIDATION, showlegend=False)
    if isinstance(distribution, IntDistribution | FloatDistribution):
        ends: list[float] = [distribution.low, distribution.high]
        if distribution.log:  # of such an axis Plotly wants the logarithms
            ends = [math.log10(end) for end in ends]
        margin = EDGE * (ends[1] - ends[0]) or 1.0
        figure.update_xaxes(range=[ends[0] - margin, ends[1] + margin], type="log" if distribution.log else "linear")
    return figure


def contour(study: optuna.Study, keys: list[str]) -> go.Figure | None:
    """Draw Optuna's contour of the two most important settings; None without two."""
    if len(keys) < 2:
        return None
    figure = optuna.visualization.plot_contour(study, params=keys[:2], target_name=VALIDATION)
    return styled(figure, height=440, title=None)


def parallel(study: optuna.Study, keys: list[str]) -> go.Figure | None:
    """Draw Optuna's parallel coordinates of the finished trials, to brush; None for fewer than two trials."""
    if sum(trial.state == TrialState.COMPLETE for trial in study.trials) < 2 or not keys:
        return None
    figure = optuna.visualization.plot_parallel_coordinate(study, params=keys, target_name=VALIDATION)
    styled(figure, height=440, title=None)
    return figure.update_layout(margin={"l": 90, "r": 40, "t": 60, "b": 30})


def short(key: str) -> str:
    """Return a key without its section."""
    return key.rpartition(".")[2]


def _hover(record: TrialRecord) -> str:
    name = record.reference or f"trial {record.number}"
    scored = "" if record.objective is None else f" {record.objective:.4f}"
    values = "".join(
        f"<br>{short(key)} {value:.4g}" if isinstance(value, float) else f"<br>{short(key)} {value}"
        for key, value in record.searched.items()
    )
    return f"{name}: {record.outcome or 'not ended'}{scored}{values}"


def _when(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="milliseconds")
