"""The job runner: who does what when a job, a nudge or the timer calls."""
