# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The names of hidden files, which contain their owner; and free names.

Before a file "name" of an execution with the tag TAG appears, it is
``.name.TAG.part`` and then ``.name.TAG.ready``.  All the time ``.name.taken``,
a dangling symbolic link with the text TAG, reserves the name against all other
executions of all databases.

Imports nothing of Tryton or Celery.
"""
import hashlib
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import PurePath

from .directories import NO_LINKS, Directory

__all__ = [
    'claim', 'free_names', 'hidden', 'is_taken', 'owner_of', 'parsed',
    'release', 'stem_of', 'tag_of', 'taken_stem']

#: longest name, in bytes, that is used in the names of its hidden files: these
#: are 72 bytes longer, and the usual file system allows 255.  A longer name is
#: replaced by a hash
LONGEST = 183
#: bytes that a name has at most, and that a number leaves of it at least
NAME_MAX, SHORTEST = 255, 100

_hidden = re.compile(
    r'\.(?P<stem>.+)\.(?P<tag>[\w-]{1,24}-(?P<execution>\d+)-[0-9a-f]{12})'
    r'\.(?:part|ready)', re.DOTALL | re.ASCII)
_taken = re.compile(r'\.(.+)\.taken', re.DOTALL)


def tag_of(database: str, execution: int, *facts: object) -> str:
    """Return the tag of the hidden files of an execution.

    :param facts: values that distinguish executions with the same number, for
        example in databases of the same name
    """
    digest = hashlib.blake2b(
        repr((database, execution, *facts)).encode('utf-8', 'replace'),
        digest_size=6)
    return '%s-%s-%s' % (
        re.sub(r'[^\w-]', '_', database, flags=re.ASCII)[:24] or '_',
        execution, digest.hexdigest())


def stem_of(name: str) -> str:
    "Return the name, or its hash, as the names of hidden files contain it."
    encoded = os.fsencode(name)
    if len(encoded) <= LONGEST:
        return name
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()


def hidden(name: str, tag: str, state: str) -> str:
    """Return the name of a hidden file.

    :param name: the final name of the file, or its stem
    :param state: part or ready
    """
    return '.%s.%s.%s' % (stem_of(name), tag, state)


def parsed(name: str) -> tuple[str, str, int] | None:
    """Return stem, tag and id of the execution from the name of a hidden file.

    None if it is not the name of a hidden file of a batch.
    """
    match = _hidden.fullmatch(name)
    return match and (match['stem'], match['tag'], int(match['execution']))


# Reserved names

def taken_stem(name: str) -> str | None:
    "Return the stem of the name that a link reserves, None for other names."
    match = _taken.fullmatch(name)
    return match and match[1]


def owner_of(directory: Directory, name: str) -> str | None:
    "Return the tag of the owner of a reserved name, None if it is free."
    try:
        return os.readlink(_link(name), dir_fd=directory.descriptor)
    except FileNotFoundError:
        return None
    except OSError:
        # Something else than a link has this name: treat it as reserved
        return ''


def _link(name: str) -> str:
    return '.%s.taken' % stem_of(name)


def claim(directory: Directory, name: str, tag: str) -> bool:
    "Reserve a name; return False if it is reserved, also by the same tag."
    try:
        os.symlink(tag, _link(name), dir_fd=directory.descriptor)
    except FileExistsError:
        return False
    except OSError as e:
        # A file system without links: if two executions use a name at the
        # same time, the file of the second one can not appear, and is reported
        if e.errno not in NO_LINKS:
            raise
    return True


def release(directory: Directory, name: str, tag: str) -> None:
    "Release a name, if tag has reserved it."
    if owner_of(directory, name) == tag:
        directory.unlink(_link(name))


def is_taken(
        directory: Directory, name: str, tag: str, mine: bool = False) -> bool:
    """Return whether a name is in use.

    :param mine: whether the name counts as free if tag has reserved it
    """
    owner = owner_of(directory, name)
    if owner is not None and not (mine and owner == tag):
        return True
    # In this order, as publishing creates name before it removes the other
    return any(
        directory.status(n) is not None
        for n in [hidden(name, tag, 'ready'), name])


def cut(name: str, size: int) -> str:
    "Return the beginning of a name, of at most size bytes."
    encoded = os.fsencode(name)
    if len(encoded) <= size:
        return name
    while size and encoded[size] & 0xC0 == 0x80:
        # In the middle of a character of UTF-8
        size -= 1
    return os.fsdecode(encoded[:size])


def free_names(directory: Directory, name: str, tag: str) -> Iterator[str]:
    "Yield a name and its successors, from about the first that is free."
    stem, suffix = PurePath(name).stem, PurePath(name).suffix

    def numbered(number: int) -> str:
        end = '_%s%s' % (number, suffix)
        room = NAME_MAX - len(os.fsencode(end))
        if room < SHORTEST:
            # So long a suffix is no type of file
            return cut(name, NAME_MAX - 12) + '_%s' % number
        return cut(stem, room) + end

    if not is_taken(directory, name, tag, mine=True):
        yield name
    # A binary search: trying one by one takes n * n / 2 checks for n files
    taken, free = 0, 1
    while is_taken(directory, numbered(free), tag):
        taken, free = free, 2 * free
    while free - taken > 1:
        number = (taken + free) // 2
        if is_taken(directory, numbered(number), tag):
            taken = number
        else:
            free = number
    yield from map(numbered, itertools.count(free))
