# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""What one run is given: settings, which hold for it alone, and parameters.

No parameter has the name of a setting, so both come together.

Imports nothing of Tryton or Celery.
"""
from typing import Any

from .aliases import Given
from .exceptions import SettingError
from .settings import SETTINGS, Setting

__all__ = ['COMMAND_LINE', 'setting_of', 'split_given']

#: the origin of what a run is given
COMMAND_LINE = 'the command line'


def setting_of(name: str) -> tuple[Setting | None, bool | None]:
    """Return the Setting that an option names, and whether it is yes or no.

    (None, None) where it names none.  Like a parameter that is a bool, a
    setting that is yes or no needs no value: ``--isolate``, ``--no-isolate``.
    """
    name = name.replace('-', '_')
    setting = SETTINGS.get(name)
    if setting is not None:
        return setting, True if _is_flag(setting) else None
    setting = SETTINGS.get(name.removeprefix('no_'))
    if setting is not None and _is_flag(setting):
        return setting, False
    return None, None


def _is_flag(setting: Setting) -> bool:
    return isinstance(setting.default, bool)


def split_given(
        batch: str, given: Given) -> tuple[dict[str, Any], Given]:
    """Return the settings and the parameters among what a run is given.

    The settings are JSON values by name, the parameters are texts as they
    were given.  Raises SettingError.

    :param given: names with dashes or underscores
    """
    settings: dict[str, Any] = {}
    parameters = {}
    for name, text in given.items():
        setting, flag = setting_of(name)
        if setting is None:
            parameters[name] = text
            continue
        if setting.name in settings:
            raise SettingError(batch, setting.name, 'is given twice')
        settings[setting.name] = _value(batch, setting, flag, text)
    return settings, parameters


def _value(
        batch: str, setting: Setting, flag: bool | None,
        text: str | None) -> Any:
    if text is None:
        if flag is None:
            raise SettingError(batch, setting.name,
                'needs a value, expected %s' % setting.form)
        return flag
    if flag is False:
        raise SettingError(batch, setting.name, 'takes no value with --no-%s'
            % setting.name.replace('_', '-'))
    try:
        return setting.value_of(text)
    except ValueError as error:
        raise SettingError(batch, setting.name, str(error)) from None
