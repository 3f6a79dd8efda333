from __future__ import annotations

from pathlib import Path

from emsyolo.app.folder import new_folder
from emsyolo.app.runs import forget_run_folder, run_folder, sweep_time


def test_each_call_makes_a_folder_of_its_own(tmp_path: Path) -> None:
    made = [new_folder(tmp_path / "runs", "now") for _ in range(3)]
    assert [path.name for path in made] == ["now", "now_2", "now_3"]
    assert all(path.is_dir() for path in made)


def test_a_process_has_one_run_folder_until_its_next_run(tmp_path: Path) -> None:
    def asked() -> str:
        return Path(run_folder(str(tmp_path), None, "digits", "ems_small", "now")).name

    forget_run_folder()
    assert [asked(), asked()] == ["now", "now"]
    forget_run_folder()
    assert asked() == "now_2"


def test_two_sweeps_of_one_second(tmp_path: Path) -> None:
    runs = str(tmp_path / "runs")
    assert [sweep_time(runs, "12-00-00") for _ in range(3)] == ["12-00-00", "12-00-00_2", "12-00-00_3"]
