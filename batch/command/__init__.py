# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The commands of ``coop``; only the script ``coop`` imports them.

``cli`` parses the arguments and passes the options to a function of ``run``,
``show`` or ``manage``.  These import Tryton inside of their functions only,
because ``environment`` has to load its configuration first.
"""
