"""
Run a program of Python many times, each time in a fork of this process, which has imported the program once.

``forked_program.py MODULE ARGUMENT ...`` first runs the module's `main()` here with the arguments, so that everything
is imported, and drops the output.  Each line of stdin is a JSON object with the arguments of one run and the variables
that it adds to the environment.  The line for it on stdout has the exit code and the output, decoded as Latin-1.
"""

import gc
import importlib
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any, NoReturn


def main() -> None:
    """Run the program for each line."""
    requests, responses = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    program = importlib.import_module(sys.argv.pop(1)).main
    with suppress(SystemExit):
        program()
    sys.stdout.flush()
    gc.freeze()  # a collection would write to the memory that a fork shares with this process
    for line in requests:
        response = _run_in_fork(program, json.loads(line))
        print(json.dumps(response), file=responses, flush=True)


def _run_in_fork(program: Callable[[], Any], request: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        child = os.fork()
        if child == 0:
            _run(program, request, output, errors)
        _, status = os.waitpid(child, 0)
        texts = {}
        for name, file in (("stdout", output), ("stderr", errors)):
            file.seek(0)
            texts[name] = file.read().decode("latin-1")
    return {"returncode": os.waitstatus_to_exitcode(status), **texts}


def _run(program: Callable[[], Any], request: dict[str, Any], output: IO[bytes], errors: IO[bytes]) -> NoReturn:
    """Run the program as a process of its own would, and end this process."""
    code: Any = 1
    try:
        os.dup2(output.fileno(), 1)
        os.dup2(errors.fileno(), 2)
        sys.argv[1:] = request["arguments"]
        os.environ.update(request["environment"])
        code = program()
        sys.stdout.flush()
    except SystemExit as end:
        code = end.code
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(code if isinstance(code, int) else code is not None)


main()
