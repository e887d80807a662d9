# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What an attempt that died before its commit leaves in root_dir: nothing."""
from scene import Scene


def test_a_file_of_an_attempt_that_died_before_its_commit_is_removed(
        postgresql, redis, tmp_path):
    with Scene(postgresql=postgresql, redis=redis) as scene:
        scene.worker(2)
        scene.records(20, bad=[3])
        scene.configure({'default': {'split_size': 5}})
        mark = tmp_path / 'died'
        execution = scene.batch('voted', '--mark', str(mark), status=0)
        assert mark.exists()
        assert set(scene.treated().values()) == {1}
        assert len(scene.treated()) == 20
        files = {f for chunk in execution.chunks for f in chunk['files']}
        assert {str(path) for path in scene.files()} == files
        assert len(files) == 4
