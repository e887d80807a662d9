# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A file per chunk, and business errors; ``make demo`` runs it."""
import csv
import io

from trytond.i18n import gettext
from trytond.model import fields
from trytond.modules.batch import BatchRoot
from trytond.pool import Pool, PoolMeta

from .exceptions import LabelError


class Subdivision(metaclass=PoolMeta):
    __name__ = 'country.subdivision'

    label = fields.Char(
        "Label", readonly=True,
        help="The line that stands for the subdivision on a parcel.")


class SubdivisionLabel(BatchRoot):
    """Label the subdivisions of countries for parcels.

    Gives each the line that stands for it on a parcel, of --width characters
    at most, and writes files of these lines for those who sort the parcels.
    What has a label is left alone, but for --again.
    """
    __name__ = 'country.subdivision.label'

    default_config_items = {
        'split_size': 200,
        'filepath_template': '%{BATCHNAME}/%{EXECUTION}/%{CHUNK}-%{FILENAME}',
        }

    @classmethod
    def get_batch_main_model_name(cls):
        return 'country.subdivision'

    @classmethod
    def get_batch_domain(cls, again=False):
        return [] if again else [('label', '=', None)]

    @classmethod
    def execute(cls, objects, ids, width=40):
        Subdivision = Pool().get('country.subdivision')
        lines = io.StringIO()
        writer = csv.writer(lines)
        for subdivision in objects:
            label = subdivision.name.upper()
            if len(label) > width:
                # Fails alone: all others get their labels
                raise LabelError(gettext(
                        'batch_examples.msg_label_too_long',
                        subdivision=subdivision.code, label=label,
                        width=width))
            subdivision.label = label
            writer.writerow(
                [subdivision.code, label, subdivision.country.name])
        Subdivision.save(objects)
        # Appears when this chunk is committed, and never otherwise
        cls.write_batch_output(lines.getvalue(), 'labels.csv')
        return {'labels': len(objects)}
