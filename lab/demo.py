"""`make demo`: the example of the README, released for real, and whether every promise was kept.

Lives here: the story and its promises. What users saw is counted at the load generator, never
taken from the walk's own numbers.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab import cluster, load
from lab.load import Phase, Record
from lab.objects import connect
from lab.stack import Result, Stack, podinfo

RATE = 100
STREAM_SECONDS = 60
FAILED_REQUESTS_AT_MOST = 25
GOOD, BETTER, BAD = "6.3.0", "6.3.1", "6.3.2"


@dataclass
class Story:
    """What has happened so far. + promises: each sentence, and whether it was kept"""

    stack: Stack
    phases: list[Phase] = field(default_factory=list)
    promises: list[tuple[str, bool]] = field(default_factory=list)

    def begin(self, title: str) -> None:
        self.phases.append(Phase(title, time.time()))
        print(f"\n=== {title}", flush=True)

    def promise(self, sentence: str, kept: bool) -> None:
        self.promises.append((sentence, kept))

    def release(self, tag: str) -> Result:
        """`pulumi up` of this version, with its progress as it comes."""
        self.stack.configure(applications=podinfo(tag))
        return self.command("up", "--yes", "--skip-preview")

    def command(self, *arguments: str) -> Result:
        print(f"$ pulumi {' '.join(arguments)}", flush=True)
        running = self.stack.start(*arguments, "--stack", self.stack.name)
        shown, show = 0, told()
        while running.process.poll() is None:
            shown += _print_new(running.output, shown, show)
            time.sleep(0.1)
        _print_new(running.output, shown, show, last=True)
        return running.wait()


def told() -> Callable[[str], str | None]:
    """A filter of the CLI's lines: what ended, what the rollout says, what went wrong."""
    before = ""

    def one(line: str) -> str | None:
        nonlocal before
        if match := re.search(r"dynamic:Rollout podinfo \w+ \(\d+s\) (?:\[[^]]*\])?(?:; )?(.+)", line):
            text = match[1]
            # Seconds that pass are no news.
            news = re.sub(r"; [^;]*\d s$|[\d.,]+ %", "", text)
            if news == before or "error:" in text or "settling" in text:
                return None
            before = news
            return f"    {text}"
        if re.search(r"(created|updated|deleted) \(|\*\*.*failed", line) and "Rollout" not in line:
            return "  " + re.sub(r"^ *([-+~]*) *", r"\1 ", line)
        if re.match(r" +error: ", line) or re.match(r"    [-+~ ] *\d+ \w+|    \d+ (changes|unchanged)", line):
            return line
        return None

    return one


def _print_new(output: str, shown: int, show: Callable[[str], str | None], *, last: bool = False) -> int:
    """Print what is new and whole; returns how many characters that was."""
    end = len(output) if last else output.rfind("\n") + 1
    for line in output[shown:end].splitlines():
        if (text := show(line)) is not None:
            print(text, flush=True)
    return end - shown


@contextmanager
def users(story: Story, out: Path) -> Iterator[Path]:
    """100 requests a second, half by the route and half by the apex, and one long stream."""
    lab = story.stack.lab
    service = connect(lab.kubeconfig).get("/api/v1/namespaces/default/services/podinfo")
    apex = f"http://{service['spec']['clusterIP']}:9898"
    targets = [f"route={lab.envoy_url}/,host=podinfo.example.com,share=0.5", f"apex={apex}/,share=0.5"]
    stream = f"stream={lab.envoy_url}/stream?seconds={STREAM_SECONDS},host=podinfo.example.com"
    with load.running(lab.command(), out, targets, rate=RATE, streams=[stream]) as path:
        yield path


def tell(story: Story, out: Path) -> None:
    """All scenes, in the order of the README."""
    story.begin(f"The first release: podinfo {GOOD}")
    first = story.release(GOOD)
    story.promise("the first release serves", first.code == 0)
    if first.code != 0:
        print(first.output)
        return
    _wait_for_route(story)
    with users(story, out):
        _good(story)
        _bad(story)
        _after(story)
        _wait_for_stream(story)


def _good(story: Story) -> None:
    story.begin(f"A good release: podinfo {BETTER}")
    good = story.release(BETTER)
    story.promise("the good release is promoted", good.code == 0)
    weights = [int(weight) for weight in re.findall(r"^ +advance \S+ to weight (\d+)", good.output, re.MULTILINE)]
    story.promise("its traffic went 10, 20, 30, 40, 50 %", weights == [10, 20, 30, 40, 50])


def _bad(story: Story) -> None:
    story.begin(f"A bad release: podinfo {BAD} fails 30 % of its requests")
    bad = story.release(BAD)
    story.promise("the bad release fails the update", bad.code != 0)
    story.promise("the error is the verdict, and says where the traffic is", "all traffic is back on" in bad.output)
    serving = next(item for item in story.stack.state() if item["type"].endswith("rollout:Rollout"))
    declared = serving["outputs"]["revision"]["hash"]
    story.promise("the stack's state is still the good release", declared in _serving_names(story))


def _after(story: Story) -> None:
    story.begin("After the failure: preview, refresh, the same version again")
    preview = story.command("preview")
    story.promise("the preview still shows the change", "to update" in preview.output)
    refresh = story.command("refresh", "--preview-only", "--expect-no-changes")
    story.promise("refresh finds nothing to change", refresh.code == 0)
    again = story.command("up", "--yes", "--skip-preview")
    story.promise("the same bad version is refused", again.code != 0 and "has failed before" in again.output)
    story.begin(f"Back to the good code: podinfo {BETTER}")
    back = story.release(BETTER)
    changes = re.findall(r"^    ([-+~]) ?\d+ \w+", back.output, re.MULTILINE)
    story.promise("the return only deletes what was left of the bad version", back.code == 0 and set(changes) == {"-"})


def _serving_names(story: Story) -> str:
    service = connect(story.stack.lab.kubeconfig).get("/api/v1/namespaces/default/services/podinfo")
    return str(service["spec"]["selector"])


def _wait_for_route(story: Story) -> None:
    """Envoy opens its port with the first route."""
    import requests

    for _ in range(100):
        try:
            answer = requests.get(story.stack.lab.envoy_url, headers={"Host": "podinfo.example.com"}, timeout=1)
            if answer.status_code == 200:
                return
        except requests.RequestException:
            pass
        time.sleep(0.1)
    raise SystemExit("demo: the route does not answer 10 s after the first release")


def _wait_for_stream(story: Story) -> None:
    """The stream's minute is over a few seconds after the story, if at all."""
    began = story.phases[1].start
    time.sleep(max(0.0, began + STREAM_SECONDS + 2 - time.time()))


def judge(story: Story, records: list[Record]) -> None:
    """The promises about what users saw."""
    plain = [record for record in records if record.stream is None]
    failed = [record for record in plain if record.failed]
    others = [record for record in failed if record.version != BAD]
    story.promise("no request failed but those that the bad version answered itself", not others)
    few = len(failed) <= FAILED_REQUESTS_AT_MOST
    story.promise(f"the bad version cost {len(failed)} failed requests, at most {FAILED_REQUESTS_AT_MOST}", few)
    start = next(phase.start for phase in story.phases if phase.name.startswith("After"))
    late = [record for record in plain if record.version == BAD and record.t > start]
    story.promise("after the failure nobody met the bad version again", not late)
    ends = [record.stream.end for record in records if record.stream is not None]
    kept = len(ends) == 1 and ends[0] in ("complete", "bye")
    story.promise(f"the {STREAM_SECONDS} s stream was not broken ({', '.join(ends)})", kept)


def report(story: Story, records: list[Record]) -> int:
    """The table from the load generator's records, the promises, and the exit code."""
    print(f"\n{'phase':<62} {'version':<8} {'requests':>9} {'failed':>7}")
    for row in load.summary(records, story.phases):
        print(f"{row.phase:<62} {row.version or '-':<8} {row.requests:>9,} {row.failures:>7,}")
    print()
    for sentence, kept in story.promises:
        print(f"{'kept  ' if kept else 'BROKEN'}  {sentence}")
    broken = sum(not kept for _, kept in story.promises)
    print(f"\n{f'{broken} promises were broken' if broken else 'every promise was kept'}")
    return 1 if broken else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.demo", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--break", dest="countermeasure", help="take a countermeasure away: revert")
    arguments = parser.parse_args()
    cluster.down("demo")
    lab = cluster.up("demo")
    try:
        lab.enter()
        folder = lab.directory / "demo"
        shutil.rmtree(folder, ignore_errors=True)
        story = Story(Stack(lab, "demo", folder))
        story.stack.break_(arguments.countermeasure)
        out = folder / "requests.jsonl"
        tell(story, out)
        records = load.read(out) if out.exists() else []
        if records:
            judge(story, records)
        return report(story, records)
    finally:
        cluster.down("demo")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except cluster.LabError as error:
        sys.exit(f"demo: {error}")
