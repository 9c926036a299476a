#!/usr/bin/env python3
"""Becomes the pilot's binary for this machine: the same process, arguments and environment.

Wrappers start this file with the Python that they found. Any from 2.6 on will do, and nothing
but its standard library is needed.
"""
import os
import signal
import stat
import sys

# Pilot 3's exit code of an error that has no code of its own.
GENERAL_ERROR = 65


def give_up(message):
    sys.stderr.write("error: %s\n" % message)
    sys.exit(GENERAL_ERROR)


def find_binary():
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin")
    prefix = "ailurus-pilot-"
    machine = os.uname()[4]
    binary = os.path.join(folder, prefix + machine)
    if not os.path.isfile(binary):
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        known = [name[len(prefix):] for name in names if name.startswith(prefix)]
        give_up(
            "no pilot for the architecture `%s` in `%s`, only for: %s"
            % (machine, folder, ", ".join(known) or "none")
        )
    return binary


def make_executable(binary):
    """Some ways of unpacking lose the mode."""
    if not os.access(binary, os.X_OK):
        try:
            mode = os.stat(binary).st_mode
            os.chmod(binary, mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        except OSError:
            pass  # What follows says what is wrong.


def undo_own_changes():
    """Python sets a locale for itself (PEP 538) and ignores signals; neither is for the pilot."""
    try:
        with open("/proc/self/environ", "rb") as given:
            variables = given.read().split(b"\0")
        if not any(variable.startswith(b"LC_CTYPE=") for variable in variables):
            os.environ.pop("LC_CTYPE", None)
    except IOError:
        pass  # No /proc: the pilot says so itself.
    for name in ("SIGPIPE", "SIGXFSZ", "SIGXFZ"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)


def main():
    binary = find_binary()
    make_executable(binary)
    undo_own_changes()
    try:
        os.execv(binary, [binary] + sys.argv[1:])
    except OSError as error:
        give_up(
            "`%s` cannot be started: %s. Is its file system mounted with `noexec`?"
            % (binary, error.strerror)
        )


if __name__ == "__main__":
    main()
