# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""Replaces passwords, tokens and keys by ``***`` in texts that are shown.

Imports nothing of Tryton or Celery.
"""
import json
import re
from typing import Any

__all__ = [
    'MASK', 'is_secret', 'mask_given', 'mask_line', 'mask_secrets',
    'mask_value']

#: replaces a secret
MASK = '***'
#: words in a name that mean that its value is a secret
WORDS = {'apikey', 'passphrase', 'secret', 'token'}
#: words before "key" that mean, in running text, that it is a secret
KINDS_OF_KEY = {
    'access', 'api', 'auth', 'encryption', 'private', 'secret', 'signing'}

#: a text without any of these contains no secret
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
# But not "the bearer of bad news", nor "bearer shares"
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

    :param anywhere: whether it is in running text, where "key" alone is not
        enough
    """
    words = _words(name)
    if any(w in WORDS or 'password' in w or 'passwd' in w for w in words):
        return True
    return any(
        word == 'key' and (not anywhere or before in KINDS_OF_KEY)
        for before, word in zip([None, *words], words))


def mask_secrets(text: str, anywhere: bool = True) -> str:
    """Return text with ``***`` in place of its secrets.

    These are passwords in URLs (only digits before a "/" are taken for a
    port), values that are assigned to the name of a secret, in the syntax of
    Python, JSON, libpq, a query or a command line, and the values after
    ``Authorization`` and ``Bearer``.

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
        # A colon in a sentence is not followed by a secret, but a colon of
        # JSON or of a header may be
        is_prose = ':' in sign and not found['close'] and '-' not in name
        if is_code or is_prose:
            return found[0]
    return name + found['close'] + sign + (
        found['open'] or found['inner'] or '') + MASK


def mask_value(name: str | None, value: Any) -> Any:
    """Return the value of a parameter, a setting or a unit as it is shown.

    :param name: None if the value has no name
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
    """Return the JSON of parameters, or of settings, with secrets masked.

    :param text: JSON: name -> value, or name -> [value, origin]
    """
    if text is None:
        return None
    try:
        return json.dumps({
                name: [mask_value(name, value[0]), *value[1:]]
                if isinstance(value, list) else mask_value(name, value)
                for name, value in json.loads(text).items()})
    except (AttributeError, IndexError, ValueError):
        # It was not written by the ledger
        return mask_secrets(text, anywhere=False)
