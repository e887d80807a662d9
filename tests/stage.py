# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A scene whose servers, workers and commands die."""
import shutil
import signal
from collections import Counter
from pathlib import Path

from scene import PATIENCE, Execution, Scene

from devel.process import wait_for

__all__ = ['PROCESSES', 'Stage', 'exactly', 'finished', 'once']

#: one more than run chunks of a watched batch, to take what comes beside it
PROCESSES = 3


class Stage(Scene):
    "A scene whose worker may be dead when a test begins."

    def __init__(self, postgresql, redis, **options):
        super().__init__(postgresql, redis, **options)
        self.redis = redis
        self.marks = Path(self.directory, 'marks')

    def reset(self):
        super().reset()
        shutil.rmtree(self.marks, ignore_errors=True)
        self.marks.mkdir()

    def recover(self):
        "Begin a test, whatever the last one killed or left."
        for server in [self.postgresql, self.redis]:
            server.start()
        if self.execute("SELECT id FROM batch_execution "
                "WHERE state IN ('selecting', 'running')"):
            # The last test failed: what it left must not hold its rows
            for worker in self.workers:
                worker.stop(timeout=0, stop_signal=signal.SIGKILL)
            self.redis.flush()
        for process in list(self.processes):
            if process not in self.workers:
                process.stop(timeout=0)
                for pipe in [process.stdout, process.stderr]:
                    if pipe:
                        pipe.close()
                self.processes.remove(process)
        for worker in self.workers:
            # What one test killed is not what the next one is about
            if 'exited with' in Path(worker.log_file).read_text():
                worker.stop(timeout=10)
        self.healthy()
        self.reset()
        return self

    @property
    def workers(self):
        return [
            p for p in self.processes if hasattr(p, 'log_file') and p.running]

    def worker(self, processes=PROCESSES, *args, **options):
        return super().worker(processes, *args, **options)

    def healthy(self):
        "Return a worker, a new one if there is none."
        return self.workers[0] if self.workers else self.worker()

    def watched(self, *args, **options):
        "Start a batch that shows what runs; return the command's process."
        self.command = self.start_batch(
            'watched', '--directory', str(self.marks), *args, **options)
        return self.command

    def go(self):
        "Let the chunks that wait end."
        (self.marks / 'go').touch()

    def began(self):
        "Return (first id of the chunk, pid) of what began."
        return sorted(
            tuple(map(int, path.name.split('-')[1:]))
            for path in self.marks.glob('began-*'))

    def wait_began(self, count=1):
        def began():
            # Killed or not yet ended
            assert self.command.poll() in {None, 0, -signal.SIGKILL}, (
                self.command.communicate())
            return len(self.began()) >= count

        wait_for(began, PATIENCE, "begin %s chunks" % count)
        return self.began()

    def wait_end(self, execution=None):
        "Wait for the end of an execution that nobody needs to follow."
        id = execution or self.last_execution()
        wait_for(lambda: self.state(id) not in {'selecting', 'running'},
            PATIENCE, "end the execution %s" % id)
        return Execution(self, id=id)

    def deaths(self):
        (sum_,), = self.execute(
            'SELECT COALESCE(SUM(deaths), 0) FROM batch_execution_chunk')
        return sum_


def once(ids):
    return {id: 1 for id in ids}


def finished(command, status):
    "Wait for a command; return what it said."
    stdout, stderr = command.communicate(timeout=4 * PATIENCE)
    assert command.returncode == status, stdout + stderr
    return stdout + stderr


def exactly(scene, execution, count, bad=()):
    "Check that just the bad ones failed, and all others were treated once."
    assert execution.failed_units == sorted(bad)
    assert scene.treated() == once(set(range(1, count + 1)) - set(bad))
    assert execution.row['state'] == ('failed' if bad else 'succeeded')
    assert Counter(
        u for c in execution.in_state('done') for u in c['units']) == once(
        set(range(1, count + 1)) - set(bad))
