# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The names of hidden files, which say whose they are; and names to be had.

A file "name" of an execution with the tag TAG is ``.name.TAG.part`` and then
``.name.TAG.ready`` before it appears.  From first to last ``.name.taken``,
a symbolic link that leads nowhere and whose text is TAG, keeps the name from
all other executions of all databases.

Imports nothing of Tryton or Celery.
"""
import hashlib
import itertools
import os
import re
from pathlib import PurePath

from .directories import NO_LINKS

__all__ = [
    'claim', 'free_names', 'hidden', 'is_taken', 'owner_of', 'parsed',
    'release', 'stem_of', 'tag_of', 'taken_stem']

#: longest name, in bytes, that its hidden files bear: they get 72 bytes more,
#: and the usual file system has names of 255.  A hash stands for a longer one
LONGEST = 183
#: bytes that a name has at most, and that a number leaves of it at least
NAME_MAX, SHORTEST = 255, 100

_hidden = re.compile(
    r'\.(?P<stem>.+)\.(?P<tag>[\w-]{1,24}-(?P<execution>\d+)-[0-9a-f]{12})'
    r'\.(?:part|ready)', re.DOTALL | re.ASCII)
_taken = re.compile(r'\.(.+)\.taken', re.DOTALL)


def tag_of(database, execution, *facts):
    """Return the tag of the hidden files of an execution.

    :param facts: what tells apart executions of one number, such as those of
        databases of one name
    """
    digest = hashlib.blake2b(
        repr((database, execution, *facts)).encode('utf-8', 'replace'),
        digest_size=6)
    return '%s-%s-%s' % (
        re.sub(r'[^\w-]', '_', database, flags=re.ASCII)[:24] or '_',
        execution, digest.hexdigest())


def stem_of(name):
    "Return what stands for a name in those of its hidden files."
    encoded = os.fsencode(name)
    if len(encoded) <= LONGEST:
        return name
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()


def hidden(name, tag, state):
    """Return the name of a hidden file.

    :param name: the one that it will have, or what stands for that
    :param state: part or ready
    """
    return '.%s.%s.%s' % (stem_of(name), tag, state)


def parsed(name):
    """Return what the name of a hidden file says: stem, tag, execution (id).

    None where it is not one of ours.
    """
    match = _hidden.fullmatch(name)
    return match and (match['stem'], match['tag'], int(match['execution']))


# Names that are taken

def taken_stem(name):
    "Return the stem of the name that such a link keeps, None for no link."
    match = _taken.fullmatch(name)
    return match and match[1]


def owner_of(directory, name):
    "Return the tag of who has taken a name; None if nobody has."
    try:
        return os.readlink(_link(name), dir_fd=directory.descriptor)
    except FileNotFoundError:
        return None
    except OSError:
        # No link: whoever made it, the name is not to be had
        return ''


def _link(name):
    return '.%s.taken' % stem_of(name)


def claim(directory, name, tag):
    "Take a name; return False where somebody, maybe ourselves, has it."
    try:
        os.symlink(tag, _link(name), dir_fd=directory.descriptor)
    except FileExistsError:
        return False
    except OSError as e:
        # Without such links two executions that use one name at once may
        # meet: the second of them has a file that can not appear, and says so
        if e.errno not in NO_LINKS:
            raise
    return True


def release(directory, name, tag):
    "Let others have a name that tag has taken."
    if owner_of(directory, name) == tag:
        directory.unlink(_link(name))


def is_taken(directory, name, tag, mine=False):
    """Return whether a name is in use.

    :param mine: whether it is free while only tag has taken it
    """
    owner = owner_of(directory, name)
    if owner is not None and not (mine and owner == tag):
        return True
    # In this order, as publishing links the last before it removes the others
    return any(
        directory.status(n) is not None
        for n in [hidden(name, tag, 'ready'), name])


def cut(name, size):
    "Return the beginning of a name, of at most size bytes."
    encoded = os.fsencode(name)
    if len(encoded) <= size:
        return name
    while size and encoded[size] & 0xC0 == 0x80:
        # In the middle of a character of UTF-8
        size -= 1
    return os.fsdecode(encoded[:size])


def free_names(directory, name, tag):
    "Yield a name and its successors, from about the first that is free."
    name = PurePath(name)

    def numbered(number):
        end = '_%s%s' % (number, name.suffix)
        room = NAME_MAX - len(os.fsencode(end))
        if room < SHORTEST:
            # What is behind the dot is no type of file
            return cut(name.name, NAME_MAX - 12) + '_%s' % number
        return cut(name.stem, room) + end

    if not is_taken(directory, name.name, tag, mine=True):
        yield name.name
    # Doubling and halving, or a name used n times would cost n * n / 2 looks
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
