"""What a search and a comparison are asked for alike."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datg.cli.console import console, say
from datg.cli.options import (
    OUTPUT,
    RESOURCES,
    STOPPING,
    WHAT,
    DataRoot,
    Json,
    Output,
    Settings,
    TestDataset,
    TrackingUri,
    Verbose,
)
from datg.data import search_spaces
from datg.errors import ConfigError
from datg.runtime.called import RUNS, this_command
from datg.search.ray.resources import Resources, parse_gpus

if TYPE_CHECKING:
    from datg.search.comparison.grid import Comparison
    from datg.search.request import Request

DEFAULTS = Resources()
BEGINNING = "reading settings and data, starting Ray"  # said at once; the first trial begins some seconds later


Name = Annotated[
    str | None,
    typer.Option(
        help="Name to start under, or to resume if it exists: the same command may be repeated.",
        show_default="by what it is and the date",
        rich_help_panel=STOPPING,
    ),
]


def to_go_on_with(output: Path, resume: str | None, name: str | None) -> str | None:
    """Return which search is resumed: that of ``--resume``, or of ``--name`` if it has begun; None if a new one starts.

    Raises:
        ConfigError: both are given, the name cannot be a folder's, or the search is driven by another process.
    """
    from datg.search.state.folder import is_begun, refuse_second_driver

    if name is not None and resume:
        raise ConfigError("`--name` and `--resume` both name the search; give one of them.")
    if name is not None and is_begun(output, name):
        resume = name
    if resume:
        refuse_second_driver(output, resume)
    return resume


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Hold the options of whatever runs trials: what they may use, how they are stopped, where results go."""

    settings: Settings = None
    final_episodes: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Number of novel-class tasks of each trial's final evaluation.",
            show_default="20000",
            rich_help_panel=WHAT,
        ),
    ] = None
    max_concurrent: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Largest number of trials that run at once.",
            show_default="all that fit",
            rich_help_panel=RESOURCES,
        ),
    ] = None
    cpus_per_trial: Annotated[
        int, typer.Option(min=1, help="Cores, and threads, of a trial.", rich_help_panel=RESOURCES)
    ] = DEFAULTS.cpus_per_trial
    gpus_per_trial: Annotated[
        str | None,
        typer.Option(
            help="GPUs of a trial; may be a fraction, or auto, which measures how many trials share a GPU.",
            show_default="1 if there is any",
            rich_help_panel=RESOURCES,
        ),
    ] = None
    address: Annotated[
        str | None,
        typer.Option(
            help="Address of a Ray cluster, or auto for the one of this machine.",
            show_default="Ray is started here",
            rich_help_panel=RESOURCES,
        ),
    ] = None
    study_storage: Annotated[
        str | None,
        typer.Option(
            help="URL of a database for the Optuna study.",
            show_default="sqlite in the search's folder",
            envvar="DATG_STUDY_STORAGE",
            rich_help_panel=RESOURCES,
        ),
    ] = None
    max_failures: Annotated[
        int,
        typer.Option(min=0, help="How often a trial is retried after its machine failed.", rich_help_panel=STOPPING),
    ] = DEFAULTS.max_failures
    skip_bad_nodes: Annotated[
        bool,
        typer.Option(
            "--skip-bad-nodes",
            help="Go on without nodes of a cluster that cannot run trials; check_cluster names them.",
            rich_help_panel=RESOURCES,
        ),
    ] = DEFAULTS.skip_bad_nodes
    wait_for_gpus: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="GPUs that a cluster must have before the search starts; an autoscaler is asked for them.",
            show_default="what is there",
            rich_help_panel=RESOURCES,
        ),
    ] = None
    wait: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Seconds to wait for those GPUs, or for a node that a trial fits on.",
            show_default="forever for those GPUs, else 0",
            rich_help_panel=RESOURCES,
        ),
    ] = None
    trial_timeout: Annotated[
        float | None,
        typer.Option(
            min=1.0,
            help="Seconds without a finished iteration after which a trial is tried again.",
            show_default="none",
            rich_help_panel=STOPPING,
        ),
    ] = None
    time_budget: Annotated[
        float | None,
        typer.Option(min=0.0, help="Seconds after which the search stops, to be resumed.", rich_help_panel=STOPPING),
    ] = None
    allow_change: Annotated[
        bool,
        typer.Option(
            "--allow-change",
            help="Resume although space, learner, data or code have changed.",
            rich_help_panel=STOPPING,
        ),
    ] = False
    data_root: DataRoot = None
    output: Output = RUNS
    tracking_uri: TrackingUri = None
    report: Annotated[
        bool,
        typer.Option(
            "--report/--no-report",
            help="Write report.html, which tells what was found, at the end.",
            rich_help_panel=OUTPUT,
        ),
    ] = True
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print every value, its source and a time estimate; keep nothing.", rich_help_panel=OUTPUT
        ),
    ] = False
    as_json: Json = False
    verbose: Verbose = False

    def request(
        self,
        dataset: str | None,
        flags: dict[str, Any],
        *,
        comparison: "Comparison | None" = None,
        settings: list[str] | None = None,
        references: bool | None = None,
        space: Path | None = None,
    ) -> "Request":
        """Return what the user asked for.

        Args:
            dataset: its name; None for a search that is resumed.
            flags: dotted keys and what the command's own flags gave for them; None was not given.
            comparison: what is compared, if it is a comparison.
            settings: what was given by ``--set``; all of it by default.
            references: whether references are wanted; None was not said.
            space: YAML file with fixed values and the space; that of the data set by default.
        """
        from datg.search.request import Request

        flags = {**flags, "evaluation.test_tasks": self.final_episodes}
        if self.address in (None, "local") and (self.wait_for_gpus is not None or self.wait is not None):
            raise ConfigError(
                "`--wait-for-gpus` and `--wait` wait for nodes of a cluster: give its --address, or leave them out."
            )
        return Request(
            dataset=dataset,
            space_file=space,
            spaces=search_spaces(),
            settings=(self.settings or []) if settings is None else settings,
            flags={key: value for key, value in flags.items() if value is not None},
            output=self.output,
            data_root=self.data_root,
            study_storage=self.study_storage,
            time_budget=self.time_budget,
            resources=Resources(
                address=None if self.address == "local" else self.address,
                cpus_per_trial=self.cpus_per_trial,
                gpus_per_trial=parse_gpus(self.gpus_per_trial),
                max_concurrent=self.max_concurrent,
                max_failures=self.max_failures,
                trial_timeout=self.trial_timeout,
                skip_bad_nodes=self.skip_bad_nodes,
                wait_for_gpus=self.wait_for_gpus,
                wait=self.wait,
            ),
            allow_change=self.allow_change,
            comparison=comparison,
            command=this_command(),
            references=references,
            notify=lambda text: say(console(), text),
        )


@dataclass(frozen=True, kw_only=True)
class SearchOptions(RunOptions):
    """Hold the options of `search` and `compare`."""

    shots: Annotated[
        int | None, typer.Option(min=1, help="Number of support examples per class (K).", rich_help_panel=WHAT)
    ] = None
    space: Annotated[
        Path | None,
        typer.Option(
            help="YAML file with fixed values and the search space.",
            show_default="search_spaces/<dataset>.yaml",
            rich_help_panel=WHAT,
        ),
    ] = None
    test_dataset: TestDataset = None

    @property
    def flags(self) -> dict[str, Any]:
        """Return what these flags give, by dotted key."""
        return {"task.shots": self.shots, "evaluation.test_dataset": self.test_dataset}
