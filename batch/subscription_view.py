# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What users subscribe to, and the digest that Tryton's scheduler sends."""
import logging
from collections import defaultdict

from trytond.i18n import gettext
from trytond.model.exceptions import ValidationError
from trytond.pool import Pool, PoolMeta
from trytond.transaction import Transaction

from . import digest, digest_text, ledger
from .batch import get_batches
from .engine import telling
from .ledger.states import Event
from .mailing import Mail, send
from .view_tools import title_of

__all__ = ['Cron', 'Rule', 'Subscription']

logger = logging.getLogger(__name__)


class Subscription(metaclass=PoolMeta):
    __name__ = 'batch.subscription'

    @classmethod
    def default_user(cls):
        return Transaction().user or None

    @classmethod
    def default_event(cls):
        return Event.FAILURE.value

    @classmethod
    def default_by_notification(cls):
        return True

    @classmethod
    def get_batches(cls):
        return [(None, gettext('batch.msg_all_batches'))] + sorted(
            ((name, '%s (%s)' % (title_of(name), name))
                for name in get_batches()), key=lambda item: item[1])

    def get_rec_name(self, name):
        return '%s: %s' % (self.user.rec_name, self.batch_string)

    @classmethod
    def copy(cls, subscriptions, default=None):
        default = {} if default is None else dict(default)
        default.setdefault('digest_until')
        return super().copy(subscriptions, default=default)

    @classmethod
    def validate_fields(cls, subscriptions, field_names):
        super().validate_fields(subscriptions, field_names)
        for subscription in subscriptions:
            if not (subscription.by_notification or subscription.by_mail
                    or subscription.by_error
                    and subscription.event != Event.DIGEST):
                raise ValidationError(
                    gettext('batch.msg_subscription_no_way'))
            if subscription.by_mail and not subscription.user.email:
                raise ValidationError(gettext(
                        'batch.msg_subscription_no_address',
                        user=subscription.user.rec_name))

    @classmethod
    def send_digests(cls):
        "Tell each user of what happened since the last digest."
        cursor = Transaction().connection.cursor()
        until = ledger.tables.now(cursor)
        by_user = defaultdict(list)
        for subscription in cls.search([
                    ('event', '=', Event.DIGEST.value)]):
            by_user[subscription.user].append(subscription)
        for user, subscriptions in by_user.items():
            if telling.may_be_told(user) \
                    and cls._send_digest(user, subscriptions, until):
                cls.write(subscriptions, {'digest_until': until})

    @classmethod
    def _send_digest(cls, user, subscriptions, until):
        "Tell a user; return False if a mail has to be sent the next time."
        pool = Pool()
        Notification = pool.get('res.notification')
        names = [s.batch for s in subscriptions]
        found = digest.Digest.load(
            Transaction().connection.cursor(),
            min(s.digest_until or until - digest.DAY for s in subscriptions),
            until, None if None in names else set(names))
        with telling.speaking(user):
            label = digest_text.label_of(found)
            if any(s.by_notification for s in subscriptions):
                Notification.create([telling.notification(
                            user, label, digest_text.period_of(found),
                            [row['id'] for row in found.failed],
                            is_good=not (found.failed or found.overdue))])
            mail = Mail(
                user.email, label, digest_text.as_text(found),
                digest_text.as_html(found))
        if not any(s.by_mail for s in subscriptions) or not user.email:
            return True
        for _, error in send([mail]):
            logger.error(
                "the digest for %s was not sent, and will be with the next "
                "one: %s", user.email, error)
            return False
        return True


class Cron(metaclass=PoolMeta):
    __name__ = 'ir.cron'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.method.selection.append(
            ('batch.subscription|send_digests', "Send Digests of Batches"))


class Rule(metaclass=PoolMeta):
    __name__ = 'ir.rule'

    @classmethod
    def _get_context(cls, model_name):
        context = super()._get_context(model_name)
        if model_name == 'batch.subscription':
            context['user_id'] = Transaction().user
        return context

    @classmethod
    def _get_cache_key(cls, model_names):
        key = super()._get_cache_key(model_names)
        if 'batch.subscription' in model_names:
            key = (*key, Transaction().user)
        return key
