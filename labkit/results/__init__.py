"""What a run leaves behind: its folder, figures, tables and words."""

import logging

# On a new machine matplotlib says on stderr that it builds its font cache; a student's first notebook need not.
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
