import sys

from common import make_space, populate

populate(make_space())
sys.exit(7)
