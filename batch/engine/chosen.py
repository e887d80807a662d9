# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Which failures somebody means who names their units.

A unit is named by the text with which it is shown everywhere.
"""
from collections.abc import Collection, Sequence

from .. import ledger, texts
from ..aliases import Cursor
from ..exceptions import ExecutionError
from ..ledger.rows import ExecutionRow
from ..ledger.states import OPEN_EXECUTIONS, FailureState, Finish

__all__ = ['among', 'candidates', 'chosen', 'next_step', 'units_in']

#: characters of a text of a unit, and what its cutting may add
LONGEST = texts.EXCERPT + 100
#: how many units an error names
NAMED = 10


def candidates(text: str) -> set[str]:
    """Return all texts of units that a list with commas may name.

    There may be commas in a unit, too: (5, 2026-01-31).
    """
    parts, found = text.split(','), set[str]()
    for start in range(len(parts)):
        candidate = parts[start]
        found.add(candidate.strip())
        for part in parts[start + 1:]:
            candidate += ',' + part
            if len(candidate) > LONGEST:
                break
            found.add(candidate.strip())
    return found


def units_in(
        text: str, known: Collection[str]) -> tuple[list[str], list[str]]:
    """Return (the known units that a text names, what else it names).

    The longest comes first: "a,b" is that unit where there is one.
    """
    parts, start = text.split(','), 0
    found: list[str] = []
    unknown: list[str] = []
    if text.strip() in known:
        return [text.strip()], []
    while start < len(parts):
        candidate = ''
        best: tuple[str, int] | None = None
        for end in range(start + 1, len(parts) + 1):
            candidate = parts[start] if end == start + 1 \
                else '%s,%s' % (candidate, parts[end - 1])
            if candidate.strip() in known:
                best = candidate.strip(), end
            if len(candidate) > LONGEST:
                break
        if best is None:
            if parts[start].strip():
                unknown.append(parts[start].strip())
            start += 1
        else:
            found.append(best[0])
            start = best[1]
    return found, unknown


def chosen(
        cursor: Cursor, execution: int, row: ExecutionRow,
        named: Sequence[str]) -> list[int] | None:
    """Return the ids of the failures that are meant, None for all open ones.

    Raises ExecutionError where there are none, or not those.

    :param row: ``state`` and ``dry_run`` of the execution
    :param named: texts, each with units
    """
    check_ended(execution, row)
    wanted = set[str]().union(*map(candidates, named))
    ids: dict[str, list[int]] = {}
    first: list[str] = []
    count = 0
    # Without texts, it is enough that there is one
    for id, text in ledger.failed_units.list_free(
            cursor, execution, limit=None if named else 1):
        count += 1
        if len(first) < NAMED:
            first.append(text)
        if text in wanted:
            ids.setdefault(text, []).append(id)
    if not count:
        raise ExecutionError(execution, why_none(cursor, execution))
    if not named:
        return None
    meant: set[str] = set()
    unknown: list[str] = []
    for text in named:
        units, others = units_in(text, ids)
        meant.update(units)
        unknown.extend(others)
    if unknown or not meant:
        raise ExecutionError(execution, 'has no open failure of unit %s; '
            'there %s %s%s' % (
                ', '.join(unknown[:NAMED]) or '""',
                'is one of' if count == 1 else 'are those of',
                ', '.join(first),
                ' ... (+{:,})'.format(count - NAMED)
                if count > NAMED else ''))
    return sorted(id for text in meant for id in ids[text])


def among(
        cursor: Cursor, execution: int, row: ExecutionRow,
        ids: Collection[int]) -> list[int]:
    """Return those of the failures that nobody retried or dismissed.

    Raises ExecutionError if there are none.

    :param row: ``state`` and ``dry_run`` of the execution
    :param ids: of failures of the execution
    """
    check_ended(execution, row)
    free = {id for id, _ in ledger.failed_units.list_free(cursor, execution)}
    if not (found := sorted(free.intersection(ids))):
        raise ExecutionError(
            execution, why_none(cursor, execution) if not free
            else 'has no open failure among these: look again')
    return found


def check_ended(execution: int, row: ExecutionRow) -> None:
    "Raise ExecutionError if there can be no open failures of it."
    if row['dry_run']:
        raise ExecutionError(
            execution, 'was a dry run: there is nothing to do again')
    if row['state'] in OPEN_EXECUTIONS:
        raise ExecutionError(execution, 'is %s: wait for its end, or '
            'cancel it' % row['state'])


def why_none(cursor: Cursor, execution: int) -> str:
    "Return why an execution has no failure that waits for somebody."
    counts = ledger.failed_units.count_by_state(cursor, execution)
    step = next_step(cursor, execution)
    if not counts:
        return 'has no failed units%s' % ('; ' + step if step else '')
    if retries := ledger.failed_units.retries(cursor, execution):
        return 'was retried as %s; %s' % (
            ', '.join('#%s' % id for id in retries),
            step or 'nothing is left to do')
    return 'has no open failures: %s' % ', '.join(
        '{:,} {}'.format(counts[name], name)
        for name in FailureState if name in counts)


def next_step(cursor: Cursor, execution: int) -> str | None:
    """Return the command that goes on with what is not done, None for none.

    Failed units are followed through the executions that retried them.
    """
    todo = [execution]
    # They grow while they are read
    for id in todo:
        row = ledger.executions.existing(
            cursor, id, 'state', 'left', 'missing', 'finish')
        if row['state'] in OPEN_EXECUTIONS:
            return '#%s is %s: coop show %s' % (id, row['state'], id)
        if ledger.failed_units.has_free(cursor, id):
            return 'what failed there: coop retry %s' % id \
                if id != execution else 'failed units: coop retry %s' % id
        if row['left'] or row['missing'] or row['finish'] == Finish.FAILED:
            return 'what is left of #%s: coop resume %s' % (id, id)
        todo += ledger.failed_units.retries(cursor, id)
    return None
