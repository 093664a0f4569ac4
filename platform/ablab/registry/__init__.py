"""What is known: declarations and their pinned versions (files), and the index of what was run (a database).

Import the modules; this package stays empty so that reading a declaration does not import SQLAlchemy.
"""
