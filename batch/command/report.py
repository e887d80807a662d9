# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The command report: the night on one page."""
from ..exceptions import BatchError
from .environment import pool_of
from .streams import written

__all__ = ['report']


def report(options):
    from .. import ledger
    from ..digest import Digest
    from ..digest_text import as_html, as_text, label_of
    from ..mailing import Mail, send
    with pool_of(options) as transaction:
        cursor = transaction.connection.cursor()
        digest = Digest.load(cursor, options.since, ledger.tables.now(cursor))
        text, label = as_text(digest), label_of(digest)
        html = as_html(digest) if options.html else None
    if not options.mail:
        print(text if html is None else html, end='')
        return written()
    problems = [
        'to "%s": %s: %s' % (mail.to, type(error).__name__, error)
        for mail, error in send(
            Mail(to, label, text, html) for to in options.mail)]
    if problems:
        raise BatchError('the report was not sent %s; check [email] uri of '
            'trytond.conf' % '; '.join(problems))
    print('sent to %s' % ', '.join(options.mail))
    return written()
