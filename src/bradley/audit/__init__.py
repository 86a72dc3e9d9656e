"""Audit of preference data, one file for each question; no model and no torch. `audit.audit` answers all of them."""
