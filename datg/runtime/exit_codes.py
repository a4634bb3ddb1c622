"""Exit codes of all commands."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Say what the end of a command means."""

    DONE = 0  # done
    BUG = 1  # a bug, its traceback shown; or a replay that differs
    USAGE = 2  # wrong usage, configuration, data or resources
    NO_SUCCESS = 3  # no trial succeeded
    DAMAGED = 4  # damaged state
    RESUMABLE = 75  # stopped or not finished; the same command, or --resume, goes on
    CTRL_C = 130  # stopped by Ctrl-C; can be resumed, like 75
