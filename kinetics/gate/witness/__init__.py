"""What a case is, told by a process that runs it once: its fingerprint, without a clock.

Imports nothing of this suite but itself, and that by relative names: the gate's own copy is loaded, under a name of its
own, into the process of either revision.
"""
