# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The web client of Tryton in a real browser, without root.

Both come from npm: ``tryton-sao``, and ``@sparticuz/chromium``, whose archives
hold the browser and the libraries that a bare machine lacks.  The driver is
playwright of PyPI.  The Makefile installs all of it.
"""
import contextlib
import io
import os
import shutil
import sys
import tarfile
import urllib.request

from .process import Process, free_port

__all__ = ['Client', 'WebServer', 'launched']

#: where npm has put the client and the browser
MODULES = os.path.join(sys.prefix, 'npm', 'node_modules')
#: seconds for a server to start, and for anything that a page is to show
START, PATIENCE = 60, 30
#: milliseconds for which a person holds a button of the mouse down
CLICK = 80
#: milliseconds without a request, after which a page is complete
QUIET = 400
#: the one that comes along names a directory that is not there
FONTS = '''\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
    <dir>{0}/fonts</dir>
    <cachedir>{0}/cache</cachedir>
</fontconfig>
'''


def unpack():
    "Return the directory of the browser, unpacked once."
    import brotli
    target = os.path.join(MODULES, '.unpacked')
    if os.path.exists(target):
        return target
    source = os.path.join(MODULES, '@sparticuz', 'chromium', 'bin')

    def read(name):
        with open(os.path.join(source, name), 'rb') as file:
            return brotli.decompress(file.read())

    temporary = target + '.part'
    shutil.rmtree(temporary, ignore_errors=True)
    os.mkdir(temporary)
    for name in ['al2023.tar.br', 'fonts.tar.br']:
        with tarfile.open(fileobj=io.BytesIO(read(name))) as archive:
            archive.extractall(temporary, filter='data')
    path = os.path.join(temporary, 'chromium')
    with open(path, 'wb') as file:
        file.write(read('chromium.br'))
    os.chmod(path, 0o755)
    with open(os.path.join(temporary, 'fonts.conf'), 'w') as file:
        file.write(FONTS.format(target))
    os.rename(temporary, target)
    return target


def client_root():
    "Return the directory that trytond serves as the client."
    root = os.path.join(MODULES, '.root')
    if not os.path.exists(root):
        temporary = root + '.part'
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(os.path.join(MODULES, 'tryton-sao'), temporary)
        # npm puts what it needs beside it, and its page looks inside
        os.symlink(MODULES, os.path.join(temporary, 'node_modules'))
        os.rename(temporary, root)
    return root


class WebServer:
    "The ``trytond`` of a site, which serves the web client, too."

    def __init__(self, site, port):
        self.site = site
        self.url = 'http://127.0.0.1:%s/' % port

    @staticmethod
    def sections():
        "Return (port, sections of trytond.conf) for the site."
        port = free_port()
        return port, {
            'web': {
                'listen': '127.0.0.1:%s' % port, 'root': client_root()}}

    def start(self):
        process = Process(
            [os.path.join(sys.prefix, 'bin', 'trytond')],
            log=os.path.join(self.site.log_dir, 'trytond.log'),
            env=self.site.env, cwd=self.site.directory)
        self.site.processes.append(process)
        process.wait_until(self._answers, START, "start trytond")
        return self

    def _answers(self):
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(self.url, timeout=5) as answer:
                return answer.status == 200


class Client:
    """Somebody at a browser.

    What goes wrong in the page is in ``errors``.

    :param directory: where screenshots go
    """

    def __init__(self, browser, server, directory):
        self.context = browser.new_context(
            viewport={'width': 1366, 'height': 800}, locale='en-US',
            timezone_id='UTC')
        self.context.set_default_timeout(PATIENCE * 1000)
        self.server = server
        self.directory = directory
        self.page = self.context.new_page()
        self.errors = []
        self.page.on('pageerror', lambda e: self.errors.append(
                '%s\n%s' % (e, getattr(e, 'stack', ''))))
        # What is raised behind a promise of jQuery is no pageerror
        self.page.on('console', lambda m: self.errors.append(
                m.text) if 'exception' in m.text else None)

    def close(self):
        self.context.close()

    def log_in(self, login, password):
        "Log in, and wait for the menu."
        page = self.page
        page.goto('%s#%s' % (self.server.url, self.server.site.database))
        page.locator('.login-dialog #login').fill(login)
        self.click('.login-dialog button[type=submit]')
        page.locator('.ask-dialog input[type=password]').fill(password)
        page.keyboard.press('Enter')
        # Nobody may see anything of it
        page.locator('#menu .treeview').wait_for(state='attached')
        return self

    def settle(self):
        "Wait until the page has asked for nothing for a while."
        self.page.evaluate('window.quietSince = 0')
        self.page.wait_for_function('''() => {
            const now = performance.now();
            if (jQuery.active || !window.quietSince)
                window.quietSince = now;
            return now - window.quietSince > %s;
        }''' % QUIET)

    def shot(self, name):
        "Take a screenshot of what is there once all has come."
        self.settle()
        os.makedirs(self.directory, exist_ok=True)
        self.page.screenshot(
            path=os.path.join(self.directory, name + '.png'))

    def click(self, selector, **options):
        self.page.locator(selector).first.click(delay=CLICK, **options)

    def press(self, locator, double=False):
        "Click on what the page shows, once it stands still."
        # What a form loads late moves its buttons below the mouse
        self.settle()
        (locator.dblclick if double else locator.click)(delay=CLICK)

    def menu(self, *names):
        "Open an entry of the menu; each name is below the one before."
        for name in names:
            entry = self.page.locator('#menu').get_by_text(name, exact=True)
            if name == names[-1]:
                self.press(entry.first)
            elif not self.page.locator('#menu').get_by_text(
                    names[names.index(name) + 1], exact=True).count():
                self.press(entry.first, double=True)

    def tab(self, name):
        "Choose a tab of the one that is open: of a list, or of a form."
        self.press(self.page.locator('.tab-pane.active .nav-tabs a').filter(
                has_text=name).locator('visible=true').last)

    def row(self, text):
        "Return the row of a list that has the text."
        return self.page.locator('.tab-pane.active tr.selectable-row, '
            '.tab-pane.active tbody tr').filter(has_text=text).locator(
            'visible=true').first

    def open(self, text):
        "Open the record of the row of a list that has the text."
        self.press(
            self.row(text).locator('td').filter(has_text=text).first,
            double=True)

    def button(self, name):
        "Click on the button that has the name."
        self.press(self.page.get_by_role(
                'button', name=name, exact=True).locator('visible=true').last)

    def confirm(self):
        "Say yes to the question that is asked."
        self.press(
            self.page.locator('.modal-dialog:visible .btn-primary').last)

    def call(self, method, *params):
        "Call a method of the server as the client does; return its result."
        return self.page.evaluate(
            """([method, params]) => new Promise((done, fail) => Sao.rpc(
                {method: method, params: [...params, {}]},
                Sao.Session.current_session, true, false).then(
                    result => done(result),
                    error => fail(new Error(JSON.stringify(error)))))""",
            [method, list(params)])

    def field(self, label):
        "Return the field of the form with the label."
        return self.page.get_by_label(label, exact=True).locator(
            'visible=true').last

    def enter(self, label, text):
        "Enter a text into a field."
        self.field(label).click(delay=CLICK)
        # Some put another element there while one types
        self.page.locator('input:focus, textarea:focus').fill(text)
        self.page.keyboard.press('Tab')

    def reload(self):
        "Read the record anew that is shown."
        self.click('#reload:visible')

    def see(self, text):
        "Wait until the text is there to be read."
        self.page.get_by_text(text).locator('visible=true').first.wait_for()


@contextlib.contextmanager
def launched():
    "Give the browser."
    from playwright.sync_api import sync_playwright
    directory = unpack()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.path.join(directory, 'chromium'),
            args=['--no-sandbox', '--no-zygote', '--disable-gpu',
                '--headless'],
            env={
                'PATH': os.defpath, 'HOME': directory,
                'LD_LIBRARY_PATH': os.path.join(directory, 'lib'),
                'FONTCONFIG_FILE': os.path.join(directory, 'fonts.conf')})
        try:
            yield browser
        finally:
            browser.close()
