"""Why a trial's process is no more, from texts as Ray 2.60 writes them."""

import pytest

from datg.search.ray.searcher import explain_failure

KILLED = """Failure # 1 (occurred at 2026-11-25_20-56-14)
The actor died unexpectedly before finishing this task.
\tclass_name: with_resources.<locals>.ResourceTrainable
\tpid: 11834
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly \
exits with a connection error code 2. End of file. Some common causes include: (1) the process was killed by the OOM killer \
due to high memory usage, (2) ray stop --force was called, or (3) the worker crashed unexpectedly due to SIGSEGV.
"""
EXITED = """Failure # 2 (occurred at 2026-11-25_20-56-28)
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker exits \
unexpectedly. Worker exits with an exit code 3.
"""
NODE = """Failure # 3 (occurred at 2026-11-25_20-56-28)
The actor died unexpectedly before finishing this task.
\tnamespace: e09914ec
The actor died because its node has died. Node Id: 53d1
"""
PACKAGE = """Failure # 1 (occurred at 2026-11-25_20-56-14)
The actor died because of an error raised in its creation task, \x1b[36mray::ResourceTrainable.__init__()\x1b[39m (pid=11835)
  File "trainable.py", line 151, in __init__
    self.setup(copy.deepcopy(self.config))
ModuleNotFoundError: No module named 'optional_package'
"""


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "its process died; why is not known"),
        (KILLED, "its process died (Ray: Worker unexpectedly exits with a connection error code 2. End of file.)"),
        (EXITED, "its process died (Ray: Worker exits unexpectedly. Worker exits with an exit code 3.)"),
        (NODE, "its process died (Ray: The actor died because its node has died. Node Id: 53d1)"),
        (PACKAGE, "its process could not do its work: ModuleNotFoundError: No module named 'optional_package'"),
        (PACKAGE + EXITED, "its process died (Ray: Worker exits unexpectedly. Worker exits with an exit code 3.)"),
    ],
)
def test_a_cause_is_what_ray_knows_and_never_a_guess(text, cause):
    assert explain_failure(text) == cause
