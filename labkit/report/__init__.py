"""From run folders to a document: ``settings`` (the student's part), ``document`` (one source), ``render``."""
