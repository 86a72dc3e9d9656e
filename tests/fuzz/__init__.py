"""Damaged data files, configurations, command lines, model folders and run folders, made from numbers.

A case is named by its class and a number: `python -m tests.fuzz model_folders 17` repeats the case and says what it is.
"""
