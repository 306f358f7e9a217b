"""The rules. Pure: facts and a date go in, a decision with its reasons comes out."""
