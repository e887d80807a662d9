# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""How Sphinx builds these documents: ``make doc``.

They link to each other by file name, as ``usage.rst#for-authors``, because
that is what a forge understands, which shows the files as they are.  Two
transforms make of it what HTML needs, and warn of a link that leads nowhere.
Nothing is fetched from the network.
"""
import configparser
import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging

ROOT = Path(__file__).resolve().parent.parent
logger = logging.getLogger(__name__)


def read_module():
    "Return the declaration of the module, which names its version."
    declaration = configparser.ConfigParser()
    declaration.read(ROOT / 'batch' / 'tryton.cfg')
    return declaration['tryton']


project = 'trytond-batch'
author = "The trytond-batch contributors"
copyright = "2026 " + author
release = read_module()['version']
version = '.'.join(release.split('.')[:2])
master_doc = 'index'
html_title = "Batches for Tryton"
html_theme = 'alabaster'
html_theme_options = {
    'description': "Batches for Tryton", 'fixed_sidebar': True,
    'page_width': '1080px', 'sidebar_width': '240px'}
html_copy_source = False
highlight_language = 'none'
nitpicky = True


def split_link(node):
    "Return the path and the fragment of a reference to a file, or None."
    uri = node.get('refuri', '')
    if not uri or re.match(r'[a-z][a-z+.-]*:|/', uri):
        return None
    path, _, fragment = uri.partition('#')
    return path, fragment


class SourceLinks(SphinxTransform):
    """Let a link to a file outside of doc/ become a download of it.

    While a document is read, because that is when Sphinx collects downloads.
    It warns of a file that is not there.
    """
    # Before 880, at which it does so
    default_priority = 800

    def apply(self):
        for node in list(self.document.findall(nodes.reference)):
            path, _ = split_link(node) or (None, None)
            if path and path.startswith('../'):
                node.replace_self(addnodes.download_reference(
                        '', '', *node.children, refdomain='', reftarget=path,
                        refdoc=self.env.docname, refwarn=True))


class DocumentLinks(SphinxPostTransform):
    """Let a link to another document lead to its page.

    After all documents were read, as the fragment is one of the other's.
    """
    default_priority = 5

    def run(self):
        for node in list(self.document.findall(nodes.reference)):
            link = split_link(node)
            if link and not node.get('internal'):
                self.resolve(node, *link)

    def resolve(self, node, path, fragment):
        document = self.env.docname
        if path:
            name, _ = self.env.relfn2path(path)
            document = self.env.path2doc(name)
        if document not in self.env.found_docs:
            logger.warning("no document %r", path, location=node)
            return
        known = {
            id_ for element in self.env.get_doctree(document).findall(
                nodes.Element) for id_ in element['ids']}
        if fragment and fragment not in known:
            logger.warning(
                "no section %r in %r", fragment, path or document,
                location=node)
        node['refuri'] = self.app.builder.get_relative_uri(
            self.env.docname, document) + (fragment and '#' + fragment)
        node['internal'] = True


def setup(app):
    app.add_transform(SourceLinks)
    app.add_post_transform(DocumentLinks)
    return {'parallel_read_safe': True, 'parallel_write_safe': True}
