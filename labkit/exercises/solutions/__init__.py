"""What is asked in each lab, with solutions and usual mistakes: for those who teach, one module a notebook."""
