"""Sphinx settings of the site; `lrface.site` lays out what they apply to."""

import re
from pathlib import Path

from lrface import __version__
from PIL import Image

project = "lrface"
author = "the authors of lrface"
release = __version__
language = "en"

extensions = ["myst_nb"]
exclude_patterns = ["_extra"]
# The notebooks are committed executed: a page shows what was computed, and computes nothing.
nb_execution_mode = "off"
nb_output_stderr = "remove"
nb_merge_streams = True
nb_render_markdown_format = "gfm"
# `lrface.site.prose` has turned every link to one of the site, and a test follows them all.
myst_all_links_external = True
suppress_warnings = ["mystnb.unknown_mime_type"]

html_theme = "furo"
html_title = "lrface"
html_extra_path = ["_extra"]
html_static_path = ["_static"]
html_css_files = ["vendor/dataTables.dataTables.min.css", "site.css"]
html_js_files = ["vendor/dataTables.min.js", "site.js"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
html_use_index = False
# It would read the pages that it found, which a page from a file may not.
html_show_search_summary = False
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"


TOLD = {
    "body": [
        ("<img ", '<img loading="lazy" '),  # loaded when it comes near
        ("<pre>", '<pre tabindex="0">'),  # it scrolls
        ('<summary aria-label="Toggle hidden content">', "<summary>"),
    ],
    "furo_navigation_tree": [('role="heading"', 'role="heading" aria-level="2"')],
}
"""What the theme leaves unsaid to readers who listen, use a keyboard or have a slow line."""


def setup(app):
    """Complete each page; pictures get their sides, so that nothing moves when they are loaded."""

    def sized(match):
        source = {name: file for file, name in app.builder.images.items()}.get(match[1])
        if source is None:
            return match[0]
        with Image.open(Path(app.srcdir) / source) as picture:
            width, height = picture.size
        return f'{match[0]} width="{width}" height="{height}"'

    def tell(app, page, template, context, doctree):
        for part, changes in TOLD.items():
            for before, after in changes:
                if part in context:
                    context[part] = context[part].replace(before, after)
        if "body" in context:
            context["body"] = re.sub(r'src="[^"]*_images/([^"]+)"', sized, context["body"])

    app.connect("html-page-context", tell, priority=900)  # after the theme's own
