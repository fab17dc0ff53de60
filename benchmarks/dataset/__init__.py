"""
What a whole dataset costs: one module for each question.

===================  ===============================================================================================
Module               Question, or its place
===================  ===============================================================================================
``slots.py``         How busy does a task keep the gateway, and for how long does it hold a worker?
``mapping.py``       How much faster is one dataset task than one mapped task for each prompt?
``scale.py``         How do CPU time, memory and traffic grow with the rows? ``worker.py`` is what it measures
``measure.py``       Puts the answers together. ``__main__.py`` looks closer at one of them
``surroundings.py``  A real Airflow and a real S3 server for the first two, with ``dags/``, the ``operators.py`` under
                     observation, and ``gateway.py``, whose pictures take log-normally distributed times
===================  ===============================================================================================
"""
