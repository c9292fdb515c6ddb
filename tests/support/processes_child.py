"""
A worker process with a process for each job: python -m support.processes_child DIRECTORY run|thread.

With ``run`` it works until a signal.  With ``thread`` it works in a daemon thread, and its main thread ends when the
directory has a file named ``end``.
"""

from __future__ import annotations

import sys
import threading
from functools import partial
from typing import Any

from cp_thirdparty import JobWorker, ThirdPartyJobClient
from cp_thirdparty.worker import processes
from support import handlers
from support.worker_service import ACTION_TYPE


def main() -> None:
    """Work; the exit code is 1 if anything is left."""
    directory, mode = sys.argv[1:]
    worker: JobWorker[Any] = JobWorker(
        ThirdPartyJobClient.create,
        ACTION_TYPE,
        partial(handlers.hold, directory=directory),
        client_tokens=handlers.token_of,
        poll_interval=0.05,
        executor=processes(2),
    )
    if mode == "run":
        sys.exit(not worker.run(handle_signals=True))
    threading.Thread(target=worker.run, daemon=True).start()
    handlers.wait_for(f"{directory}/end")


if __name__ == "__main__":
    main()
