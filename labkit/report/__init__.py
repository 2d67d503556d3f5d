"""The report of the finished runs: written as one Markdown file, set as PDF, Word, LaTeX and HTML."""
