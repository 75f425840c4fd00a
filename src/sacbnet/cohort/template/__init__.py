"""A template of a group: a mean image in the mean shape, and every image's transform to it."""

from .build import Template, build_template
from .plan import TemplateOptions

__all__ = ["Template", "TemplateOptions", "build_template"]
