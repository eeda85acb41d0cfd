import pytest


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    config.option.tbstyle = "short"  # these specs are red for those who write katas: pytest's own report
