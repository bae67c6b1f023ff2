"""Bedside from Python: one function per verb. ``import bedside`` offers them all, and the command line calls them.

    config = bedside.load("bedside.yaml")
    run = bedside.align(config)          # resumes if it ran before
    print(run.verdict, run.measures)
    if run.released:
        run.released.save("adapter/")
    run.report("report.html")

Every verb takes a ``Config``, the path of a config file, or a mapping with the keys of one. Verbs that work on files
also take None: they use ``bedside.yaml`` in this folder if there is one, else the defaults with the embedded model.
A verb that takes time has ``progress``: None shows it on stderr, ``SilentProgress()`` shows nothing.

Every verb may raise BedsideError: ConfigError, DataError, ModelError, StageError, or MissingExtra, which names the
extra to install.
"""
