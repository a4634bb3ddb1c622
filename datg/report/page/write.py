"""Writes the report of whatever a folder holds: a search, a comparison, a final training; or of several searches side by side."""

from pathlib import Path

from datg.errors import ConfigError
from datg.final_training.run import TRAINING
from datg.report.page.comparison import comparison_sections
from datg.report.page.found import Search
from datg.report.page.page import write_page
from datg.report.page.search import search_sections
from datg.report.page.several import several_sections
from datg.report.page.training import training_sections
from datg.search.settings import SearchSettings
from datg.search.state.folder import REPORT, SearchFolder, find_folder


def write_report(output: Path, names: list[str], out: Path | None = None) -> Path:
    """Write the report of one run, or of several searches side by side, and return its file.

    Args:
        output: folder that holds them.
        names: of searches, of one comparison or of one final training; or their folders.
        out: the file; by default ``report.html`` in the folder of the only one, or ``<first>-and-<others>.html`` beside them.

    Raises:
        ConfigError: there is none of that name, or several are asked for of which one is no search.
        StateError: one is damaged beyond reading, or of another version.
        OSError: the file cannot be written.
    """
    if len(names) == 1 and (training := _training(output, names[0])) is not None:
        file = out or training / REPORT
        write_page(file, training.name, "A final training.", training_sections(training), running=False)
        return file
    folders = [find_folder(output, name) for name in names]
    if len(folders) == 1:
        return write_folder(folders[0], out)
    searches = []
    for folder in folders:
        if SearchSettings.load(folder).grid:
            raise ConfigError(f"{folder.name} is a comparison; side by side stand searches alone: give it by itself.")
        searches.append(Search.read(folder))
    file = out or folders[0].path.with_name(f"{'-and-'.join(folder.name for folder in folders)}.html")
    title = " and ".join(folder.name for folder in folders)
    running = any(search.status.driver for search in searches)
    write_page(file, title, f"{len(searches)} searches side by side.", several_sections(searches), running=running)
    return file


def write_folder(folder: SearchFolder, out: Path | None = None) -> Path:
    """Write the report of a search or a comparison; see :func:`write_report`."""
    file, settings = out or folder.report, SearchSettings.load(folder)
    if settings.grid:
        config, task = settings.config, settings.config.task
        line = f"A comparison on {config.dataset}, {task.ways}-way {task.shots}-shot, {config.training.iterations} iterations."
        write_page(file, folder.name, line, comparison_sections(folder, settings), running=False)
        return file
    search = Search.read(folder)
    write_page(file, folder.name, search.describe(), search_sections(search), running=bool(search.status.driver))
    return file


def _training(output: Path, name: str) -> Path | None:
    places = (output / name, Path(name))
    return next((path.absolute() for path in places if (path / TRAINING).exists()), None)
