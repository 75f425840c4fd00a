"""Settings of Sphinx: `make docs` builds docs/_build/html, and a warning is an error."""

from sacbnet.environment import VERSION

project = "sacbnet"
author = "the sacbnet developers"
release = version = VERSION

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
exclude_patterns = ["_build"]
templates_path = ["_templates"]

# Pages are Markdown; headings get the anchors that GitHub gives them
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]

# The API reference: every public name of a module, in the order of the source, with its NumPy-style
# docstring
autosummary_generate = True
default_role = "py:obj"  # a name between single backticks is a link
autodoc_default_options = {"members": True, "ignore-module-all": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
numpydoc_show_class_members = False
python_use_unqualified_type_names = True
add_module_names = False

html_theme = "pydata_sphinx_theme"
html_title = f"sacbnet {release}"
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "show_prev_next": True,
    "header_links_before_dropdown": 6,
}
