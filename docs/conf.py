"""Configuration of the documentation site. `make docs` builds it."""

import os
import sys

sys.path.insert(0, os.path.abspath('..'))

import mmseg_bpkd

project = 'mmseg_bpkd'
author = copyright = 'The mmseg_bpkd contributors'
version = release = mmseg_bpkd.__version__

extensions = [
    'myst_nb',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx.ext.viewcode',
    'sphinx_copybutton',
]
exclude_patterns = ['_build', 'jupyter_execute']  # myst_nb writes the executed notebook into the latter
smartquotes = False  # quotes in docstrings are code
default_role = 'code'  # single backticks in docstrings
html_theme = 'furo'
html_title = f'mmseg_bpkd {version}'
html_static_path = []
html_domain_indices = False

myst_heading_anchors = 3
myst_fence_as_directive = ['math']  # GitHub's blocks of formulas
nb_execution_mode = 'force'
nb_execution_timeout = 1800  # seconds for one cell; it takes two or three minutes on a quiet machine
nb_execution_raise_on_error = True

autodoc_default_options = {'members': True, 'show-inheritance': True}
autodoc_inherit_docstrings = False
autodoc_member_order = 'bysource'
autodoc_typehints = 'description'
