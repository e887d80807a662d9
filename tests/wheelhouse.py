# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Wheels of what is installed, for a pip that asks no index."""
import zipfile
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

__all__ = ['make_wheels', 'pip_settings']


def pip_settings(directory):
    "Return the environment in which pip takes wheels of a directory only."
    return {
        'PIP_NO_INDEX': '1', 'PIP_FIND_LINKS': str(directory),
        # Of the caller, where other packages may be
        'PIP_CONFIG_FILE': '/dev/null',
        'PIP_DISABLE_PIP_VERSION_CHECK': '1'}


def make_wheels(directory, *requirements):
    "Write the wheels of requirements, and of what they need."
    directory.mkdir(exist_ok=True)
    for name in needed(map(Requirement, requirements)):
        distribution = metadata.distribution(name)
        # There is none for an editable install
        if distribution.read_text('WHEEL'):
            write_wheel(distribution, directory)


def needed(requirements):
    "Return the names of the distributions that requirements need."
    names, seen, todo = set(), set(), list(requirements)
    while todo:
        requirement = todo.pop()
        for extra in ['', *requirement.extras]:
            if (requirement.name, extra) in seen:
                continue
            seen.add((requirement.name, extra))
            distribution = metadata.distribution(requirement.name)
            names.add(distribution.metadata['Name'])
            todo += [
                other for other in map(
                    Requirement, distribution.requires or [])
                if not other.marker
                or other.marker.evaluate({'extra': extra})]
    return names


def write_wheel(distribution, directory):
    tags = [
        line.partition(': ')[2].split('-')
        for line in distribution.read_text('WHEEL').splitlines()
        if line.startswith('Tag: ')]
    tag = '-'.join('.'.join(sorted(set(part))) for part in zip(*tags))
    stem = '%s-%s' % (
        distribution.metadata['Name'].replace('-', '_').replace('.', '_'),
        distribution.version)
    commands = {
        point.name for point in distribution.entry_points
        if point.group == 'console_scripts'}
    record, info = [], None
    with zipfile.ZipFile(
            directory / ('%s-%s.whl' % (stem, tag)), 'w') as wheel:
        for path in distribution.files:
            source = Path(distribution.locate_file(path))
            if path.suffix == '.pyc' or path.name in {
                    'RECORD', 'INSTALLER', 'REQUESTED', 'direct_url.json'}:
                continue
            name, data = path.as_posix(), source.read_bytes()
            if path.parts[0] == '..':
                if source.parent.name != 'bin' or path.name in commands:
                    # Not needed, or made by pip
                    continue
                # The first line names the Python of its environment
                _, _, data = data.partition(b'\n')
                data = b'#!python\n' + data
                name = '%s.data/scripts/%s' % (stem, path.name)
            elif path.parts[0].endswith('.dist-info'):
                info = '%s.dist-info' % stem
                name = '/'.join([info, *path.parts[1:]])
            wheel.writestr(name, data)
            record.append('%s,,\n' % name)
        wheel.writestr(
            info + '/RECORD', ''.join([*record, info + '/RECORD,,\n']))
