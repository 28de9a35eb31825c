"""Runs one input again, in this process, with everything shown."""

import re
import sys
import tempfile
import traceback
from pathlib import Path
from random import Random

from fuzz import cases, check
from fuzz.guided import guided_case
from fuzz.kinds import make


def replay(where: str, folder: Path) -> int:
    """Save the files of KIND:SEED or KIND@FILE into a folder, read them, and print what came of it."""
    kind, mark, seed = re.split("([:@])", where, maxsplit=1)
    case = make(kind, int(seed)) if mark == ":" else guided_case(kind, Path(seed).read_bytes())
    number = int(seed) if mark == ":" else 0
    folder.mkdir(parents=True, exist_ok=True)
    path = cases.write(case, folder)
    print(
        f"saved in {folder}\nopened: {path}, {case.choice}, --labels {case.labels}, {case.how}\ndone to it: {case.note}"
    )
    labels = f"{folder}/{case.labels[1:]}" if case.labels.startswith("@") else case.labels
    outcome = check.Outcome(note=case.note)
    try:
        with tempfile.TemporaryDirectory() as target:
            if case.how == "read":
                for name, _, image in check.read(path, case, labels, outcome, Random(number)):
                    print(name, image)
            elif case.how == "store":
                check.use_store(path)
            else:
                options = check.PrepareOptions(
                    resolution="8", upscale=True, labels=labels, on_error="skip", **case.choice
                )
                check.prepare(path, Path(target) / "store", options, workers=0)
    except Exception:
        traceback.print_exc(file=sys.stdout)
        return 1
    print(outcome)
    return 0
