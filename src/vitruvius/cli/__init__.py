"""The command line: one module for each noun; heavy imports wait until a command needs them.

Nothing of it is imported here, so that `main` answers Ctrl-C while commands are still being imported.
"""

from __future__ import annotations

import errno
import os
import sys


def main() -> None:
    """Run the command line; Ctrl-C, while it is imported too, is one line and status 130."""
    try:
        _run()
    except KeyboardInterrupt:
        _stop()
    except SystemExit as end:
        if isinstance(getattr(end.__context__, "__cause__", None), KeyboardInterrupt):  # typer caught it
            _stop()
        raise


def _stop() -> None:
    print("\nStopped: the same command can be run again.", file=sys.stderr)
    raise SystemExit(130) from None


def _run() -> None:
    """Errors of ours become one sentence and exit code 1, `--debug` shows where."""
    from vitruvius.errors import VitruviusError

    # Read when torch is loaded; else its CPU backend tells about memory nodes in the middle of a run.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    debug = "--debug" in sys.argv
    if debug:
        # Accepted anywhere on the line: whoever adds it adds it at the end.
        sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    for before, argument in zip(sys.argv, sys.argv[1:], strict=False):
        if not argument and before.startswith("--") and "=" not in before:
            _fail(f"Nothing stands after {before}: give it a value, or leave it out (is a variable empty?).")
        try:
            argument.encode()
        except UnicodeEncodeError:
            _fail(
                f"The argument {argument!a} is not valid UTF-8: write it anew, rename the file, or, where "
                "your locale knows no UTF-8, set PYTHONUTF8=1."
            )
    try:
        from vitruvius.cli.commands import app

        app()
    except VitruviusError as error:
        if debug:
            raise
        _fail(str(error))
    except ImportError as error:
        if debug:
            raise
        _fail(
            f"{error.name or 'A package'} cannot be imported ({error}): `vitruvius doctor` says what is "
            "missing."
        )
    except Exception as error:
        if debug or not (isinstance(error, OSError) or _disk_full(error) or _memory_full(error)):
            raise
        if _memory_full(error):
            _fail("The memory of this machine does not suffice for this: ask for less, or use a larger one.")
        if _disk_full(error):
            where = getattr(error, "filename", None) or "while writing"
            _fail(
                f"No space is left on the disk ({where}): free some and run the same again; "
                "all that was recorded before is kept."
            )
        _fail(
            f"{getattr(error, 'filename', None) or 'A file'} cannot be used "
            f"({getattr(error, 'strerror', None) or error}): give a path that can be read and written."
        )


def _disk_full(error: BaseException) -> bool:
    """Whether this, or what it was raised from, says that the disk is full.

    Libraries that write files in another language (safetensors, Chroma, Arrow) raise errors of their
    own, which tell it in words only.
    """
    told = str(error).lower()
    if getattr(error, "errno", None) == errno.ENOSPC or any(words in told for words in _FULL):
        return True
    return error.__cause__ is not None and _disk_full(error.__cause__)


def _memory_full(error: BaseException) -> bool:
    """Whether memory was asked for that is not there; torch says so in words only."""
    return isinstance(error, MemoryError) or "can't allocate memory" in str(error)


_FULL = ("no space left on device", "disk is full")


def _fail(sentence: str) -> None:
    print(f"error: {sentence}", file=sys.stderr)
    raise SystemExit(1)
