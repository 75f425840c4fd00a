"""One module for each kind of dataset; `sacbnet.data.source` collects the classes."""
