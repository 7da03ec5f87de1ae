"""The faces of a session: what a user gives, checked, and handed to the engine.

    base        what they share
    jobs        submit, subscribe, map, and jobs by their ids
    direct      run, stream, realtime, sockets
    files       upload, download
    journalled  recover, resume, acknowledge

`falq.session` makes one class of them, and owns its opening and closing.
"""
