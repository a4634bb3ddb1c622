"""The report of a search: what was found, which settings matter, how it went, on what data, how it was made."""

from datg.report.page.answer import answer, trials_table
from datg.report.page.course import course_blocks, made_blocks
from datg.report.page.dataset import data_blocks, diversity_blocks, picture_blocks
from datg.report.page.found import Search
from datg.report.page.made_from import trainings_of
from datg.report.page.page import Section, section
from datg.report.page.settings import settings_blocks


def search_sections(search: Search) -> list[Section]:
    """Return the report of one search, part by part."""
    best = search.selection.best
    return [
        section("What was found", lambda: answer(search)),
        section("Trials", lambda: [trials_table(search)]),
        section("Which settings matter", lambda: settings_blocks(search)),
        section("How it went", lambda: course_blocks(search)),
        section("Data", lambda: data_blocks(search.settings, best)),
        section("Pictures of the data", lambda: picture_blocks(search.settings, best)),
        section("Tasks of clusters", lambda: diversity_blocks(search.settings, best)),
        section("Made from it", lambda: trainings_of(search.folder)),
        section("How it was made", lambda: made_blocks(search)),
    ]
