# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A batch that sends e-mails, in each of the ways to do so."""
import smtplib
from email.message import EmailMessage

from trytond.exceptions import UserError
from trytond.modules.batch import BatchRoot
from trytond.sendmail import send_message, send_message_transactional


class Mailing(BatchRoot):
    "Send a mail for each record"
    __name__ = 'batch.scenario.mailing'

    @classmethod
    def get_batch_main_model_name(cls):
        return 'batch.scenario.record'

    @classmethod
    def mail(cls, subject):
        mail = EmailMessage()
        mail['From'] = 'from@example.com'
        mail['To'] = 'to@example.com'
        mail['Bcc'] = 'hidden@example.com'
        mail['Subject'] = subject
        mail.set_content('\u00dc')
        return mail

    @classmethod
    def execute(cls, objects, ids, strict=False):
        for record in objects:
            send_message_transactional(cls.mail(record.name), strict=strict)
            if record.bad:
                raise UserError('A record is bad.')

    @classmethod
    def finish(cls, outcome, files):
        send_message(cls.mail('at once'), strict=True)
        with smtplib.SMTP_SSL('mail.example.com') as server:
            server.login('user', 'secret')
            server.send_message(cls.mail('by hand'))
        send_message_transactional(cls.mail('end'))
