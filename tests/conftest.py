# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import fcntl
import os
import re
import subprocess
import sys

import pytest
from hypothesis import settings
from scene import Scene, make_once
from stage import Stage

from devel.servers import PostgreSQL, Redis

#: what is lost when the machine dies is no loss here
CARELESS = {'fsync': 'off', 'full_page_writes': 'off'}

# The same examples each time, however busy the machine is
settings.register_profile(
    'fixed', derandomize=True, deadline=None, database=None)
settings.load_profile('fixed')


@pytest.fixture(scope='session', autouse=True)
def templates(tmp_path_factory):
    "The directory of what the processes of a run make once, for all of them."
    directory = tmp_path_factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ:
        directory = directory.parent
    Scene.templates = directory / 'templates'
    Scene.templates.mkdir(exist_ok=True)
    if 'trytond.tests.test_tryton' in sys.modules:
        share_databases(sys.modules['trytond.tests.test_tryton'])
    return Scene.templates


def share_databases(kit):
    "Let Tryton's test kit make the database of a module once, too."
    activate = kit.activate_module

    def activate_module(modules, lang='en'):
        name = re.sub(r'\W', '-', '%s-%s' % (modules, lang))
        with open(Scene.templates / (name + '.lock'), 'w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            activate(modules, lang=lang)

    kit.DB_CACHE = str(Scene.templates / 'kit')
    kit.activate_module = activate_module


def make_cluster(path):
    "Make the directory of a PostgreSQL server with the template of a Scene."
    with PostgreSQL(settings=CARELESS) as server:
        with Scene(postgresql=server):
            pass
        server.stop()
        # With the user that it belongs to
        subprocess.run(['cp', '-pR', server.data, path], check=True)


def started(directory, templates):
    "Return a PostgreSQL server for Scenes."
    cluster = make_once(templates / 'cluster', make_cluster)
    server = PostgreSQL(directory, settings=CARELESS)
    subprocess.run(['cp', '-pR', cluster, server.data], check=True)
    return server


@pytest.fixture(scope='session')
def postgresql(tmp_path_factory, templates):
    """One PostgreSQL server for all, started by the first who asks."""
    with started(tmp_path_factory.mktemp('postgresql'), templates) as server:
        yield server


@pytest.fixture(scope='session')
def redis(tmp_path_factory):
    """One Redis server for all, started by the first who asks."""
    with Redis(tmp_path_factory.mktemp('redis')) as server:
        yield server


@pytest.fixture(scope='session')
def in_process():
    with Scene() as scene:
        yield scene


@pytest.fixture(scope='session')
def on_workers(postgresql, redis):
    with Scene(postgresql=postgresql, redis=redis) as scene:
        scene.worker(2)
        yield scene


@pytest.fixture(scope='session', params=['in-process', 'workers'])
def stage(request):
    """One Scene for each way of executing, kept for all tests."""
    # Each is a fixture of its own, as this one ends with its parameter
    return request.getfixturevalue({
            'in-process': 'in_process', 'workers': 'on_workers'}[
                request.param])


@pytest.fixture
def scene(stage):
    """A Scene in which nothing has happened yet."""
    stage.reset()
    return stage


@pytest.fixture(scope='session')
def servers(tmp_path_factory, templates):
    """Servers that a test may restart and empty."""
    with started(tmp_path_factory.mktemp('crash'), templates) as postgresql:
        with Redis(tmp_path_factory.mktemp('crash')) as redis:
            yield {'postgresql': postgresql, 'redis': redis}


@pytest.fixture(scope='session')
def crashed(servers):
    """One Stage, to be recovered for each test."""
    with Stage(**servers) as scene:
        yield scene


#: modules with one test that takes long, and can not be shared
LONG = ['test_install', 'test_tutorial']


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    "Let some processes of a run begin with LONG: none of it is to end last."
    count = getattr(config, 'workerinput', {}).get('workercount', 1)
    if count == 1:
        return
    size = -(-len(items) // count)
    others = [item for item in items if item.path.stem not in LONG]
    shares = []
    for number in range(count):
        share = [
            item for name in LONG[number::count] for item in items
            if item.path.stem == name]
        left = max(0, size - len(share))
        shares += [*share, *others[:left]]
        others = others[left:]
    items[:] = shares + others


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
