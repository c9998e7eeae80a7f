"""The applications of the demo through which people take part in a space.

Gradio reports its use to its makers unless told otherwise before it is imported, so that is done
here, ahead of every module in this package: nothing that the demo does leaves the machine.
"""

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
