"""Starts one worker process of ork: takes its private ends of the pipes before any code of the user can run.

It is written so that old interpreters can read it and say that they are too old.
"""

import json
import os
import sys

OLDEST = (3, 9)


def private_pipes():  # type: ignore[no-untyped-def]
    """The pipes to ork; what the task prints goes to the log, and it has no input to read."""
    reader, writer = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return reader, writer


def main():  # type: ignore[no-untyped-def]
    reader, writer = private_pipes()
    # What the start of Python has printed before, if anything, ends here.
    os.write(writer, b"\n")
    if sys.version_info[:2] < OLDEST:
        found, oldest = ".".join(map(str, sys.version_info[:3])), ".".join(map(str, OLDEST))
        words = "%s is Python %s, and tasks need %s or newer" % (sys.executable, found, oldest)
        os.write(writer, (json.dumps({"type": "unfit", "message": words}) + "\n").encode("ascii"))
        return
    # Python puts this folder first by itself, unless its variables or options say otherwise.
    here = os.path.dirname(os.path.abspath(__file__))
    if here not in sys.path:
        sys.path.insert(0, here)
    from ork._worker import serve

    serve(reader, writer, sys.argv[1], sys.argv[2])


# Processes that a task starts through `multiprocessing` read this file too.
if __name__ == "__main__":
    main()
