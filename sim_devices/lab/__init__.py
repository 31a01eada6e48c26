"""Laboratories that are not there: who sits where, and who feeds whom."""
