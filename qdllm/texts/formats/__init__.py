"""Readers of tables, one file for each family of formats."""
