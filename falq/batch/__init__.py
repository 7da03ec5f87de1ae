"""Run a file of jobs and show how they ended.

Owns what a batch adds to a session: the report that is left behind, of which
`page` is the part to look at. It never talks to the service itself and never
decides how a job ended: it is handed settled outcomes. The command line and
programs that run many jobs call it.
"""
