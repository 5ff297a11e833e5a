"""Judgements of what was found, each a row: plain values in, a finding out."""
