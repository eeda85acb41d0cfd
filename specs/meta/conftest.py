import signal

import pytest


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    config.option.tbstyle = "short"  # these specs are red for those who write katas: pytest's own report
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in a shell's background, and all it starts, ignores it
