"""The kinds of space that Agency brings. Three files that do not know of each other: deleting one
deletes one feature.
"""
