# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What an operator types, and what is answered; nobody imports it but coop.

``cli`` parses and hands the options to a function of ``run``, ``show`` or
``manage``.  These import Tryton inside of their functions only, since
``environment`` has to load its configuration first.
"""
