"""Files that a command is to write, checked before anything is computed."""

import os
from pathlib import Path

from datg.errors import ConfigError


def check_destinations(files: dict[str, tuple[Path | None, str]], given: list[Path]) -> None:
    """Refuse files that cannot be written, or would replace what is read, before anything is computed.

    Args:
        files: by option, the file and how its name must end; an empty text allows any name.
        given: files and folders that are read.

    Raises:
        ConfigError: naming the option.
    """
    for option, (path, suffix) in files.items():
        if path is None:
            continue
        if (suffix and path.suffix.lower() != suffix) or path.is_dir():
            name = f"a file whose name ends in {suffix}" if suffix else "a file and not a folder"
            raise ConfigError(f"`{option}` must be {name}, got {path}.")
        place = path.resolve()
        if any(place == read.resolve() or place.is_relative_to(read.resolve()) for read in given):
            raise ConfigError(f"`{option}` {path} lies in what is read, and may overwrite it; name another file.")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"`{option}` {path} cannot be written ({error.strerror}); name another file.") from error
        if not os.access(path.parent, os.W_OK):
            raise ConfigError(f"`{option}` {path} cannot be written (no write access); name another file.")
