"""The regression gate: did this change make a kernel slower, with error rates known on the machine that answers?"""
