"""The page `report.html` of a registration: pictures, numbers and the command, in one file."""
