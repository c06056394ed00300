"""What is left behind: the best prompt, every row and script, figures, a page."""

from __future__ import annotations

from collections.abc import Sequence

from tuneline.data.io import write_lines, write_record
from tuneline_calibrator.stage import CalibratorOutputs
from tuneline_calibrator.talks.profiles import Profile
from tuneline_calibrator.trials.found import Calibration
from tuneline_calibrator.trials.report import write_report
from tuneline_calibrator.trials.trials import Target, Trial


def write_all(
    outputs: CalibratorOutputs, found: Calibration, trials: Sequence[Trial], profile: Profile, targets: Sequence[Target]
) -> None:
    """Write every file. The same arguments give the same bytes."""
    outputs.prompt.write_text(f"{found.trials[found.best - 1].prompt}\n", encoding="utf-8")
    write_lines(outputs.trials, (row for trial in trials for row in trial.rows))
    write_record(outputs.calibration, found)
    write_record(outputs.profile, profile)
    write_report(outputs.calibrated, found, trials, targets)
    for trial in trials:
        for (pair, repeat), script in sorted(trial.scripts.items()):
            name = f"{pair}.txt" if repeat == 0 else f"{pair}.{repeat + 1}.txt"
            place = outputs.scripts / str(trial.number) / name
            place.parent.mkdir(exist_ok=True)
            place.write_text(f"{script}\n", encoding="utf-8")
