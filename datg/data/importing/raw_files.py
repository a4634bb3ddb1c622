"""The files of a raw folder: one rule on what is passed over, and on links, for every form that lists folders.

Hidden files and folders, and those that systems make, are passed over: thumbnails are no examples. A link to a folder is followed
like the folder itself, but no folder is listed twice on one way down.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SYSTEM_NAMES = {
    "__macosx",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "$recycle.bin",
    "system volume information",
    "lost+found",
}
SYSTEM_BEGINNINGS = (".", "@", "#recycle", "#snapshot", "~$")  # hidden; Synology's @eaDir; its bins; locks of Office


@dataclass
class Listing:
    """Hold the files of a folder.

    Attributes:
        files: sorted.
        passed_over: hidden files and folders, and those of systems.
        links: folders that were followed through a link.
    """

    files: list[Path] = field(default_factory=list)
    passed_over: list[Path] = field(default_factory=list)
    links: list[Path] = field(default_factory=list)


def is_passed_over(name: str) -> bool:
    """Return whether a file or folder of that name belongs to a system and not to the data."""
    return name.startswith(SYSTEM_BEGINNINGS) or name.lower() in SYSTEM_NAMES


def list_files(folder: Path) -> Listing:
    """List the files at any depth of a folder."""
    listing = Listing()
    _walk(folder, listing, above=(os.path.realpath(folder),))
    listing.files.sort()
    return listing


def _walk(folder: Path, listing: Listing, above: tuple[str, ...]) -> None:
    for path in sorted(folder.iterdir()):
        if is_passed_over(path.name):
            listing.passed_over.append(path)
        elif path.is_dir():
            real = os.path.realpath(path)
            if real in above:
                listing.passed_over.append(path)
                continue
            if path.is_symlink():
                listing.links.append(path)
            _walk(path, listing, (*above, real))
        elif path.is_file():
            listing.files.append(path)


def class_names(raw: Path) -> list[str]:
    """Return the names of the sub-folders that may be classes, sorted."""
    return sorted(path.name for path in raw.iterdir() if path.is_dir() and not is_passed_over(path.name))


def class_folders(raw: Path) -> Iterator[tuple[str, Listing]]:
    """List every sub-folder that may be a class, by name."""
    for name in class_names(raw):
        yield name, list_files(raw / name)


def remark_on(listings: list[Listing], raw: Path) -> tuple[str, ...]:
    """Return what a user must know of files that were passed over and of links that were followed."""
    told = {
        "hidden and system files and folders were skipped": [p for one in listings for p in one.passed_over],
        "linked folders were followed": [p for one in listings for p in one.links],
    }
    return tuple(
        f"{len(paths)} {what}, for instance {paths[0].relative_to(raw).as_posix()}."
        for what, paths in told.items()
        if paths
    )
