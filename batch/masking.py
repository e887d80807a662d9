# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Passwords, tokens and keys: what is shown has ``***`` in their place.

Imports nothing of Tryton or Celery.
"""
import json
import re
from typing import Any

__all__ = [
    'MASK', 'is_secret', 'mask_given', 'mask_line', 'mask_secrets',
    'mask_value']

#: what stands for a secret
MASK = '***'
#: the words of a name that say that its value is one
WORDS = {'apikey', 'passphrase', 'secret', 'token'}
#: what makes one of a "key", which is any key else, in running text
KINDS_OF_KEY = {
    'access', 'api', 'auth', 'encryption', 'private', 'secret', 'signing'}

#: without one of these there is nothing to look for
HINTS = (
    '://', 'authorization', 'bearer', 'key', 'passphrase', 'passw', 'secret',
    'token')

# From the colon before the password to the last "@" before the next URL, as
# people do not quote "@" and "/"; a colon may also come before a port
_url = re.compile(
    r'(://[^\s:/]*:)(?!\d{1,5}(?:[^\w@]|$))(?:(?!://)\S)*@')
_authorization = re.compile(
    r'(authorization\\?["\']?\s*[:=]\s*\\?["\']?'
    r'(?:basic|bearer|digest|negotiate|token)\s+)[^\s"\'\\]+', re.IGNORECASE)
# Not the bearer of bad news, nor that of shares
_bearer = re.compile(
    r'\b(Bearer\s+)(?!(?:of|and|or|is|bonds?|shares?|cheques?|tokens?'
    r'|auth\w*|realm|scheme)\b)[\w.~+/-]{3,}=*'
    r'|\b(bearer\s+)(?=[\w.~+/-]*\d)[\w.~+/-]{8,}=*')
# An option of a command, as typed or as a list of arguments
_option = re.compile(
    r'(--([\w-]+)(?:\s+|["\'],\s*["\']))(?!-)[^\s"\']+')
# As PostgreSQL quotes the row that breaks a constraint
_detail = re.compile(r'(\((\w+)\)=\()[^)]*(?=\))')
_assignment = re.compile(
    r'(?<![\w-])(?P<name>'
    r'[\w-]{0,40}(?:passw|passphrase|secret|token|key)[\w-]{0,40})'
    r'(?P<close>\\?["\']?)(?P<sign>\s*(?:=(?!=)|:)\s*)(?:'
    r'(?P<open>[bfru]{0,2}(?P<quote>["\']))'
    r'(?:\\.|(?!(?P=quote))[^\\\n])+'
    # In a text that is quoted itself
    r'|(?P<inner>\\["\'])[^\\\n]+'
    r'|(?P<plain>[^\s&;,"\'(){}\[\]<>\\]+)(?P<call>[(\[]?))', re.IGNORECASE)


def _words(name: str) -> list[str]:
    name = re.sub(r'([a-z0-9])([A-Z])', r'\1_\2', name)
    return [
        word.rstrip('0123456789')
        for word in re.split(r'[^a-z0-9]+', name.lower())]


def is_secret(name: str, anywhere: bool = False) -> bool:
    """Return whether a name, as ``api_key``, says that its value is a secret.

    :param anywhere: found in running text, where "key" may be any key
    """
    words = _words(name)
    if any(w in WORDS or 'password' in w or 'passwd' in w for w in words):
        return True
    return any(
        word == 'key' and (not anywhere or before in KINDS_OF_KEY)
        for before, word in zip([None, *words], words))


def mask_secrets(text: str, anywhere: bool = True) -> str:
    """Return text with ``***`` for the secrets that it tells.

    These are the passwords in URLs (of which one of only digits before a "/"
    is taken for a port), what is assigned to a name of a secret, in the
    manners of Python, JSON, libpq, of a query and of a command line, and what
    follows ``Authorization`` and ``Bearer``.

    :param anywhere: see is_secret
    """
    lower = text.lower()
    if not any(hint in lower for hint in HINTS):
        return text
    text = _url.sub(r'\1***@', text)
    text = _authorization.sub(r'\1***', text)
    text = _bearer.sub(lambda found: (found[1] or found[2]) + MASK, text)

    def named(found: re.Match[str]) -> str:
        return found[1] + MASK if is_secret(found[2], anywhere) else found[0]

    text = _option.sub(named, text)
    text = _detail.sub(named, text)
    return _assignment.sub(
        lambda found: _mask_assigned(found, anywhere), text)


def _mask_assigned(found: re.Match[str], anywhere: bool) -> str:
    name, sign, plain = found['name'], found['sign'], found['plain']
    if not is_secret(name, anywhere):
        return found[0]
    if plain is not None:
        is_code = (
            plain in {'None', 'True', 'False', 'null', 'true', 'false', name}
            or found['call'] or plain.endswith('.' + name))
        # After the colon of a sentence comes no secret: but for one of JSON,
        # and of a header
        is_prose = ':' in sign and not found['close'] and '-' not in name
        if is_code or is_prose:
            return found[0]
    return name + found['close'] + sign + (
        found['open'] or found['inner'] or '') + MASK


def mask_value(name: str | None, value: Any) -> Any:
    """Return the value of a parameter, a setting or a unit as it is shown.

    :param name: None where it has none
    :param value: a text, which may be JSON, or a value of JSON
    """
    if name is not None and is_secret(str(name)):
        return MASK
    if isinstance(value, dict):
        return {k: mask_value(k, v) for k, v in value.items()}
    if isinstance(value, list):
        return [mask_value(None, v) for v in value]
    if isinstance(value, tuple):
        return tuple(mask_value(None, v) for v in value)
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith('{'):
        try:
            found = json.loads(value)
            masked = mask_value(None, found)
        except (ValueError, RecursionError):
            return mask_secrets(value, anywhere=False)
        return value if masked == found else json.dumps(masked)
    return mask_secrets(value)


def mask_line(line: str) -> str:
    "Return a line of a configuration file, which may be malformed."
    name, _, rest = line.partition(' ')
    if rest and is_secret(name):
        return '%s %s' % (name, MASK)
    return mask_secrets(line, anywhere=False)


def mask_given(text: str | None) -> str | None:
    """Return the JSON of parameters, or of settings, with masks.

    :param text: by name a value, or a list of a value and its origin
    """
    if text is None:
        return None
    try:
        return json.dumps({
                name: [mask_value(name, value[0]), *value[1:]]
                if isinstance(value, list) else mask_value(name, value)
                for name, value in json.loads(text).items()})
    except (AttributeError, IndexError, ValueError):
        # Somebody else has written it
        return mask_secrets(text, anywhere=False)
