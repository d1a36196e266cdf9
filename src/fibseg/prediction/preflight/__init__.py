"""What a prediction will take of memory, time and disk, found out before it starts.

Here: activations counted without computing, a trial on a part of a slice, what is refused. Not
here: what is done where memory is short in the middle (`fibseg.prediction.memory`).
"""
