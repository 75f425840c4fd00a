"""One module for each family of file formats; `sacbnet.io.table` collects the classes."""
