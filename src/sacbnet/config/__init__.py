"""Options: what a user may choose, as immutable values that know which values are valid.

Each kind of option is a frozen dataclass. `build` makes these dataclasses from tables, `toml` reads
and writes TOML files, `validation` holds the checks, and `recipe` joins the options of one training
run. No module of this room imports torch, so a recipe can be read and checked in a few
milliseconds.
"""
