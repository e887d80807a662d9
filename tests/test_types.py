# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What a type checker says of the batches of an author."""
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
AUTHOR = '''
import datetime as dt
from pathlib import Path
from batch import BatchRoot, BatchRootFiles

class Renew(BatchRoot):
    @classmethod
    def select_ids(cls, treatment_date: dt.date) -> list[tuple[int]]:
        return [(1,)]

    @classmethod
    def execute(
            cls, objects: list[object], ids: list[int],
            treatment_date: dt.date) -> dict[str, int]:
        cls.logger.success("renewed")
        return {'renewed': len(ids)}

class Import(BatchRootFiles):
    @classmethod
    def read_file(cls, path: Path, separator: str = ',') -> list[str]:
        return path.read_text().split(separator)
'''


def checked(path, text):
    path.write_text(text)
    return subprocess.run(
        [sys.executable, '-m', 'mypy', '--config-file=', '--strict',
            '--allow-subclassing-any', '--ignore-missing-imports',
            '--follow-imports=silent', '--cache-dir=%s' % path.parent, path],
        env={**os.environ, 'MYPYPATH': str(ROOT)}, cwd=path.parent,
        capture_output=True, text=True)


def test_a_hook_may_name_and_annotate_any_parameter(tmp_path):
    result = checked(tmp_path / 'author.py', AUTHOR)
    assert not result.returncode, result.stdout


def test_a_call_that_can_not_work_is_found(tmp_path):
    result = checked(tmp_path / 'author.py', AUTHOR + '''
Renew.write_batch_output("text", 5)
''')
    assert 'Argument 2 to "write_batch_output"' in result.stdout
