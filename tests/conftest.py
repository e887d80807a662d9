# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import pytest
from hypothesis import settings
from scene import Scene

from devel.servers import PostgreSQL, Redis

# The same examples each time, however busy the machine is
settings.register_profile(
    'fixed', derandomize=True, deadline=None, database=None)
settings.load_profile('fixed')


@pytest.fixture(scope='session')
def postgresql(tmp_path_factory):
    """One PostgreSQL server for all, started by the first who asks."""
    # What is lost when the machine dies is no loss here
    with PostgreSQL(tmp_path_factory.mktemp('postgresql'), settings={
                'fsync': 'off', 'full_page_writes': 'off'}) as server:
        yield server


@pytest.fixture(scope='session')
def redis(tmp_path_factory):
    """One Redis server for all, started by the first who asks."""
    with Redis(tmp_path_factory.mktemp('redis')) as server:
        yield server


@pytest.fixture(scope='session', params=['in-process', 'workers'])
def stage(request):
    """One Scene for each way of executing, kept for all tests."""
    servers = {}
    if request.param == 'workers':
        for name in ['postgresql', 'redis']:
            servers[name] = request.getfixturevalue(name)
    with Scene(**servers) as scene:
        if scene.on_workers:
            scene.worker(2)
        yield scene


@pytest.fixture
def scene(stage):
    """A Scene in which nothing has happened yet."""
    stage.reset()
    return stage


def _refuse_skip(report):
    # What cannot run here has not been tested, whatever the reason
    if report.skipped and not hasattr(report, 'wasxfail'):
        reason = report.longrepr
        if isinstance(reason, tuple):
            reason = reason[-1]
        report.outcome = 'failed'
        report.longrepr = "Nothing may be skipped here.  %s" % reason


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    _refuse_skip(report)
    return report
