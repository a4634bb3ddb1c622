import gc
import os
import signal
import subprocess
import sys
import weakref

import pytest
import ray
import torch

from datg.errors import ConfigError, StateError, TrialDiverged
from datg.runtime.signals import StopRequest
from datg.search.ray.capacity import Capacity
from datg.search.ray.cluster import shut_down
from datg.search.ray.gpu_sharing import Need, fraction, measure, trials_at_once
from datg.search.ray.resources import Allocation, Resources, TrialResources, allocate, parse_gpus
from datg.search.ray.spare_tasks import SpareTasks
from datg.search.ray.worker import set_up
from datg.search.state.folder import SearchFolder
from datg.search.study.progress import SearchProgress
from datg.storage.lease import EVALUATION_LEASE
from datg.trial.data import TrialData
from tests.trial.test_run import config_of, dataset_of

NODES = [{"CPU": 8.0}, {"CPU": 4.0, "GPU": 2.0}]


@pytest.mark.parametrize(
    ("asked", "allocation"),
    [
        ({}, (1, 1.0, 2)),
        ({"gpus_per_trial": 0.0}, (1, 0.0, 12)),
        ({"gpus_per_trial": 0.25}, (1, 0.25, 4)),
        ({"gpus_per_trial": 0.5, "cpus_per_trial": 2}, (2, 0.5, 2)),
        ({"gpus_per_trial": 0.0, "cpus_per_trial": 3}, (3, 0.0, 3)),
        ({"gpus_per_trial": 0.0, "max_concurrent": 5}, (1, 0.0, 5)),
    ],
)
def test_as_many_trials_run_at_once_as_fit_on_the_nodes(asked, allocation):
    found = allocate(NODES, Resources(**asked))
    assert (found.per_trial.cpus, found.per_trial.gpus, found.concurrent) == allocation


@pytest.mark.parametrize("asked", [{"cpus_per_trial": 9}, {"gpus_per_trial": 3.0}, {"cpus_per_trial": 5}])
def test_what_no_node_can_ever_give_is_refused(asked):
    with pytest.raises(ConfigError, match="but no node has both; the largest have 8 CPUs and 2 GPUs"):
        allocate(NODES, Resources(**asked))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75)])
def test_a_signal_asks_to_stop_once(number, code):
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    try:
        stop = StopRequest()
        stop.install()
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested and stop.exit_code == code
        stop.install()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL, "a second Ctrl-C must leave at once"
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)


def test_a_time_budget_asks_to_stop():
    assert StopRequest(0.0).requested and StopRequest(0.0).exit_code == 75
    assert not StopRequest(1000.0).requested


def test_no_garbage_is_collected_while_ray_shuts_down(monkeypatch):
    class Reference:
        """In a cycle with itself, as Tune's are."""

        def __init__(self):
            self.me = self

    before, during = weakref.ref(Reference()), []
    monkeypatch.setattr(ray, "shutdown", lambda: during.append((before(), gc.isenabled())))
    shut_down()
    assert during == [(None, False)] and gc.isenabled()


@pytest.mark.parametrize(("text", "asked"), [(None, None), ("auto", "auto"), ("0", 0.0), ("0.25", 0.25), ("1", 1.0)])
def test_gpus_are_a_number_or_auto(text, asked):
    assert parse_gpus(text) == asked


@pytest.mark.parametrize("text", ["some", "-1", "nan", "inf", "1.5", "2"])
def test_other_gpus_are_refused_in_a_sentence(text):
    with pytest.raises(
        ConfigError, match=f"`--gpus-per-trial` must be auto or a number from 0 to 1, .* one GPU at most, got {text}"
    ):
        parse_gpus(text)


def test_auto_begins_with_whole_gpus_and_with_none_where_there_are_none():
    assert allocate(NODES, Resources(gpus_per_trial="auto")).per_trial.gpus == 1.0
    assert allocate(NODES[:1], Resources(gpus_per_trial="auto")).per_trial.gpus == 0.0


def test_room_is_counted_for_as_many_trials_as_may_come_to_share_a_gpu():
    assert allocate(NODES, Resources(gpus_per_trial="auto")).most_concurrent == 4, "the cores of the node that has GPUs"
    assert allocate(NODES, Resources(gpus_per_trial="auto", max_concurrent=3)).most_concurrent == 3
    assert allocate([{"CPU": 64.0, "GPU": 2.0}], Resources(gpus_per_trial="auto")).most_concurrent == 32
    assert allocate(NODES, Resources(gpus_per_trial=0.5)).most_concurrent == 4


@pytest.mark.parametrize(("share", "slots"), [(1.0, 4), (0.7, 4), (0.5, 8), (0.4, 8), (0.3, 12), (0.25, 16)])
def test_a_share_lies_on_one_gpu_and_not_over_two(share, slots):
    assert allocate([{"CPU": 64.0, "GPU": 4.0}], Resources(gpus_per_trial=share)).slots == slots


def need(memory, busy, seconds=0.004):
    return Need(memory << 30, 80 << 30, seconds, busy)


@pytest.mark.parametrize(
    ("needs", "number"),
    [
        ([need(4, 0.31)], 4),  # its units have time for four
        ([need(20, 0.1)], 3),  # its memory holds three, with a reserve
        ([need(70, 0.1)], 1),
        ([need(79, 1.0)], 1),
        ([need(1, 0.0)], 16),
        ([need(4, 0.1), need(30, 0.2)], 2),  # one of the kinds of trials is large
    ],
)
def test_as_many_trials_share_a_gpu_as_its_memory_and_its_units_bear(needs, number):
    found, sentence = trials_at_once(needs)
    assert found == number
    assert f"--gpus-per-trial {fraction(number):g}" in sentence and "GiB" in sentence
    assert allocate([{"CPU": 64.0, "GPU": 1.0}], Resources(gpus_per_trial=fraction(number))).slots == number


def measured(monkeypatch, *, free, evaluate=lambda *positional, **named: None):
    """What a trial needs where the GPU has ``free`` of 80 bytes left after training and after an evaluation; and its shares."""
    shares, left = [], iter(free)
    monkeypatch.setattr("torch.cuda.synchronize", lambda device: None)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (next(left), 80))
    monkeypatch.setattr("torch.cuda.set_per_process_memory_fraction", lambda share, device: shares.append(share))
    if evaluate is not None:
        monkeypatch.setattr("datg.search.ray.gpu_sharing.evaluate", evaluate)
    config = config_of(strategy={"clusters": 2})
    return measure(config, TrialData.from_dataset(dataset_of()), torch.device("cpu")), shares


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_a_trial_is_measured_by_training_and_evaluating(monkeypatch):
    found, shares = measured(monkeypatch, free=(60, 55), evaluate=None)
    assert (found.memory, found.total) == (25, 80), "the evaluation takes more"
    assert shares == [fraction(3)], "by training alone three would fit"
    assert found.seconds > 0 and found.busy == 0.0  # no kernel runs on a GPU here


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:CUDA is not available")
@pytest.mark.parametrize(("left", "number"), [(20, 2), (70, 1)])
def test_where_an_evaluation_does_not_fit_one_trial_fewer_shares_the_gpu(monkeypatch, left, number):
    def evaluate(*positional, **named):
        raise torch.OutOfMemoryError("no memory is left")

    found, _ = measured(monkeypatch, free=(80 - left,), evaluate=evaluate)
    assert trials_at_once([found])[0] == number


def test_processors_are_those_that_this_process_may_use():
    script = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from datg.search.ray.resources import usable_cpus; print(usable_cpus())"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert found.stdout.strip() == "1"


class Slots:
    """A search as its evaluations see it: trials wanted, ended and running, and tasks that end when they are told to."""

    def __init__(self, tmp_path, monkeypatch, *, slots, concurrent, asked):
        self.progress, self.folder = SearchProgress(asked), SearchFolder(tmp_path)
        self.started, self.done = [], set()
        monkeypatch.setattr("datg.search.ray.spare_tasks.lacks_evaluation", lambda folder, file: True)
        monkeypatch.setattr("datg.search.ray.spare_tasks.on_share", lambda function, allocation: self)
        monkeypatch.setattr(
            "datg.search.ray.spare_tasks.ray.wait", lambda refs, **_: ([r for r in refs if r in self.done], [])
        )
        monkeypatch.setattr("datg.search.ray.spare_tasks.ray.get", lambda reference: None)
        allocation = Allocation(TrialResources(1, 0.0), slots, concurrent, concurrent, Resources())
        self.tasks = SpareTasks(self, None, Capacity(allocation, print), StopRequest(), "nowhere")

    def remote(self, data, folder, share, kind):
        self.started.append(int(folder.name))
        return int(folder.name)

    def end_trial(self, number):
        self.progress.outcomes["finished"] += 1
        self.tasks.evaluate_trial(number)
        self.tasks.advance(0)


def test_an_evaluation_waits_as_long_as_trials_need_every_slot(tmp_path, monkeypatch):
    search = Slots(tmp_path, monkeypatch, slots=2, concurrent=2, asked=4)
    search.end_trial(0)
    search.end_trial(1)
    assert search.started == [], "two trials are missing, and take both slots"
    search.end_trial(2)
    assert search.started == [0]
    search.end_trial(3)
    assert search.started == [0, 1] and search.tasks.unfinished
    search.done = {0, 1}
    for _ in range(2):
        search.tasks.advance(0)
    assert search.started == [0, 1, 2, 3]
    search.done = {2, 3}
    search.tasks.advance(0)
    assert not search.tasks.unfinished and search.progress.evaluated["novel"] == 4


def test_a_slot_that_no_trial_may_have_is_for_evaluations(tmp_path, monkeypatch):
    search = Slots(tmp_path, monkeypatch, slots=3, concurrent=2, asked=10)
    search.end_trial(0)
    search.end_trial(1)
    assert search.started == [0] and search.tasks.leases == [tmp_path / "trials" / "0" / EVALUATION_LEASE]


class Training(Slots):
    """A reference whose training ends, fails or is interrupted."""

    def __init__(self, tmp_path, monkeypatch):
        super().__init__(tmp_path, monkeypatch, slots=1, concurrent=1, asked=0)
        self.references, self.ends = self, []
        monkeypatch.setattr("datg.search.ray.spare_tasks.ray.wait", lambda refs, **_: (refs, []))
        self.tasks.add_reference("vanilla")

    def start(self, name):
        return name

    def finish(self, name, outcome, error=""):
        self.ends.append((name, outcome, error))

    def remote(self, *arguments):
        return "training" if len(arguments) == 5 else "evaluation"

    def act(self, monkeypatch, result):
        def get(reference):
            if reference == "training" and isinstance(result, Exception):
                raise result
            return result

        monkeypatch.setattr("datg.search.ray.spare_tasks.ray.get", get)
        self.tasks.advance(0)
        return self


def test_a_reference_is_trained_and_then_evaluated(tmp_path, monkeypatch):
    training = Training(tmp_path, monkeypatch).act(monkeypatch, "collapsed")
    assert training.ends == [("vanilla", "collapsed", "")] and training.tasks.unfinished
    training.act(monkeypatch, None)
    assert not training.tasks.unfinished and training.tasks.errors == {}


def test_a_reference_that_was_interrupted_has_not_ended(tmp_path, monkeypatch):
    training = Training(tmp_path, monkeypatch).act(monkeypatch, "interrupted")
    assert training.ends == [] and not training.tasks.unfinished


@pytest.mark.parametrize(
    ("cause", "end"),
    [
        (TrialDiverged("loss was nan"), [("vanilla", "diverged", "loss was nan")]),
        (ConfigError("too few classes"), [("vanilla", "error", "too few classes")]),
        (StateError("a damaged checkpoint"), []),
        (RuntimeError("a bug"), []),
    ],
)
def test_a_reference_that_fails_for_good_has_ended_and_another_is_tried_again(tmp_path, monkeypatch, cause, end):
    error = ray.exceptions.RayTaskError("train_apart", "", cause).as_instanceof_cause()
    training = Training(tmp_path, monkeypatch).act(monkeypatch, error)
    assert training.ends == end
    assert list(training.tasks.errors) == ([] if end else ["reference vanilla not trained"])


def test_a_task_whose_machine_broke_waits_and_is_started_again(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("datg.search.ray.spare_tasks.time.monotonic", lambda: now[0])
    monkeypatch.setattr("datg.search.ray.spare_tasks.time.sleep", lambda seconds: None)
    training = Training(tmp_path, monkeypatch)
    for wait in (2.0, 10.0, 60.0):
        training.act(monkeypatch, ray.exceptions.WorkerCrashedError())
        assert training.tasks.unfinished and not training.tasks.leases, "it waits"
        now[0] += wait - 0.1
        training.tasks.advance(0)
        assert not training.tasks.leases
        now[0] += 0.1
    training.act(monkeypatch, "finished")
    assert training.ends == [("vanilla", "finished", "")] and training.tasks.errors == {}


@pytest.mark.parametrize(
    ("nodes", "asked", "idle"),
    [
        ([{"CPU": 1.0, "GPU": 8.0}], {}, 7),
        ([{"CPU": 8.0, "GPU": 8.0}], {}, 0),
        ([{"CPU": 4.0, "GPU": 8.0}], {"gpus_per_trial": 0.5}, 6),
        ([{"CPU": 4.0, "GPU": 4.0}, {"CPU": 4.0, "GPU": 4.0}], {"cpus_per_trial": 2}, 4),
        ([{"CPU": 1.0, "GPU": 8.0}], {"gpus_per_trial": 0.0}, 0),
    ],
)
def test_gpus_that_stay_idle_for_want_of_cpus_are_told(nodes, asked, idle):
    text = allocate(nodes, Resources(address="h:1", **asked)).describe()
    assert (f"; {idle} of {nodes[0]['GPU'] * len(nodes):g} GPUs stay idle" in text) == (idle > 0)
    assert ("idle" in text) == (idle > 0)


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_a_share_of_a_gpu_that_torch_does_not_see_is_the_nodes_fault(share, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(RuntimeError, match="install a torch with CUDA there, or start Ray there with --num-gpus 0"):
        set_up(TrialResources(1, share))
    assert set_up(TrialResources(torch.get_num_threads(), 0.0)) == torch.device("cpu")
