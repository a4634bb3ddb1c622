"""What was made from a search: final trainings and comparisons in the same folder."""

from pathlib import Path

from datg.errors import DatgError
from datg.final_training.run import TRAINING
from datg.report.page.page import Block, Table, Text, score
from datg.search.settings import SearchSettings
from datg.search.state.folder import BEST_YAML, SearchFolder, folders_in
from datg.storage.files import read_yaml
from datg.trial.accuracies import Summary, load_evaluation, summarise
from datg.trial.folder import EVALUATION
from datg.trial.records import has_succeeded


def trainings_of(folder: SearchFolder) -> list[Block]:
    """Return the final trainings of a search's configurations, and the comparisons that it stands in."""
    output = folder.path.parent
    rows = []
    for path in sorted(output.glob(f"*/{TRAINING}")):
        origin = read_yaml(path).get("provenance") or {}
        if origin.get("search") == folder.name:
            rows.append([path.parent.name, f"trial {origin.get('trial')}", *summary_cells(trained(path.parent))])
    blocks: list[Block] = []
    if rows:
        blocks.append(Text(["Final trainings, on novel classes:"]))
        blocks.append(Table(["folder", "of", "seeds", "mean", "± over tasks", "± over seeds"], rows))
    if compared := _comparisons(folder):
        blocks.append(Text([f"Compared in: {', '.join(compared)}."]))
    return blocks


def trained(folder: Path) -> Summary | None:
    """Return all seeds of a final training that have succeeded together; None before one is evaluated."""
    evaluated = (
        path for path in folder.glob(f"seed-*/{EVALUATION}") if path.parent.name.removeprefix("seed-").isdigit()
    )
    paths = sorted(path for path in evaluated if has_succeeded(path.parent))
    return summarise([load_evaluation(path).accuracies for path in paths]) if paths else None


def summary_cells(summary: Summary | None) -> list[str]:
    """Return number of seeds, mean, and both half-widths as cells."""
    if summary is None:
        return ["0", "", "", ""]
    return [str(summary.seeds), score(summary.mean), score(summary.ci95), score(summary.seeds_ci95)]


def _comparisons(folder: SearchFolder) -> list[str]:
    found = []
    for name in sorted(folders_in(folder.path.parent)):
        try:
            settings = SearchSettings.load(folder.beside(name))
        except DatgError:  # of another version, or damaged: nothing that this page is about
            continue
        searched = settings.tuning.in_order if settings.tuning else []
        exported = [_search_of(Path(path)) for path in settings.asked.get("tuned", [])]
        if folder.name in [*searched, *exported]:
            found.append(name)
    return found


def _search_of(export: Path) -> str:
    """Return the search that an exported configuration is of, as it is called when it was exported by a command."""
    return export.parent.name if export.name == BEST_YAML else export.stem.rpartition("-top")[0]
