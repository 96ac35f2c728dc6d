"""A fake compiler process: the name of the program's network selects what it does."""

import os
import pathlib
import pickle
import signal
import sys
import time

from fastscale_jax.targets import child

program = pickle.load(sys.stdin.buffer)
print("compiling", flush=True)
match program.network.name:
    case "aborts":
        print("I0000 all is well", file=sys.stderr)
        print(
            "F0000 00:00:1.5 77 tiling.cc:627] Check failed: a == b (784 vs. 56)", file=sys.stderr
        )
        sys.stderr.flush()
        os.abort()
    case "does not fit":
        print("Traceback (most recent call last):\n  File", file=sys.stderr)
        sys.exit("jax.errors.JaxRuntimeError: RESOURCE_EXHAUSTED: Used 20.1G of 15.75G hbm.")
    case "is refused":
        where = "Suspected Python Code Location:\n  file.py:3:4 [f]"
        sys.exit(
            f"Traceback\njax.errors.JaxRuntimeError: INVALID_ARGUMENT: no such thing\n\n{where}"
        )
    case "is killed":
        os.kill(os.getpid(), signal.SIGKILL)
    case "finds a full disk":
        sys.exit("Traceback\nOSError: [Errno 28] No space left on device")
    case "hangs":
        time.sleep(60)
    case _:
        folder = pathlib.Path(sys.argv[1])
        memory = dict.fromkeys(("arguments", "outputs", "temporaries", "aliases"), 3)
        child._finish(folder, "HloModule m\n\nENTRY e {\n}\n", memory, {})
