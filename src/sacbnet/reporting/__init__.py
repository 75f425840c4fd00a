"""What people read: lines and tables on the screen, what `sacbnet info` says."""
