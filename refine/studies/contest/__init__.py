"""Generators that differ in one thing, trained and judged alike: ``refine study``.

A domain's subject enters (items, tasks and a judge); figures, tables and pictures of every contestant leave.
"""
