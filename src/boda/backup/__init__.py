"""Copies of a data folder in one file: taken while a boda runs, restored anywhere.

archive.py  the form of the file    take.py  makes one of a folder    restore.py  the reverse
"""
