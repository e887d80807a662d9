# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
import contextlib
import datetime as dt
import errno
import logging
import multiprocessing
import os
import re
import resource
import signal
import stat
import subprocess
import sys
import time

import pytest

from trytond.modules.batch import context, texts
from trytond.modules.batch.logging import (
    get_logger, get_print_infos, log_path_of, open_logs)
from trytond.modules.batch.masking import mask_secrets

#: the logger of the module that is tested
OWN = 'trytond.modules.batch.logging'
fork = multiprocessing.get_context('fork')
run = context.Work('test.batch', 42, '7', database='tryton')


class Record:
    "As a record of Tryton"
    __name__ = 'party.party'

    def __init__(self, id):
        self.id = id


class Broken:

    def __str__(self):
        raise ValueError("no text")


@pytest.fixture(autouse=True)
def unconfigured(monkeypatch):
    monkeypatch.setattr(logging.getLogger('batch'), 'level', logging.NOTSET)
    logging.Logger.manager._clear_cache()
    yield
    open_logs(None)


@pytest.fixture
def log_dir(tmp_path):
    open_logs(tmp_path)
    return tmp_path


def lines(path):
    return path.read_text('utf-8').splitlines()


def test_a_line_tells_time_level_process_run_and_message(log_dir, caplog):
    with context.working(run):
        get_logger('test.batch').info("%s treated", 12)
    line, = lines(log_dir / 'test.batch.log')
    time, level, pid, message = line.split(' ', 3)
    age = dt.datetime.now(dt.timezone.utc) - dt.datetime.fromisoformat(time)
    assert re.fullmatch(r'[-\d]{10}T[:\d]{8}[+-]\d\d:\d\d', time)
    assert dt.timedelta(seconds=-1) < age < dt.timedelta(seconds=60)
    assert (level, pid) == ('INFO', str(os.getpid()))
    assert message == 'tryton #42.7 12 treated'
    assert caplog.messages == [message]


def test_success_and_failure_are_marked(log_dir, caplog):
    logger = get_logger('test.batch')
    with context.working(context.Work('test.batch', 42, database='tryton')):
        logger.success("%i%% done", 100)
        logger.failure("13 failed")
    assert caplog.messages == [
        'tryton #42 [SUCCESS] 100% done', 'tryton #42 [FAILURE] 13 failed']
    assert [r.levelname for r in caplog.records] == ['INFO', 'ERROR']
    assert len(lines(log_dir / 'test.batch.log')) == 2


def test_a_whole_traceback_is_found_by_the_run_in_both_logs(log_dir, caplog):
    with context.working(run):
        try:
            1 / 0
        except ZeroDivisionError:
            get_logger('test.batch').exception("Two\nlines")
    text = (log_dir / 'test.batch.log').read_text()
    assert 'ZeroDivisionError' in text and 'Two' in text
    for line in text.splitlines() + caplog.text.splitlines():
        assert re.search(r'\btryton #42\b', line)
    assert text.count('Traceback') == caplog.text.count('Traceback') == 1


def test_lines_behind_the_first_are_taken_for_no_other(log_dir, caplog):
    with context.working(run):
        get_logger('test.batch').info(
            "One\r\n[SUCCESS] %s\n", "two\n#42.7 three\x1b[2J\u2028")
    get_logger('test.batch').info("One\n[SUCCESS] two")
    assert lines(log_dir / 'test.batch.log')[1:3] == [
        'tryton #42.7   [SUCCESS] two',
        r'tryton #42.7   #42.7 three\x1b[2J\u2028']
    assert lines(log_dir / 'test.batch.log')[-1] == '  [SUCCESS] two'
    assert len(lines(log_dir / 'test.batch.log')) == 5
    assert caplog.messages[1] == 'One\n  [SUCCESS] two'


def test_of_a_long_record_the_middle_is_left_out(log_dir, caplog):
    try:
        raise ValueError('begin' + 3_000_000 * 'x' + 'end')
    except ValueError:
        get_logger('test.batch').exception(
            "First%sLast", 3_000_000 * 'y', stack_info=True)
    text = (log_dir / 'test.batch.log').read_text()
    for part in ['Firsty', 'yLast', 'beginx', 'xend', 'characters) ...']:
        assert part in text
    assert len(text) < 2 * texts.RECORD + texts.TRACEBACK
    assert len(caplog.text) < 2 * texts.RECORD + texts.TRACEBACK


class Evil(Exception):
    "One that does not want to be written down"

    def __getattribute__(self, name):
        raise KeyboardInterrupt

    @property
    def __class__(self):
        raise KeyboardInterrupt


@pytest.mark.parametrize('exc_info', [True, 'error', None])
def test_any_exception_is_logged(log_dir, exc_info):
    logger = get_logger('test.batch')
    try:
        raise Evil
    except Exception as error:
        logger.error("Caught", exc_info=(
                type(error), error, None) if exc_info == 'error' else exc_info)
    logger.error("None is there", exc_info=True)
    text = (log_dir / 'test.batch.log').read_text()
    assert ('test_logging.Evil\n' in text) == bool(exc_info)
    assert 'no exception' in text


def test_lines_outside_of_a_run_have_no_label(log_dir):
    get_logger('test.batch').info("Hello")
    assert lines(log_dir / 'test.batch.log')[0].endswith(
        'INFO %s Hello' % os.getpid())


def test_information_is_logged_though_the_root_shows_only_warnings(log_dir):
    assert logging.root.level == logging.WARNING
    get_logger('test.batch').info("Hello")
    get_logger('test.batch').debug("Not this")
    assert len(lines(log_dir / 'test.batch.log')) == 1


def test_a_chosen_level_is_kept(log_dir):
    logging.getLogger('batch').setLevel(logging.ERROR)
    get_logger('test.batch').info("Hello")
    assert not list(log_dir.iterdir())


def test_a_logger_disabled_by_a_configuration_of_logging_logs(log_dir):
    logging.getLogger('batch.test.batch').disabled = True
    get_logger('test.batch').info("Hello")
    assert len(lines(log_dir / 'test.batch.log')) == 1


def test_batches_write_only_to_the_file_of_their_name(log_dir):
    get_logger('test').info("Mine")
    get_logger('test.batch').info("Not mine")
    assert len(lines(log_dir / 'test.log')) == 1
    assert len(lines(log_dir / 'test.batch.log')) == 1


def test_a_logger_that_is_named_like_ours_is_one_of_the_execution(log_dir):
    get_logger('test.batch').info("one")
    work = context.Work('test.batch', 5, database='tryton')
    with context.working(work):
        # As logging.getLogger(__name__) in the class of a batch "batch.x"
        logging.getLogger('batch.x').info("two")
    assert [line.partition(' INFO ')[2].partition(' ')[2] for line in (
            log_dir / 'test.batch.log').read_text().splitlines()] == [
        'one', 'tryton #5 two']
    assert not (log_dir / 'x.log').exists()


def test_files_are_opened_on_first_use_and_only_when_configured(log_dir):
    get_logger('test.batch')
    assert not list(log_dir.iterdir())
    assert log_path_of('test.batch') == str(log_dir / 'test.batch.log')
    open_logs(None)
    assert log_path_of('test.batch') is None
    get_logger('test.batch').info("Hello")
    assert not list(log_dir.iterdir())


def test_configuring_twice_writes_once(log_dir):
    open_logs(log_dir)
    get_logger('test.batch').info("Hello")
    assert len(lines(log_dir / 'test.batch.log')) == 1


@pytest.mark.parametrize('name', ['../evil', 'a/b', '-rf', 'a\0b', 'é'])
def test_an_unsafe_name_gets_no_file_and_that_is_said_once(
        log_dir, caplog, name):
    for _ in range(3):
        get_logger(name).info("Hello")
    assert not list(log_dir.iterdir())
    assert not list(log_dir.parent.glob('*evil*'))
    assert caplog.messages.count('Hello') == 3
    assert len([m for m in caplog.messages if 'no safe file name' in m]) == 1


@pytest.mark.parametrize(['zone', 'offset'], [
        ('Asia/Kathmandu', '+05:45'),
        ('UTC', '+00:00'),
        ])
def test_times_are_in_the_zone_of_the_server(
        log_dir, monkeypatch, zone, offset):
    monkeypatch.setenv('TRYTOND_TZ', zone)
    get_logger('test.batch').info("Hello")
    assert lines(log_dir / 'test.batch.log')[0].split()[0].endswith(offset)


@pytest.mark.parametrize(
    'zone', ['', 'Mars/Olympus', '/etc', '../../etc', 'Europe'])
def test_times_are_local_without_a_zone_that_is_known(
        log_dir, monkeypatch, zone):
    monkeypatch.setenv('TRYTOND_TZ', zone)
    monkeypatch.setenv('TZ', 'XYZ-3')
    time.tzset()
    try:
        get_logger('test.batch').info("Hello")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert lines(log_dir / 'test.batch.log')[0].split()[0].endswith('+03:00')


@pytest.mark.parametrize('args', [('only one',), (Broken(), Broken())])
def test_wrong_arguments_of_a_call_do_not_lose_its_line(
        log_dir, caplog, args):
    get_logger('test.batch').info("%s and %s", *args)
    line, = lines(log_dir / 'test.batch.log')
    assert '%s and %s' in line


def test_text_that_is_no_unicode_does_not_lose_its_line(log_dir, monkeypatch):
    # No report of this test could be sent, with its log
    monkeypatch.setattr(logging.getLogger('batch'), 'propagate', False)
    get_logger('test.batch').info("\ud800 é")
    assert lines(log_dir / 'test.batch.log')[0].endswith('\\ud800 é')


def test_a_move_by_rotation_is_followed(log_dir):
    logger, path = get_logger('test.batch'), log_dir / 'test.batch.log'
    logger.info("One")
    path.rename(log_dir / 'old')
    logger.info("Two")
    path.unlink()
    logger.info("Three")
    assert [len(lines(p)) for p in [log_dir / 'old', path]] == [1, 1]
    assert lines(path)[0].endswith('Three')


def _log_lines(number, count):
    logger = get_logger('test.batch')
    for i in range(count):
        with context.working(context.Work(
                    'test.batch', number, str(i), database='tryton')):
            logger.info('x' * (i % 300) + ' end')


def test_no_line_is_torn_or_lost_by_8_processes_under_rotation(log_dir):
    path = log_dir / 'test.batch.log'
    # Opened before the forks, as in the parent of a pool of workers
    get_logger('test.batch').info("Start")
    processes = [
        fork.Process(target=_log_lines, args=(n, 10_000)) for n in range(8)]
    for process in processes:
        process.start()
    rotations = 0
    while any(p.is_alive() for p in processes):
        try:
            os.rename(path, log_dir / ('old.%s' % rotations))
            rotations += 1
        except FileNotFoundError:
            pass
        processes[-1].join(0.02)
    assert [p.exitcode for p in processes] == [0] * 8
    assert rotations > 5

    expected = re.compile(
        r'\S{25} INFO \d+ tryton #(\d)\.(\d+) (x*) end').fullmatch
    seen = []
    for file in log_dir.iterdir():
        for line in lines(file):
            if not line.endswith('Start'):
                match = expected(line)
                assert match, line
                assert len(match[3]) == int(match[2]) % 300
                seen.append((match[1], int(match[2])))
    assert len(seen) == len(set(seen)) == 80_000


def test_a_log_directory_that_is_none_is_said_once(tmp_path, caplog):
    log_dir = tmp_path / 'logs'
    log_dir.write_text("I am a file")
    open_logs(log_dir)
    for i in range(3):
        get_logger('test.batch').info("Line %s", i)
    said = [r for r in caplog.records if r.name == OWN]
    assert len(said) == 1 and said[0].levelno == logging.ERROR
    for word in [str(log_dir), 'Not a directory', 'test.batch', 'log_dir']:
        assert word in said[0].message
    assert len(caplog.messages) == 4

    log_dir.unlink()
    log_dir.mkdir()
    get_logger('test.batch').info("Line 3")
    text = (log_dir / 'test.batch.log').read_text()
    assert '\n3 lines missing here' in text and text.endswith('Line 3\n')


@contextlib.contextmanager
def full_disk():
    "Let no file grow any more."
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_said_once_and_writing_tried_again(log_dir, caplog):
    path = log_dir / 'test.batch.log'
    with full_disk():
        for i in range(3):
            get_logger('test.batch').info("Line %s", i)
    said = [m for m in caplog.messages if os.strerror(errno.EFBIG) in m]
    assert len(said) == 1
    get_logger('test.batch').info("Line 3")
    get_logger('test.batch').info("Line 4")
    assert len(lines(path)) == 4
    with full_disk():
        get_logger('test.batch').info("Line 5")
    assert len([m for m in caplog.messages if 'File too large' in m]) == 2


def hard_link(path):
    other = path.with_name('other')
    other.touch()
    os.link(other, path)


@pytest.mark.parametrize('make, what', [
        (lambda path: path.symlink_to('/dev/full'), 'a link'),
        (lambda path: path.symlink_to(path.with_name('other')), 'a link'),
        (os.mkfifo, 'a FIFO'), (os.mkdir, 'a directory'),
        (lambda path: os.mknod(
                path, 0o666 | stat.S_IFCHR, os.makedev(1, 7)), 'a device'),
        (hard_link, 'a second name')],
    ids=['device', 'link', 'fifo', 'directory', 'node', 'hard link'])
def test_a_log_that_is_no_file_of_its_own_is_refused_in_one_line(
        log_dir, caplog, make, what):
    path = log_dir / 'test.batch.log'
    make(path)
    get_logger('test.batch').info("Line 0")
    # Though somebody would read it
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK) \
        if what == 'a FIFO' else None
    for i in range(1, 3):
        get_logger('test.batch').info("Line %s", i)
    said, = [r for r in caplog.records if r.name == OWN]
    assert said.levelno == logging.ERROR
    assert 'log file "%s" can not be written: it ' % path in said.message
    assert what in said.message and '\n' not in said.message
    assert caplog.messages[-1] == "Line 2"
    other = log_dir / 'other'
    assert not other.exists() or other.read_text() == ''
    if reader is not None:
        assert os.read(reader, 100) == b''
        os.close(reader)
    path.rmdir() if what == 'a directory' else path.unlink()
    get_logger('test.batch').info("Line 3")
    assert lines(path)[1].startswith('3 lines missing here')


def test_a_log_that_becomes_a_link_is_not_followed(log_dir, caplog):
    path = log_dir / 'test.batch.log'
    get_logger('test.batch').info("Line 0")
    path.rename(log_dir / 'moved')
    path.symlink_to(log_dir / 'moved')
    get_logger('test.batch').info("Line 1")
    assert len(lines(log_dir / 'moved')) == 1
    assert len([m for m in caplog.messages if 'it is a link' in m]) == 1


def test_half_a_line_is_completed_by_a_second_write(log_dir, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, 'write', lambda fd, data: write(fd, data[:5]))
    get_logger('test.batch').info("A longer line")
    assert lines(log_dir / 'test.batch.log')[0].endswith('A longer line')


def test_a_descriptor_closed_by_others_is_opened_again(log_dir):
    logger = get_logger('test.batch')
    logger.info("One")
    os.close(sys.modules[OWN]._files.descriptors['test.batch'])
    logger.info("Two")
    logger.info("Three")
    assert lines(log_dir / 'test.batch.log')[-1].endswith('Three')


def test_lines_without_a_file_nor_a_log_of_the_worker_are_on_stderr():
    code = '\n'.join([
            'from trytond.modules.batch import logging',
            'logging.open_logs("/nowhere")',
            'logging.get_logger("test.batch").info("Hello %s", "there")'])
    process = subprocess.run(
        [sys.executable, '-c', code], stderr=subprocess.PIPE, text=True)
    assert 'Hello there' in process.stderr
    assert '/nowhere/test.batch.log' in process.stderr


@pytest.mark.parametrize(['text', 'masked'], [
        ('amqp://user:secret@host//', 'amqp://user:***@host//'),
        ('redis://:secret@host:6379/0', 'redis://:***@host:6379/0'),
        ('at "postgresql://u:s%40@h/"', 'at "postgresql://u:***@h/"'),
        ('redis://:p@ss/word@host/0', 'redis://:***@host/0'),
        ('redis://:1234@host', 'redis://:***@host'),
        ('redis://u@dom:secret@host', 'redis://u@dom:***@host'),
        ('redis://:a@h1;redis://:b@h2', 'redis://:***@h1;redis://:***@h2'),
        ('redis://host:6379/0 a@b.c', 'redis://host:6379/0 a@b.c'),
        ('redis://host:6379/0,a@b.c', 'redis://host:6379/0,a@b.c'),
        ('http://host/a:b@c', 'http://host/a:b@c'),
        ('user:secret@host', 'user:secret@host'),
        ('', ''),
        ])
def test_passwords_in_urls_are_masked(text, masked):
    assert mask_secrets(text) == masked


def test_no_password_is_written_to_any_log(log_dir, caplog):
    try:
        raise OSError("no route to redis://:secret@host:6379/0")
    except OSError:
        get_logger('test.batch').exception("%s", "amqp://guest:secret@host")
    logging.getLogger('batch.plain').warning("amqp://guest:secret@host")
    for text in [caplog.text.split('batch.plain')[0], (
                log_dir / 'test.batch.log').read_text(),
            (log_dir / 'plain.log').read_text()]:
        assert '***' in text or 'OSError' in text
        assert 'secret' not in text


@pytest.mark.parametrize(['items', 'digest'], [
        ([], 'no records'),
        (None, 'no records'),
        ([5], '1 record: 5'),
        (range(1, 12_001),
            '12,000 records: 1, 2, 3, 4 ... 11999, 12000'),
        ([1, 2, 3, 4, 5, 6], '6 records: 1, 2, 3, 4, 5, 6'),
        ([1, 2, 3, 4, 5, 6, 7], '7 records: 1, 2, 3, 4 ... 6, 7'),
        ((n for n in range(100)), '100 records: 0, 1, 2, 3 ... 98, 99'),
        (iter('ab'), '2 records: a, b'),
        ({3}, '1 record: 3'),
        ({'a': 1, 'b': 2}, '2 records: a, b'),
        ('one text', '1 record: one text'),
        (7, '1 record: 7'),
        ([Record(3), Record(4)], '2 records: 3, 4'),
        (Record(3), '1 record: 3'),
        ([None, True, 1.5], '3 records: None, True, 1.5'),
        ([dt.date(2025, 1, 31)], '1 record: 2025-01-31'),
        ([{'a': [1]}, (1, 'x')], "2 records: {'a': [1]}, (1, 'x')"),
        ([Broken()], '1 record: <Broken>'),
        (['two\nlines'], '1 record: two lines'),
        ])
def test_digest_of_a_list(items, digest):
    assert get_print_infos(items) == digest


@pytest.mark.parametrize(['name', 'names'], [
        ('contract', 'contracts'), ('party', 'parties'), ('day', 'days'),
        ('address', 'addresses'), ('move line', 'move lines'), ('', 's')])
def test_digest_names_what_it_lists(name, names):
    assert get_print_infos([], name) == 'no %s' % names


@pytest.mark.parametrize(['limit', 'digest'], [
        (-1, '9 records'), (0, '9 records'), (1, '9 records: 0 ...'),
        (2, '9 records: 0, 1 ...'), (3, '9 records: 0, 1 ... 8'),
        (9, '9 records: 0, 1, 2, 3, 4, 5, 6, 7, 8')])
def test_digest_shows_as_many_as_asked_for(limit, digest):
    assert get_print_infos(range(9), limit=limit) == digest


@pytest.mark.parametrize('item', [
        'x' * 10 ** 6, list(range(10 ** 6)), {'k' * 999: 'v' * 999},
        [[['deep'] * 99] * 99] * 99])
def test_digest_is_short_whatever_the_items(item):
    assert len(get_print_infos([item] * 1000)) < 300
