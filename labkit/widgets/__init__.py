"""Widgets: figures of the notebooks that follow a control. Each stands beside its still twin, an ordinary figure.

The twin is always there: without a kernel, on GitHub, in an HTML page, in the report. The widget is there only where
somebody can move it (``frontend``).
"""
