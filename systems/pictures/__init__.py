"""From a person's picture to what a system is shown: opened within limits, cut out, framed, its camera's elevation estimated.

A folder of its own, because every system needs it and none owns it. `preparation.prepare` is the whole way; a command line, a web
page or a server calls nothing else.
"""
