# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Sends mails at once, and says which of them could not be sent."""
import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from urllib.parse import urlsplit

import trytond.config as config
from trytond.sendmail import get_smtp_server, send_message

__all__ = ['Mail', 'send']

#: seconds for which a server may be silent
TIMEOUT = 10


@dataclass(frozen=True)
class Mail:
    "A mail to one address."
    to: str
    subject: str
    text: str
    html: str | None = None

    def message(self) -> EmailMessage:
        "Return the message; raises ValueError if the address can be none."
        message = EmailMessage()
        message['From'] = config.get('email', 'from')
        message['To'] = self.to
        message['Subject'] = self.subject
        # Nobody's absence has to be answered
        message['Auto-Submitted'] = 'auto-generated'
        message.set_content(self.text)
        if self.html is not None:
            message.add_alternative(self.html, subtype='html')
        return message


def send(mails: Iterable[Mail]) -> Iterator[tuple[Mail, Exception]]:
    "Send mails, and yield those that could not be sent, with the reason."
    server, mails = None, iter(mails)
    for mail in mails:
        try:
            if server is None:
                server = get_smtp_server(
                    in_time(config.get('email', 'uri')), strict=True)
            server = send_message(mail.message(), server=server, strict=True)
        except Exception as error:
            yield mail, error
            if server is None:
                # Each of the others would wait for it, too
                for other in mails:
                    yield other, error
    if server is not None:
        with contextlib.suppress(Exception):
            server.quit()


def in_time(uri: str) -> str:
    "Return the URI of the server with a timeout, if it has none."
    if 'timeout=' in urlsplit(uri).query:
        return uri
    return uri + ('&' if '?' in uri else '?') + 'timeout=%s' % TIMEOUT
