"""Writes the report of whatever a folder holds: a search, a comparison, a final training; or of several searches side by side."""

from pathlib import Path

from datg.errors import ConfigError
from datg.final_training.run import TRAINING
from datg.report.page.comparison import comparison_sections
from datg.report.page.found import Search
from datg.report.page.page import write_page
from datg.report.page.reproduction import read_reproduction, write_page_of, write_reproduction_files
from datg.report.page.search import search_sections
from datg.report.page.several import several_sections
from datg.report.page.training import training_sections
from datg.search.reproduction.folder import reproduction_in
from datg.search.settings import SearchSettings
from datg.search.state.folder import REPORT, SearchFolder, active_driver, find_folder

CLAIM = "What is best here was chosen by validation alone: no choice of a search sees novel classes."


def write_report(output: Path, names: list[str], out: Path | None = None) -> Path:
    """Write the report of one run, or of several searches side by side, and return its file.

    Args:
        output: folder that holds them.
        names: of searches, of one comparison, one reproduction or one final training; or their folders.
        out: the file; by default ``report.html`` in the folder of the only one, or ``<first>-and-<other>.html`` beside them.

    Raises:
        ConfigError: there is none of that name, or several are asked for of which one is no search.
        StateError: one is damaged beyond reading, or of another version.
        OSError: the file cannot be written.
    """
    if len(names) == 1 and (training := _training(output, names[0])) is not None:
        file = out or training / REPORT
        write_page(file, training.name, "A final training.", training_sections(training), running=False)
        return file
    if len(names) == 1 and (reproduction := reproduction_in(output, names[0])) is not None:
        if out is not None:
            raise ConfigError(
                "`--out` is for a page alone, and a reproduction has tables and pictures beside it; leave it out."
            )
        reproduced = read_reproduction(reproduction)
        write_reproduction_files(reproduced)
        write_page_of(reproduced, running=bool(active_driver(reproduction)))
        return reproduction.report
    folders = [find_folder(output, name) for name in names]
    if len(folders) == 1:
        return write_folder(folders[0], out, running=bool(active_driver(folders[0])))
    searches = []
    for folder in folders:
        if SearchSettings.load(folder).grid:
            raise ConfigError(f"{folder.name} is a comparison; only searches stand side by side: give it alone.")
        searches.append(Search.read(folder, running=bool(active_driver(folder))))
    first, *others = (folder.name for folder in folders)
    told = others[0] if len(others) == 1 else f"{len(others)}-others"
    file = out or folders[0].path.with_name(f"{first}-and-{told}.html")
    title, line = " and ".join([first, *others]), f"{len(searches)} searches side by side."
    running = any(search.running for search in searches)
    write_page(file, title, line, several_sections(searches), running=running, claim=CLAIM)
    return file


def write_folder(folder: SearchFolder, out: Path | None = None, *, running: bool) -> Path:
    """Write the report of a search or a comparison, which may be ``running``; see :func:`write_report`."""
    file, settings = out or folder.report, SearchSettings.load(folder)
    if settings.grid:
        config, task = settings.config, settings.config.task
        line = f"A comparison on {config.dataset}, {task.ways}-way {task.shots}-shot, {config.training.iterations} iterations."
        write_page(file, folder.name, line, comparison_sections(folder, settings), running=running)
        return file
    search = Search.read(folder, running=running)
    write_page(file, folder.name, search.describe(), search_sections(search), running=running, claim=CLAIM)
    return file


def _training(output: Path, name: str) -> Path | None:
    places = (output / name, Path(name))
    return next((path.absolute() for path in places if (path / TRAINING).exists()), None)
