"""The child process in which a command decodes: it is started again where a decoder took it down.

The work resumes from what is on disk; the file that the decoder died of is found and quarantined (see
`data/images/crash_recovery.py`). All else passes through: signals, the exit status, and a death of any other cause.
"""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import signal
import sys
import tempfile
from contextlib import suppress

from darkroom.data.images.crash_marker import died_in_flight

_CRASHES = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE})
_PASSED_ON = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
_WAITED_FOR = _PASSED_ON | {signal.SIGCHLD}
_PR_SET_PDEATHSIG = 1


def work_in_a_child(reads_input: bool = False) -> None:
    """Return in a child of this process, which itself stays to watch over it, and ends as the child ends.

    Where the system cannot tell who sent a signal (macOS), it returns in this process.

    Args:
        reads_input: The work reads standard input, from the beginning each time that it is started.
    """
    if not hasattr(signal, "sigwaitinfo"):
        return
    if reads_input:
        _hold_input()
    signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
    while True:
        parent, child = os.getpid(), os.fork()
        if child == 0:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # killed meanwhile
                os._exit(1)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _WAITED_FOR)
            return
        status = _wait_for(child)
        died_of = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        if died_of in _CRASHES and died_in_flight():
            name = signal.Signals(died_of).name
            sys.stderr.write(f"darkroom: a decoder crashed ({name}). Its file is quarantined, and the run resumes.\n")
            if reads_input:
                os.lseek(0, 0, os.SEEK_SET)
            continue
        if died_of is not None:
            _die_of(died_of)
        os._exit(os.WEXITSTATUS(status))


def _hold_input() -> None:
    """Put a file of all that standard input has in its place."""
    with tempfile.TemporaryFile() as held:
        shutil.copyfileobj(sys.stdin.buffer, held)
        held.flush()
        os.dup2(held.fileno(), 0)
    os.lseek(0, 0, os.SEEK_SET)


def _wait_for(child: int) -> int:
    """The status with which the child ends; meanwhile what is sent to this process is passed on to it.

    What a terminal sends, as for Ctrl-C, the child has got already.
    """
    while True:
        received = signal.sigwaitinfo(_WAITED_FOR)
        if received.si_signo == signal.SIGCHLD:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return status
        elif received.si_pid:
            os.kill(child, received.si_signo)


def _die_of(number: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # SIGKILL
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
