"""This machine comes in; what it has shown of an Ascend machine goes out: one row per claim, and one file for a report."""
