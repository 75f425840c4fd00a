"""Options from tables (of TOML or JSON) and back, by cattrs.

Values are checked and not converted silently.

An error is one `InputError` that names the option by its path, such as ``run.steps`` or
``method['ours'].stage[0].share``, the value seen and what was expected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from cattrs import AttributeValidationNote, BaseValidationError, Converter, ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn, override

from sacbnet.errors import InputError

from .validation import OptionError, choices

T = TypeVar("T")
KEY = "key"  # in the metadata of a dataclass's field: the option's name in files, where it differs

_WORDS = {
    str: ("text", "texts"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "values true or false"),
}
_MOST = 2**63  # TOML's whole numbers have 64 bits


def build(kind: type[T], table: Mapping[str, Any], what: str) -> T:
    """Make options from a table.

    Parameters
    ----------
    kind : type
        The dataclass of the options. Options that the table leaves out have their defaults.
    table : mapping
        Name of an option -> its value; a section is a table of its own. Lists become tuples, and a
        whole number may stand for a number. No other value is converted.
    what : str
        What the options belong to, for messages: "the recipe".

    Returns
    -------
    kind
        The options.

    Raises
    ------
    InputError
        For an option that is not known, lacks, or has a value that is not valid; the message names
        it.

    Examples
    --------
    >>> from sacbnet.config.augmentation import Augmentation
    >>> build(Augmentation, {"flip": [0], "noise": 1}, "the augmentation").noise
    1.0
    """
    try:
        return CONVERTER.structure(table, kind)
    except (BaseValidationError, OptionError) as error:
        raise _sentence(error, what, "") from error


def conform(options: object) -> None:
    """Check the types of all options; to be called first in a dataclass's ``__post_init__``.

    So options that are made in Python are checked like those of a file. Lists become tuples, whole
    numbers become floats where the option is a number.

    Parameters
    ----------
    options : object
        The dataclass that holds the options; its values are replaced where they are converted.

    Raises
    ------
    OptionError
        For the first option whose value has another type than its annotation.
    """
    hints = get_type_hints(type(options))
    for field in fields(options):  # type: ignore[arg-type]
        value = getattr(options, field.name)
        try:
            found = CONVERTER.structure(value, hints[field.name])
        except OptionError as error:
            raise OptionError(field.name, value, error.expected) from None
        except BaseValidationError as error:
            raise _sentence(error, "the value", field.name) from error
        object.__setattr__(options, field.name, found)


def plain(options: object) -> dict[str, Any]:
    """Turn options into a table.

    Parameters
    ----------
    options : object
        The dataclass that holds the options.

    Returns
    -------
    dict
        What `build` takes: nested dictionaries of numbers, texts, booleans and lists.
    """
    plain: dict[str, Any] = CONVERTER.unstructure(options)
    return plain


def _scalar(value: Any, kind: Any) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if -_MOST <= value < _MOST else value
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise OptionError("", value, _WORDS[kind][0])
    if kind is int and not -_MOST <= value < _MOST:
        raise OptionError("", value, "a whole number of at most 64 bits")
    return value


def _choice(value: Any, kind: Any) -> Any:
    if not any(value == known and type(value) is type(known) for known in get_args(kind)):
        raise OptionError("", value, choices(get_args(kind)))
    return value


def _words(kind: Any) -> str:
    """The plural of a type, for a message."""
    return f"lists of {_words(get_args(kind)[0])}" if get_origin(kind) is tuple else _WORDS[kind][1]


def _tuple_of(kind: Any) -> Callable[[Any, Any], Any]:
    """How a tuple is made from a list; its length is for the dataclass to check."""
    inner = get_args(kind)[0]
    tables = is_dataclass(inner)

    def structure(value: Any, _: Any) -> Any:
        if tables and not (isinstance(value, list | tuple) and all(map(_is_table, value))):
            raise OptionError("", value, "a list of tables")
        if not isinstance(value, list | tuple):
            raise OptionError("", value, "a list")
        if tables:
            return tuple(_element(n, table, inner) for n, table in enumerate(value))
        try:
            return tuple(CONVERTER.structure(element, inner) for element in value)
        except OptionError:
            raise OptionError("", value, f"a list of {_words(inner)}") from None

    return structure


def _mapping(value: Any, _: Any) -> dict[str, Any]:
    """Parameters by name; what they may be is for the dataclass to check."""
    if not isinstance(value, Mapping):
        raise OptionError("", value, "a section of options")
    return dict(value)


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping) or is_dataclass(value)


def _element(n: int, table: Any, kind: Any) -> Any:
    """One table of a list, by its name in messages if it has one."""
    if isinstance(table, kind):
        return table
    try:
        return CONVERTER.structure(table, kind)
    except (BaseValidationError, OptionError) as error:
        name = table.get("name")
        place = f"[{name!r}]" if isinstance(name, str) else f"[{n}]"
        error.add_note(AttributeValidationNote("in a list", place, kind))
        raise


def _table_of(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    """How a dataclass is made from a table."""
    renamed: dict[str, Any] = {field.name: override(rename=_key(field)) for field in fields(kind)}
    structure = make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True, **renamed)

    def checked(value: Any, asked: Any) -> Any:
        if isinstance(value, kind):
            return value
        if not isinstance(value, Mapping):
            raise OptionError("", value, "a section of options")
        return structure(value, asked)

    return checked


def _key(field: Any) -> str:
    return str(field.metadata.get(KEY, field.name))


def _sentence(error: BaseException, what: str, path: str) -> InputError:
    """The first error of a group as one sentence, with its path; an unknown option comes first."""
    if isinstance(error, ForbiddenExtraKeysError):
        known = ", ".join(_key(field) for field in fields(error.cl))
        unknown = sorted(map(str, error.extra_fields))[0]
        return InputError(
            f"{what} has no option {_joined(path, unknown)}; known are {known or 'none'}"
        )
    if isinstance(error, BaseValidationError):
        errors = error.exceptions
        first = next((e for e in errors if isinstance(e, ForbiddenExtraKeysError)), errors[0])
        named = fields(error.cl) if is_dataclass(error.cl) else ()
        keys = {field.name: _key(field) for field in named}
        notes = [n for n in getattr(first, "__notes__", ()) if _names(n)]
        for note in reversed(notes):  # the innermost was added first
            path = _joined(path, keys.get(note.name, note.name))
        return _sentence(first, what, path)
    if isinstance(error, OptionError):
        return OptionError(_joined(path, error.option) or what, error.value, error.expected)
    if isinstance(error, KeyError):
        return InputError(f"{what} lacks the option {path}")
    if isinstance(error, InputError):
        return error
    raise error  # no error of the user's


def _names(note: object) -> bool:
    return isinstance(note, AttributeValidationNote)


def _joined(path: str, name: str) -> str:
    return path + name if not path or name.startswith("[") or not name else f"{path}.{name}"


def _origin(kind: object) -> object:
    return get_origin(kind)


def _converter() -> Converter:
    converter = Converter(unstruct_collection_overrides={tuple: list})
    for kind in _WORDS:
        converter.register_structure_hook(kind, _scalar)
    converter.register_structure_hook_func(lambda kind: _origin(kind) is Literal, _choice)
    converter.register_structure_hook_func(lambda kind: kind == dict[str, Any], _mapping)
    converter.register_structure_hook_factory(lambda kind: _origin(kind) is tuple, _tuple_of)
    converter.register_structure_hook_factory(
        lambda kind: isinstance(kind, type) and is_dataclass(kind), _table_of
    )
    return converter


CONVERTER = _converter()
