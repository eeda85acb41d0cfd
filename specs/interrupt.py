"""Whether a KeyboardInterrupt is a person's Ctrl-C, which ends a run, or is raised by a learner's code, which fails a spec."""

import signal
import threading

_pressed = True


def watch() -> None:
    """From now on `pressed` knows. It does not under a handler of somebody else's, or in another thread than the main one."""
    global _pressed
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is threading.main_thread() and handler in (signal.default_int_handler, signal.SIG_IGN):
        _pressed = False
        if handler is signal.default_int_handler:
            signal.signal(signal.SIGINT, _interrupt)


def pressed() -> bool:
    """Whether Ctrl-C was pressed since `watch`. True if that is not known: a person must be able to end a run."""
    return _pressed


def _interrupt(signum, frame):
    global _pressed
    _pressed = True
    raise KeyboardInterrupt
