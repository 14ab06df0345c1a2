"""Stage timesteps: a list that depends on how often it was asked for."""

from compare.judge import judge
from compare.mutant import scheduler
from compare.oracle import Oracle, Setting


def test_another_list_the_second_time_is_a_fault_of_the_list() -> None:
    class Creeping(scheduler(Oracle())):
        """Moves its list up by one each time that four steps are asked for again."""

        asked = -1

        def __init__(self, num_train_timesteps=100):
            super().__init__(num_train_timesteps, clip_sample=False)

        def set_timesteps(self, num_inference_steps):
            super().set_timesteps(num_inference_steps)
            if num_inference_steps == 4:
                self.asked += 1
                self._visit(self.timesteps + self.asked)

    report = judge(Creeping, "quick", 0, beside=False, base=Setting(num_train_timesteps=100))
    failing = [c for c in report.checks if not c.passed]
    assert {c.stage for c in failing} >= {"timesteps"}, str(report)
    assert "set_timesteps(4) leaves another list when it is called again" in failing[0].message
    assert report.diagnoses[0].stage == "timesteps"
    assert report.exit_status == 1
